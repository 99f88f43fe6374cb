"""Universal segmentation (Mask2Former, MaskFormer, EoMT) seen as semantic segmentation: class maps
made of queries.
"""

import torch
from torch import Tensor

from ..losses.precision import in_full_precision
from .logits import LogitStudent

# What transformers' AutoModelForUniversalSegmentation knows whose images need no words (OneFormer),
# no boxes (DETR) and no frames before (VidEoMT).
QUERY_TYPES = ("mask2former", "maskformer", "eomt", "eomt_dinov3")


@in_full_precision
def query_log_probabilities(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """The class map of N queries, each a guess at a class and at where it is, as log-probabilities.

        S_k(x) = sum over q of softmax(class logits of q)_k sigmoid(mask logits of q at x)
        log p_k(x) = log S_k(x) - log sum over classes j of S_j(x)

    The softmax is over the K classes and "no object", which comes last and is left out of the sums:
    S is the map of MaskFormer's semantic inference (Cheng et al., NeurIPS 2021, 4.3), whose largest
    entry is the prediction. It is no distribution, since a pixel may lie in several masks, or in
    none. Divided by its sum it is one, with the same prediction, and its logarithm serves as
    logits: softmax(log p) = p, and softmax(log p / T) is p softened to T. Where no query says
    anything all classes are alike.

    Shapes: class_logits (B, N, K + 1), mask_logits (B, N, h, w) -> (B, K, h, w), float32.
    """
    classes = class_logits.softmax(-1)[..., :-1]
    scores = torch.einsum("bqk,bqyx->bkyx", classes, mask_logits.sigmoid())
    scores = scores.clamp_min(torch.finfo(scores.dtype).tiny)  # a logarithm is to be finite
    return scores.log() - scores.sum(1, keepdim=True).log()


class QueryStudent(LogitStudent):
    """A model of `QUERY_TYPES`, of which only the class map is known. It teaches; none is
    trained so, since its own loss matches masks.
    """

    @property
    def description(self) -> str:
        name = type(self.model).__name__.removesuffix("ForUniversalSegmentation")
        return name.removesuffix("ForInstanceSegmentation")  # as MaskFormer's is called

    def raw_logits(self, pixel_values: Tensor) -> Tensor:
        output = self.model(pixel_values=self.normalize(pixel_values))
        return query_log_probabilities(output.class_queries_logits, output.masks_queries_logits)
