"""What arguments choose between: of what the paper leaves open (docs/fidelity.md), as types; and of
weights of classes.
"""

from typing import Literal

# Order of the divergence in Eq. 4: "reverse" is KL(learner || peer), as printed; "forward" is
# KL(peer || learner).
KLDirection = Literal["reverse", "forward"]

# What a student's term of BSD is divided by: the pixels or regions at which it is "taught", as Eqs.
# 3 and 4 are printed, or all "labelled" ones, as its cross entropy is.
Divisor = Literal["taught", "labelled"]

# What is compared at a pixel: the probabilities of "all" classes, as printed, those of the classes
# that the peer knows ("known"), or those of groups of classes that it tells apart ("grouped"): see
# `ClassGroups`.
PixelClasses = Literal["all", "known", "grouped"]

# Who is projected in Eq. 3: "both" students, as printed, or the "learner" onto the peer's own
# features.
RegionProjection = Literal["both", "learner"]

# Over which positions a channel's mean and variance are taken: those of all images of the "batch",
# of a process's micro-batch that is, or those of each "image".
StatisticsOver = Literal["batch", "image"]

# KDCL's one target for both students: see `KDCL`.
KDCLTarget = Literal["minlogit", "naive", "linear", "general"]

# Weights of the classes in the cross entropies: the power of the inverse of their shares of the
# training pixels.
POWERS_OF_CLASS_WEIGHTS = {"balanced": 1.0, "sqrt": 0.5}
