"""Mean Dice coefficient, which is the F1 score of each class."""

from typing import ClassVar

from .metric import Metric


class Dice(Metric):
    """Mean over the classes that occur of 2 TP / (2 TP + FP + FN).

    Lee R. Dice: Measures of the amount of ecologic association between species. Ecology 26(3),
    1945.
    """

    TITLES: ClassVar = {"mean_dice": "mean Dice"}

    def compute(self) -> dict[str, float]:
        counts = self.sums.double()
        dice = 2 * counts.diagonal() / (counts.sum(0) + counts.sum(1))
        return {"mean_dice": dice.nanmean().item()}  # 0 / 0 where a class does not occur
