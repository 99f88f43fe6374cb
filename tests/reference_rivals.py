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
