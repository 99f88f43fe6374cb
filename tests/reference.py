"""The losses of CTCL (Zhu et al., ICCV 2023), slowly: loops over the batch, rows and columns, from
the equations alone.

This file shares no code with the package that it checks. Pass float64 tensors, and small ones:
every pixel is a few Python operations. All losses are differentiable by autograd through the loops,
so gradients can be compared too.

Letters: B images, K classes, C channels; (H, W) pixels, (h, w) a coarser grid of features or
regions. Every mean runs over the whole batch at once. "teaches" maps are bool. KL divergences are
in nats.
"""

import math
from dataclasses import dataclass
from itertools import product

import torch


def _as_map(scalars, batch, height, width):
    """Scalars in the order image, row, column -> (B, H, W)."""
    return torch.stack(scalars).reshape(batch, height, width)


def _as_features(vectors, batch, height, width):
    """(C,) vectors in the order image, row, column -> (B, C, H, W)."""
    return torch.stack(vectors).reshape(batch, height, width, -1).permute(0, 3, 1, 2)


def _mean(scalars, connected_to):
    """sum / count; of nothing: a 0 that still hangs on the graph of `connected_to`."""
    if not scalars:
        return (connected_to * 0).sum()
    return sum(scalars) / len(scalars)


def _log_softmax(scores):
    """log p_k = z_k - max - log sum_j exp(z_j - max), for the (K,) scores of one pixel.

    The shift is a constant.
    """
    shifted = scores - max(scores.tolist())
    return shifted - torch.log(torch.exp(shifted).sum())


# --- Bringing logits and features to a size
# ---------------------------------------------------------------------------


def _linear_taps(i, source_size, target_size):
    """The two source indices, and the weight of the second, that make up index i of the target (one
    axis).
    """
    coordinate = max((i + 0.5) * source_size / target_size - 0.5, 0.0)
    low = math.floor(coordinate)
    high = min(low + 1, source_size - 1)
    return low, high, coordinate - low


def upsample_bilinear(logits, size):
    """Bilinear resizing with align_corners=False: (B, K, h, w) -> (B, K, H, W).

    s_y = max((y + 0.5) * h / H - 0.5, 0), y0 = floor(s_y), y1 = min(y0 + 1, h - 1), t_y = s_y - y0,
    the same for x; out(y, x) = (1 - t_y) * ((1 - t_x) * in(y0, x0) + t_x * in(y0, x1))
                    + t_y * ((1 - t_x) * in(y1, x0) + t_x * in(y1, x1))
    """
    batch, _, source_height, source_width = logits.shape
    height, width = size
    out = []
    for b, y, x in product(range(batch), range(height), range(width)):
        y0, y1, ty = _linear_taps(y, source_height, height)
        x0, x1, tx = _linear_taps(x, source_width, width)
        upper = (1 - tx) * logits[b, :, y0, x0] + tx * logits[b, :, y0, x1]
        lower = (1 - tx) * logits[b, :, y1, x0] + tx * logits[b, :, y1, x1]
        out.append((1 - ty) * upper + ty * lower)
    return _as_features(out, batch, height, width)


