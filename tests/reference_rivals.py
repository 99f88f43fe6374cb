"""The losses of methods that CTCL's paper does not compare with, slowly, as in `reference`: loops,
from the equations alone.

This file shares no code with the package that it checks.
"""

from itertools import product

import torch

# --- Plain feature distillation
# ---------------------------------------------------------------------------


def standardised_distance(projected, peer, per_image):
    """Mean of the squared difference of both sides' channels, each at mean 0 and variance 1 over
    the positions of all images, or of each image.

    Shapes: (B, C, h, w) twice; the peer is a constant.
    """
    batch, channels, height, width = projected.shape
    groups = [[b] for b in range(batch)] if per_image else [list(range(batch))]
    squares = []
    for images, c in product(groups, range(channels)):
        sides = []
        for features in (projected, peer.detach()):
            values = [
                features[b, c, y, x] for b, y, x in product(images, range(height), range(width))
            ]
            mean = sum(values) / len(values)
            variance = sum((value - mean) ** 2 for value in values) / len(values)
            sides.append([(value - mean) / torch.sqrt(variance + 1e-5) for value in values])
        squares += [(own - other) ** 2 for own, other in zip(*sides, strict=True)]
    return sum(squares) / len(squares)


# --- DIST
# ---------------------------------------------------------------------------


def _log_softmax(scores):
    """Of a few scores."""
    shifted = scores - max(scores.tolist())
    return shifted - torch.log(torch.exp(shifted).sum())


def _correlation(xs, ys, floor):
    """Pearson's, of two lists of scalars, with floor^2 added to their variances."""
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True)) / len(xs)
    x_variance = sum((x - x_mean) ** 2 for x in xs) / len(xs)
    y_variance = sum((y - y_mean) ** 2 for y in ys) / len(ys)
    return covariance / torch.sqrt((x_variance + floor**2) * (y_variance + floor**2))


def _probabilities(learner, peer):
    """Of both sides, the (K,) probabilities at each (image, row, column); the peer's are
    constants.
    """
    batch, _, height, width = learner.shape
    places = list(product(range(batch), range(height), range(width)))
    return places, [
        {(b, y, x): torch.exp(_log_softmax(logits[b, :, y, x])) for b, y, x in places}
        for logits in (learner, peer.detach())
    ]


def inter_class_distance(learner, peer, floor):
    """The mean over positions of 1 - the correlation over classes; logits of one size."""
    places, (own, other) = _probabilities(learner, peer)
    distances = [1 - _correlation(list(own[place]), list(other[place]), floor) for place in places]
    return sum(distances) / len(distances)


def intra_class_distance(learner, peer, per_image, floor):
    """The mean over classes, and over images if one by one, of 1 - the correlation over
    positions.
    """
    places, (own, other) = _probabilities(learner, peer)
    batch = learner.shape[0]
    groups = [[b] for b in range(batch)] if per_image else [list(range(batch))]
    distances = []
    for images, k in product(groups, range(learner.shape[1])):
        inside = [place for place in places if place[0] in images]
        sides = [[side[place][k] for place in inside] for side in (own, other)]
        distances.append(1 - _correlation(*sides, floor))
    return sum(distances) / len(distances)


# --- BPKD
# ---------------------------------------------------------------------------


def edge_band(labels, width):
    """Where a pixel is in some label's mask dilated, and not in it eroded, by a square inside the
    image.
    """
    batch, height, width_of_image = labels.shape
    reach = width // 2
    band = torch.zeros_like(labels, dtype=torch.bool)
    for b, y, x in product(range(batch), range(height), range(width_of_image)):
        around = [
            int(labels[b, row, column])
            for row in range(max(y - reach, 0), min(y + reach + 1, height))
            for column in range(max(x - reach, 0), min(x + reach + 1, width_of_image))
        ]
        for label in set(around):
            dilated, eroded = label in around, all(each == label for each in around)
            band[b, y, x] |= dilated and not eroded
    return band


def _kl(log_peer, log_learner):
    return (torch.exp(log_peer) * (log_peer - log_learner)).sum()


