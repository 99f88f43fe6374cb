"""IoU in which frequent classes count more."""

from typing import ClassVar

from .metric import Metric


class FrequencyWeightedIoU(Metric):
    """Sum over classes of the class's share of the labelled pixels times its IoU.

    Long, Shelhamer, Darrell: Fully convolutional networks for semantic segmentation, CVPR 2015,
    section 5 ("frequency weighted IU").
    """

    TITLES: ClassVar = {"frequency_weighted_iou": "frequency-weighted IoU"}

    def compute(self) -> dict[str, float]:
        counts = self.sums.double()
        labelled = counts.sum(1)
        # at least 1 where a class does not occur, and weighs nothing
        union = (labelled + counts.sum(0) - counts.diagonal()).clamp_min(1)
        share = (labelled * counts.diagonal() / union).sum() / labelled.sum()
        return {"frequency_weighted_iou": share.item()}
