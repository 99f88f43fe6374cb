"""What the paper leaves open, as the types of the arguments that choose (docs/fidelity.md)."""

from typing import Literal

# Order of the divergence in Eq. 4: "reverse" is KL(learner || peer), as printed; "forward" is KL(peer || learner).
KLDirection = Literal["reverse", "forward"]

# Who is projected in Eq. 3: "both" students, as printed, or the "learner" onto the peer's own features.
RegionProjection = Literal["both", "learner"]

# KDCL's one target for both students: see `KDCL`.
KDCLTarget = Literal["minlogit", "naive", "linear", "general"]

# How images are scored: see `Protocol`.
ProtocolName = Literal["whole", "centre_crop", "sliding"]
