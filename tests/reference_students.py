"""CTCL of N students, slowly: loops over learners, peers and places, from the equations in the
docstring of `CTCL`.

Shares no code with the package; one pixel's functions are those of `reference`. Letters as there.
"""

from dataclasses import dataclass
from itertools import product

import reference
import torch


@dataclass
class Student:
    """What one student brings: `low_to` and `last_to` are its own projections, (weight, bias) by
    peer.
    """

    logits: torch.Tensor  # (B, K, h', w')
    low: torch.Tensor  # (B, C, h1, w1) first-stage features
    second: torch.Tensor  # (B, C2, h2, w2)
    last: torch.Tensor  # (B, C3, h3, w3)
    second_stage: object  # a function of (B, C, h1, w1), whose weights are constants
    low_to: dict
    last_to: dict


def teacher_of(i, values):
    """m_i: the other student with the lowest of these numbers, if it is below i's own; on a tie the
    later student is the more reliable. None if nobody is.
    """
    others = [j for j in range(len(values)) if j != i]
    best = others[0]
    for j in others[1:]:
        if values[j] <= values[best]:
            best = j
    if values[best] < values[i] or (values[best] == values[i] and best > i):
        return best
    return None


def teachers_at(maps, labelled):
    """m_i of every labelled place, by learner: {place: student}."""
    found = []
    for i in range(len(maps)):
        of_places = {
            p: teacher_of(i, [values[p].item() for values in maps])
            for p in product(*map(range, labelled.shape))
            if bool(labelled[p])
        }
        found.append({p: j for p, j in of_places.items() if j is not None})
    return found


def pixel_terms(logits, labels, ignore_index, direction, temperature, divisor, groups=None):
    """pixel_i of every student, of logits (B, K, H, W) at the labels' size.

    groups: {(learner, peer): groups of classes}, or None where all classes are compared.
    """
    labelled = labels != ignore_index
    maps = [reference.cross_entropy_map(z, labels, ignore_index) for z in logits]
    terms = []
    for i, taught_by in enumerate(teachers_at(maps, labelled)):
        total, number = (logits[i] * 0).sum(), 0
        for j in (j for j in range(len(logits)) if j != i):
            places = {p for p, teacher in taught_by.items() if teacher == j}
            if groups is None:
                values = reference.kl_map(logits[i], logits[j], direction, temperature)
            else:
                own = groups[i, j]
                known = reference.in_a_group(labels, own)
                places = {p for p in places if known[p]}
                values = reference.grouped_kl_map(logits[i], logits[j], own, direction, temperature)
            total = total + sum(values[p] for p in places)
            number += len(places)
        terms.append(total / max(number if divisor == "taught" else int(labelled.sum()), 1))
    return terms


def region_terms(students, maps, labelled, grid, divisor, project_peer):
    """region_i of every student, of cross entropy maps (B, H, W)."""
    batch, height, width = labelled.shape
    sums = [torch.zeros(batch, *grid, dtype=torch.float64) for _ in students]
    has_label = torch.zeros(batch, *grid, dtype=torch.bool)
    for b, y, x in product(range(batch), range(height), range(width)):
        if bool(labelled[b, y, x]):
            region = (b, *reference.region_of(y, x, (height, width), grid))
            has_label[region] = True
            for total, values in zip(sums, maps, strict=True):
                total[region] += values[b, y, x].item()
    terms = []
    for i, taught_by in enumerate(teachers_at(sums, has_label)):
        total = (students[i].last * 0).sum()
        for (b, y, x), j in taught_by.items():
            own = reference.project(students[i].last, *students[i].last_to[j], grid)
            other = (
                reference.project(students[j].last, *students[j].last_to[i], grid)
                if project_peer
                else reference.adaptive_average_pool(students[j].last, grid)
            )
            total = total + reference.cosine_distance(own[b, :, y, x], other[b, :, y, x].detach())
        number = len(taught_by) if divisor == "taught" else int(has_label.sum())
        terms.append(total / max(number, 1))
    return terms


def hfd_terms(students):
    """HFD_i of every student: the mean over its peers of Eq. 2."""
    terms = []
    for i, learner in enumerate(students):
        several = []
        for j, peer in enumerate(students):
            if j != i:
                projected = reference.project(learner.low, *learner.low_to[j], peer.low.shape[-2:])
                several.append(reference.hfd(peer.second_stage(projected), peer.second))
        terms.append(sum(several) / len(several))
    return terms


def ctcl_terms(
    students,
    labels,
    *,
    ignore_index,
    direction,
    temperature,
    pixel_divisor,
    region_divisor,
    project_peer,
    groups=None,
):
    """The unweighted terms of each student, by name."""
    logits = [reference.upsample_bilinear(own.logits, labels.shape[1:]) for own in students]
    maps = [reference.cross_entropy_map(z, labels, ignore_index) for z in logits]
    grid = min(tuple(own.last.shape[-2:]) for own in students)
    pixel = pixel_terms(logits, labels, ignore_index, direction, temperature, pixel_divisor, groups)
    region = region_terms(
        students, maps, labels != ignore_index, grid, region_divisor, project_peer
    )
    ce = [reference.cross_entropy_loss(z, labels, ignore_index) for z in logits]
    return [
        {"ce": own[0], "hfd": own[1], "region": own[2], "pixel": own[3]}
        for own in zip(ce, hfd_terms(students), region, pixel, strict=True)
    ]