def edge_and_body(learner, peer, labels, width, temperature, ignore_index):
    """BPKD: KL at labelled edges over all labelled positions, and KL over positions of each
    channel's body over images and channels, both times T^2; logits of one size.
    """
    batch, channels, height, columns = learner.shape
    peer, band = peer.detach(), edge_band(labels, width)
    edge = body = (learner * 0).sum()
    labelled = 0
    for b in range(batch):
        inside = []
        for y, x in product(range(height), range(columns)):
            pixel = (
                y * 2 * labels.shape[1] // (2 * height) + labels.shape[1] // (2 * height),
                x * 2 * labels.shape[2] // (2 * columns) + labels.shape[2] // (2 * columns),
            )
            if labels[b][pixel] == ignore_index:
                continue
            labelled += 1
            if band[b][pixel]:
                sides = [_log_softmax(z[b, :, y, x] / temperature) for z in (peer, learner)]
                edge = edge + _kl(*sides)
            else:
                inside.append((y, x))
        for k in range(channels if inside else 0):
            sides = [
                _log_softmax(torch.stack([z[b, k, y, x] for y, x in inside]) / temperature)
                for z in (peer, learner)
            ]
            body = body + _kl(*sides)
    scale = temperature**2
    return scale * edge / max(labelled, 1), scale * body / (batch * channels)


# --- HeteroAKD
# ---------------------------------------------------------------------------


def _log_sigmoid(z):
    """log of 1 / (1 + exp(-z)), of a scalar."""
    return -torch.log1p(torch.exp(-z)) if z > 0 else z - torch.log1p(torch.exp(z))


def _binary_cross_entropy(z, is_class):
    return -_log_sigmoid(z) if is_class else -_log_sigmoid(-z)


def _centres(labels, size):
    """Labels (B, H, W) at the centres of a grid (h, w)."""
    rows, columns = (
        [pixels * (2 * i + 1) // (2 * points) for i in range(points)]
        for pixels, points in zip(labels.shape[1:], size, strict=True)
    )
    return torch.stack([labels[:, y, x] for y, x in product(rows, columns)], 1).view(-1, *size)


def mixed_knowledge(learner, peer, labels, ignore_index):
    """HeteroAKD: of each image and class, the sum over labelled positions of w KL(Bernoulli(Z) ||
    Bernoulli(Z_learner)); the mean over images with a label, and over classes.
    """
    batch, classes, height, width = learner.shape
    peer, labels = peer.detach(), _centres(labels, (height, width))
    sums = []
    for b in range(batch):
        places = [p for p in product(range(height), range(width)) if labels[b][p] != ignore_index]
        for k in range(classes if places else 0):
            divergences, importances = [], []
            for place in places:
                is_class = int(labels[b][place]) == k
                z, z_own, z_peer = (
                    learner[b, k][place],
                    learner[b, k][place].detach(),
                    peer[b, k][place],
                )
                own = _binary_cross_entropy(z_own, is_class)
                other = _binary_cross_entropy(z_peer, is_class)
                share = 1 - other / (other + own)
                mixture = share * z_peer + (1 - share) * z_own
                mixed = _binary_cross_entropy(mixture, is_class)
                importances.append(own + torch.relu(own - mixed))
                p = torch.exp(_log_sigmoid(mixture))
                divergences.append(
                    p * (_log_sigmoid(mixture) - _log_sigmoid(z))
                    + (1 - p) * (_log_sigmoid(-mixture) - _log_sigmoid(-z))
                )
            weights = torch.exp(_log_softmax(torch.stack(importances)))
            sums.append((weights * torch.stack(divergences)).sum())
    return sum(sums) / len(sums) if sums else (learner * 0).sum()


def projection_cross_entropy(projections, labels, ignore_index):
    """The mean over labelled positions and classes of the binary cross entropy, of each projection
    (B, K, h, w), summed over projections.
    """
    batch, classes, height, width = projections[0].shape
    labels = _centres(labels, (height, width))
    errors = [
        sum(_binary_cross_entropy(z[b, k, y, x], int(labels[b, y, x]) == k) for z in projections)
        for b, k, y, x in product(range(batch), range(classes), range(height), range(width))
        if labels[b, y, x] != ignore_index
    ]
    return sum(errors) / len(errors) if errors else sum((z * 0).sum() for z in projections)
