"""The losses of methods later than CTCL, slowly, as in `reference`: loops, from equations alone.

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


def _correlation(xs, ys):
    """Pearson's, of two lists of scalars."""
    x_mean, y_mean = sum(xs) / len(xs), sum(ys) / len(ys)
    covariance = sum((x - x_mean) * (y - y_mean) for x, y in zip(xs, ys, strict=True))
    x_square, y_square = sum((x - x_mean) ** 2 for x in xs), sum((y - y_mean) ** 2 for y in ys)
    return covariance / torch.sqrt(x_square * y_square)


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


def inter_class_distance(learner, peer):
    """The mean over positions of 1 - the correlation over classes; logits of one size."""
    places, (own, other) = _probabilities(learner, peer)
    distances = [1 - _correlation(list(own[place]), list(other[place])) for place in places]
    return sum(distances) / len(distances)


def intra_class_distance(learner, peer, per_image):
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
        distances.append(1 - _correlation(*sides))
    return sum(distances) / len(distances)
