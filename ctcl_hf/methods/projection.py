"""How a student's features are brought to the channels and the grid of another's."""

from torch import Tensor, nn

from ..losses import average_pool


class Projection(nn.Conv2d):
    """CTCL's Gamma: a 1x1 convolution and average pooling, (B, C, h, w) -> (B, C', *size)."""

    def __init__(self, in_channels: int, out_channels: int):
        super().__init__(in_channels, out_channels, kernel_size=1)

    def forward(self, features: Tensor, size: tuple[int, int]) -> Tensor:  # type: ignore[override]  # has a size
        # A 1x1 convolution and averaging commute; pooling first leaves the convolution fewer
        # positions.
        return super().forward(average_pool(features, size))