def adaptive_average_pool(x, size):
    """(B, C, H, W) -> (B, C, h, w): output i is the mean of the inputs floor(i * H / h) ..

    ceil((i + 1) * H / h) - 1
    """
    batch, _, source_height, source_width = x.shape
    height, width = size
    out = []
    for b, i, j in product(range(batch), range(height), range(width)):
        rows = range(i * source_height // height, math.ceil((i + 1) * source_height / height))
        columns = range(j * source_width // width, math.ceil((j + 1) * source_width / width))
        out.append(
            sum(x[b, :, row, column] for row in rows for column in columns)
            / (len(rows) * len(columns))
        )
    return _as_features(out, batch, height, width)


def project(x, weight, bias, size):
    """Gamma (Section 3.2 and 3.3.1): a 1x1 convolution, then adaptive average pooling to `size`.

    out_o(y, x) = bias_o + sum_c weight_oc * in_c(y, x)
    Shapes: x (B, C, H, W); weight (O, C, 1, 1), as nn.Conv2d keeps it; bias (O,) or None -> (B, O,
        h, w).
    """
    batch, _, height, width = x.shape
    convolved = []
    for b, row, column in product(range(batch), range(height), range(width)):
        pixel = x[b, :, row, column]
        outputs = []
        for o in range(weight.shape[0]):
            output = (weight[o, :, 0, 0] * pixel).sum()
            outputs.append(output if bias is None else output + bias[o])
        convolved.append(torch.stack(outputs))
    return adaptive_average_pool(_as_features(convolved, batch, height, width), size)


# --- Cross-entropy (Eq. 1), and who teaches where
# ---------------------------------------------------------------------


def cross_entropy_map(logits, labels, ignore_index):
    """CE(y, x) = -log softmax(logits(y, x))[label(y, x)], and 0 where the label is `ignore_index`.

    Shapes: logits (B, K, H, W), labels (B, H, W) -> (B, H, W).
    """
    out = []
    for b, y, x in product(*map(range, labels.shape)):
        label = int(labels[b, y, x])
        if label == ignore_index:
            out.append(logits.new_zeros(()))
        else:
            out.append(-_log_softmax(logits[b, :, y, x])[label])
    return _as_map(out, *labels.shape)


def cross_entropy_loss(logits, labels, ignore_index):
    """L_CE (Eq. 1): the mean of CE(y, x) over the labelled pixels; 0 when there are none."""
    ce = cross_entropy_map(logits, labels, ignore_index)
    labelled = [
        ce[b, y, x]
        for b, y, x in product(*map(range, labels.shape))
        if int(labels[b, y, x]) != ignore_index
    ]
    return _mean(labelled, connected_to=logits)


def teaching_maps(ce_a, ce_b, labelled):
    """m and 1 - m of Eq. 4: where labelled, a teaches if CE_a < CE_b strictly, and b teaches
    otherwise.

    Shapes: all (B, H, W) -> a_teaches, b_teaches, both bool (B, H, W) and both False where not
        labelled.
    """
    a_teaches = torch.zeros(labelled.shape, dtype=torch.bool)
    b_teaches = torch.zeros(labelled.shape, dtype=torch.bool)
    for b, y, x in product(*map(range, labelled.shape)):
        if bool(labelled[b, y, x]):
            a_is_better = ce_a[b, y, x].item() < ce_b[b, y, x].item()
            a_teaches[b, y, x] = a_is_better
            b_teaches[b, y, x] = not a_is_better
    return a_teaches, b_teaches


def region_of(y, x, image_size, grid):
    """The region (floor(y * h / H), floor(x * w / W)) that pixel (y, x) of an (H, W) image belongs
    to.
    """
    return y * grid[0] // image_size[0], x * grid[1] // image_size[1]


def region_teaching(ce_a, ce_b, labelled, grid):
    """m-hat and 1 - m-hat of Eq. 3: the students' CE summed over the labelled pixels under each
    region, compared.

    a teaches where sum CE_a < sum CE_b strictly, b otherwise; a region without one labelled pixel
    teaches nobody.
    Shapes: all (B, H, W) -> a_teaches, b_teaches, both bool (B, h, w).
    """
    batch, height, width = labelled.shape
    a_teaches = torch.zeros((batch, *grid), dtype=torch.bool)
    b_teaches = torch.zeros((batch, *grid), dtype=torch.bool)
    for b in range(batch):
        sums = {}
        for y, x in product(range(height), range(width)):
            if bool(labelled[b, y, x]):
                region = region_of(y, x, (height, width), grid)
                sum_a, sum_b = sums.get(region, (0.0, 0.0))
                sums[region] = (sum_a + ce_a[b, y, x].item(), sum_b + ce_b[b, y, x].item())
        for (row, column), (sum_a, sum_b) in sums.items():
            a_teaches[b, row, column] = sum_a < sum_b
            b_teaches[b, row, column] = not sum_a < sum_b
    return a_teaches, b_teaches


# --- Pixel-wise distillation (Eq. 4)
# ----------------------------------------------------------------------------------


def kl_map(learner_logits, peer_logits, direction, temperature):
    """T^2 * KL per pixel, of softmax(z / T); the peer is a constant.

    'reverse', as Eq. 4 is printed: KL(learner || peer) = sum_k p_k * (log p_k - log q_k)
    'forward', as in DML and KD:    KL(peer || learner) = sum_k q_k * (log q_k - log p_k)
    with p the learner's and q the peer's probabilities.
    Shapes: logits (B, K, H, W) -> (B, H, W).
    """
    if direction not in ("reverse", "forward"):
        raise ValueError(f"direction must be 'reverse' or 'forward', got {direction!r}")
    batch, _, height, width = learner_logits.shape
    out = []
    for b, y, x in product(range(batch), range(height), range(width)):
        log_p = _log_softmax(learner_logits[b, :, y, x] / temperature)
        log_q = _log_softmax(peer_logits[b, :, y, x].detach() / temperature)
        if direction == "reverse":
            divergence = (torch.exp(log_p) * (log_p - log_q)).sum()
        else:
            divergence = (torch.exp(log_q) * (log_q - log_p)).sum()
        out.append(temperature**2 * divergence)
    return _as_map(out, batch, height, width)


def pixel_bsd(learner_logits, peer_logits, peer_teaches, direction, temperature):
    """L_P (Eq. 4): the mean of kl_map over the pixels where the peer teaches; 0 when there are
    none.

    Shapes: logits (B, K, H, W), peer_teaches bool (B, H, W). Gradient: learner_logits only.
    """
    kl = kl_map(learner_logits, peer_logits, direction, temperature)
    taught = [
        kl[b, y, x] for b, y, x in product(*map(range, kl.shape)) if bool(peer_teaches[b, y, x])
    ]
    return _mean(taught, connected_to=learner_logits)


# --- Comparing groups of classes
# --------------------------------------------------------------------------------------


def grouped_kl_map(learner_logits, peer_logits, groups, direction, temperature):
    """T^2 KL between the distributions over groups of classes at every pixel, proportional to
    P_g^(1/T), P_g = sum p_k.

    groups: lists of class ids, disjoint; of classes in none nothing is compared. (B, K, H, W) twice
        -> (B, H, W).
    Gradient: learner only.
    """
    batch, _, height, width = learner_logits.shape
    values = []
    for b, y, x in product(range(batch), range(height), range(width)):
        p = torch.exp(_log_softmax(learner_logits[b, :, y, x]))
        q = torch.exp(_log_softmax(peer_logits[b, :, y, x].detach()))
        p_groups, q_groups = (
            [sum(v[k] for k in group) ** (1 / temperature) for group in groups] for v in (p, q)
        )
        total = learner_logits[b, 0, y, x] * 0
        for p_group, q_group in zip(p_groups, q_groups, strict=True):
            p_group, q_group = p_group / sum(p_groups), q_group / sum(q_groups)
            if direction == "reverse":
                total = total + p_group * torch.log(p_group / q_group)
            else:
                total = total + q_group * torch.log(q_group / p_group)
        values.append(temperature**2 * total)
    return _as_map(values, batch, height, width)


def in_a_group(labels, groups):
    """Whether a pixel's label is in one of the groups of classes: (B, H, W) -> bool (B, H, W)."""
    members = [label for group in groups for label in group]
    return torch.tensor(
        [[[int(label) in members for label in row] for row in image] for image in labels]
    )


def divided_sum(values, mask, divisor):
    """The sum of a map over a mask, divided by the number of True in another one."""
    chosen = [values[p] for p in product(*map(range, values.shape)) if bool(mask[p])]
    return sum(chosen, (values * 0).sum()) / max(int(divisor.sum()), 1)


def connected_classes(blind, confusion):
    """Groups of classes: links join any two of a group; a blind class is linked to what is most
    often said instead.
    """
    links = []
    for label in blind:
        others = {
            k: confusion[label][k]
            for k in range(len(confusion))
            if k != label and confusion[label][k] > 0
        }
        if others:
            most = max(others.values())
            links.append({label, min(k for k, count in others.items() if count == most)})
    groups = [{label} for label in range(len(confusion))]
    for link in links:
        touched = [group for group in groups if group & link]
        groups = [group for group in groups if not group & link] + [set().union(*touched)]
    return {frozenset(group) for group in groups}


# --- Region-wise distillation (Eq. 3) and heterogeneous feature distillation (Eq. 2)
# ----------------------------------


def cosine_distance(x, y):
    """1 - x . y / (max(|x|, eps) * max(|y|, eps)) of two (C,) vectors, eps = 1e-8.

    A clamped norm is a constant.
    """
    eps = 1e-8
    norms = []
    for vector in (x, y):
        squared = (vector * vector).sum()
        # Decided before the root: the derivative of sqrt at 0 is infinite and would make the
        # gradient NaN.
        norms.append(torch.sqrt(squared) if squared.item() > eps**2 else eps)
    return 1 - (x * y).sum() / (norms[0] * norms[1])


def region_bsd(learner, peer, peer_teaches):
    """L_R (Eq. 3) with S = 1 - cos: the mean of S over the regions where the peer teaches; 0 when
    there are none.

    Shapes: learner, peer (B, C, h, w), peer_teaches bool (B, h, w). Gradient: learner only.
    """
    taught = []
    for b, row, column in product(*map(range, peer_teaches.shape)):
        if bool(peer_teaches[b, row, column]):
            taught.append(
                cosine_distance(learner[b, :, row, column], peer[b, :, row, column].detach())
            )
    return _mean(taught, connected_to=learner)


def hfd(transformed, target):
    """L_HFD (Eq. 2) with cos read as the distance 1 - cos: the mean over images and positions.

    transformed: the learner's projected first-stage features after the peer's second stage; target:
    the peer's own second-stage features. Shapes: both (B, C, h, w). Gradient: transformed only.
    """
    batch, _, height, width = transformed.shape
    distances = []
    for b, y, x in product(range(batch), range(height), range(width)):
        distances.append(cosine_distance(transformed[b, :, y, x], target[b, :, y, x].detach()))
    return _mean(distances, connected_to=transformed)


# --- Everything together (Eqs. 5 and 6)
# -------------------------------------------------------------------------------


@dataclass
class Student:
    """What one student brings to CTCL.

    The other student's features carry their own channel and grid sizes.
    """

    logits: torch.Tensor  # (B, K, h', w') at the student's own stride
    last: torch.Tensor  # (B, C, h'', w'') last features, before Gamma_l
    last_weight: torch.Tensor  # (O, C, 1, 1) of this student's Gamma_l
    last_bias: torch.Tensor | None  # (O,)
    # the peer's second stage (Gamma_1 (this student's first-stage features))
    hfd_transformed: torch.Tensor
    hfd_target: torch.Tensor  # the peer's own second-stage features, same shape


def ctcl_terms(a, b, labels, grid, *, ignore_index, direction, temperature, project_peer=True):
    """The unweighted terms of both students, by name: 'ce' (Eq. 1), 'hfd' (Eq. 2), 'region' (Eq.
    3), 'pixel' (Eq. 4).

    a is the CNN of the paper and b the ViT (it matters in ties alone); labels (B, H, W); grid (h,
    w) are the regions. Logits are resized to the labels. project_peer=True compares Gamma_a(a) with
    Gamma_b(b), as Eq. 3 is printed; False compares the learner's projection with the peer's own
    features, only pooled to the grid. Returns terms_a, terms_b. Gradient of terms_a reaches the
    tensors of a only, and of terms_b those of b.
    """
    logits_a = upsample_bilinear(a.logits, labels.shape[1:])
    logits_b = upsample_bilinear(b.logits, labels.shape[1:])
    ce_a = cross_entropy_map(logits_a, labels, ignore_index)
    ce_b = cross_entropy_map(logits_b, labels, ignore_index)
    labelled = labels != ignore_index
    pixel_a_teaches, pixel_b_teaches = teaching_maps(ce_a, ce_b, labelled)
    region_a_teaches, region_b_teaches = region_teaching(ce_a, ce_b, labelled, grid)

    projected_a = project(a.last, a.last_weight, a.last_bias, grid)
    projected_b = project(b.last, b.last_weight, b.last_bias, grid)
    peer_a = projected_a if project_peer else adaptive_average_pool(a.last, grid)
    peer_b = projected_b if project_peer else adaptive_average_pool(b.last, grid)

    terms_a = {
        "ce": cross_entropy_loss(logits_a, labels, ignore_index),
        "hfd": hfd(a.hfd_transformed, a.hfd_target),
        "region": region_bsd(projected_a, peer_b, region_b_teaches),
        "pixel": pixel_bsd(logits_a, logits_b, pixel_b_teaches, direction, temperature),
    }
    terms_b = {
        "ce": cross_entropy_loss(logits_b, labels, ignore_index),
        "hfd": hfd(b.hfd_transformed, b.hfd_target),
        "region": region_bsd(projected_b, peer_a, region_a_teaches),
        "pixel": pixel_bsd(logits_b, logits_a, pixel_a_teaches, direction, temperature),
    }
    return terms_a, terms_b


def total(terms, alpha, beta, gamma):
    """Eqs. 5 and 6: L = L_CE + beta * L_HFD + gamma * (L_R + alpha * L_P)."""
    return terms["ce"] + beta * terms["hfd"] + gamma * (terms["region"] + alpha * terms["pixel"])


# --- What CTCL is compared with
# ---------------------------------------------------------------------------------------


def kl_everywhere(learner, peer, labels, ignore_index, temperature):
    """T^2 KL(p_peer || p_learner) at every labelled pixel, the mean: DML, offline KD and, towards
    one target, KDCL.

    Shapes: logits (B, K, H, W), labels (B, H, W).
    """
    batch, classes, height, width = learner.shape
    values = []
    for b, y, x in product(range(batch), range(height), range(width)):
        if labels[b, y, x] == ignore_index:
            continue
        log_learner = _log_softmax(learner[b, :, y, x] / temperature)
        log_peer = _log_softmax(peer[b, :, y, x].detach() / temperature)
        total = sum(torch.exp(log_peer[k]) * (log_peer[k] - log_learner[k]) for k in range(classes))
        values.append(temperature**2 * total)
    return _mean(values, learner)


def error_matrix(a, b, labels, ignore_index):
    """KDCL-General's C: C_ij = sum over labelled pixels of sum_k (p_i,k - y_k) (p_j,k - y_k)."""
    batch, classes, height, width = a.shape
    matrix = [[0.0, 0.0], [0.0, 0.0]]
    for n, y, x in product(range(batch), range(height), range(width)):
        if labels[n, y, x] == ignore_index:
            continue
        errors = []
        for logits in (a, b):
            p = torch.exp(_log_softmax(logits[n, :, y, x]))
            errors.append(
                [float(p[k]) - (1.0 if k == labels[n, y, x] else 0.0) for k in range(classes)]
            )
        for i, j in product((0, 1), (0, 1)):
            matrix[i][j] += sum(e * f for e, f in zip(errors[i], errors[j], strict=True))
    return torch.tensor(matrix, dtype=torch.float64)


def minimum_logits(a, b, labels, ignore_index):
    """KDCL-MinLogit: z_t,k = min over students of z_k - z_y; where ignored, anything."""
    target = torch.zeros_like(a)
    batch, classes, height, width = a.shape
    for n, y, x, k in product(range(batch), range(height), range(width), range(classes)):
        true = int(labels[n, y, x])
        if true != ignore_index:
            target[n, k, y, x] = min(
                z[n, k, y, x] - z[n, true, y, x] for z in (a.detach(), b.detach())
            )
    return target


def channel_kl(learner, peer, temperature):
    """CWD: T^2 / (B K) sum over images and channels of KL(softmax over positions of peer / T || of
    learner / T).
    """
    batch, channels = learner.shape[:2]
    total = 0
    for b, k in product(range(batch), range(channels)):
        log_learner = _log_softmax(learner[b, k].reshape(-1) / temperature)
        log_peer = _log_softmax(peer[b, k].detach().reshape(-1) / temperature)
        total = total + (torch.exp(log_peer) * (log_peer - log_learner)).sum()
    return temperature**2 * total / (batch * channels)


def class_similarities(features, labels, ignore_index):
    """IFVD: of each labelled position, in order, the cosine of its feature to the mean feature of
    its class, per image.

    Shapes: features (B, C, h, w), labels (B, h, w).
    """
    batch, _, height, width = features.shape
    found = []
    for b in range(batch):
        places = [p for p in product(range(height), range(width)) if labels[b][p] != ignore_index]
        for place in places:
            same = [features[b, :, y, x] for y, x in places if labels[b, y, x] == labels[b][place]]
            prototype, own = sum(same) / len(same), features[b, :, place[0], place[1]]
            lengths = torch.sqrt((own * own).sum()) * torch.sqrt((prototype * prototype).sum())
            found.append((own * prototype).sum() / lengths)
    return found


def class_variation(learner, peer, labels, ignore_index):
    """IFVD: the mean over labelled positions of (M_learner - M_peer)^2, on one grid."""
    ours = class_similarities(learner, labels, ignore_index)
    theirs = class_similarities(peer.detach(), labels, ignore_index)
    return _mean([(m - n) ** 2 for m, n in zip(ours, theirs, strict=True)], learner)
