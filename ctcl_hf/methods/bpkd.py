"""Boundary-privileged distillation (BPKD; Liu et al., WACV 2024), between students."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from ..losses import Mean, edge_distillation
from ..students import StudentOutput
from .options import DistillationOptions, OddWidth, Positive, Weight, option
from .paper import Paper
from .peers import PeerObjective


@dataclass(kw_only=True)
class BPKDOptions(DistillationOptions):
    """Options of boundary-privileged distillation."""

    TEACHERS = "optional"

    edge_weight: Weight = option(
        3.0, "Weight of what a student learns at edges: not the paper's, which divides otherwise."
    )
    body_weight: Weight = option(
        3.0, "The same within bodies, channel by channel: that of --method cwd."
    )
    edge_width: OddWidth = option(
        7, "Width in pixels of the square in which two labels make an edge (paper: 7)."
    )
    temperature: Positive = option(
        1.0, "Temperature T of the distributions compared; both terms are scaled by T^2."
    )


class BPKD(PeerObjective):
    """L = CE + w_edge T^2 / N sum over edges of KL(peer || learner) + w_body CWD within bodies, N
    the number of labelled positions.

    Edges are where the labels around a pixel differ, bodies are the rest; on logits at the
    learner's own stride. Derived from the paper's words (its code is not free), and simplified:
    one band for all classes, and positions outside a term are left out of it, where the paper
    multiplies logits by soft masks class by class.
    """

    Options = BPKDOptions
    options: BPKDOptions
    TERMS: ClassVar[dict[str, str]] = {
        "edge": "KL at edges (nats)",
        "body": "channel-wise KL within bodies (nats)",
    }
    WEIGHTS: ClassVar[dict[str, str]] = {"edge": "edge_weight", "body": "body_weight"}
    PAPER = Paper(
        key="liu2024bpkd",
        title="{BPKD}: Boundary Privileged Knowledge Distillation For Semantic Segmentation",
        authors="Liu, Liyang and Wang, Zihan and Phan, Minh Hieu and Zhang, Bowen and Ge, Jinchao "
        "and Liu, Yifan",
        venue="Proceedings of the IEEE/CVF Winter Conference on Applications of Computer Vision "
        "(WACV)",
        year=2024,
        url="https://arxiv.org/abs/2306.08075",
    )

    def taught(
        self, i: int, learner: StudentOutput, peer: StudentOutput, labels: Tensor
    ) -> dict[str, Mean | Tensor]:
        edge, body = edge_distillation(
            learner.logits,
            peer.logits,
            labels,
            self.options.edge_width,
            self.options.temperature,
            self.ignore_index,
        )
        return {"edge": edge, "body": body}
