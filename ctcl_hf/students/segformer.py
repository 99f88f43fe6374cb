"""SegFormer as a student."""

from torch import Tensor, nn
from transformers import SegformerForSemanticSegmentation

from ..models.segformer import decode
from .student import Student, StudentOutput


class SegformerStudent(Student):
    """SegFormer as it stands in transformers, its decode head in a cheaper order; stages are its
    MiT encoder's.
    """

    model: SegformerForSemanticSegmentation

    @property
    def family(self) -> str:
        return "vit"

    @property
    def head(self) -> nn.Module:
        return self.model.decode_head

    @property
    def can_checkpoint(self) -> bool:
        return True  # its encoder's layers only, which have no BatchNorm

    @property
    def second_stage(self) -> nn.Module:
        return self.model.segformer.stages[1]

    @property
    def description(self) -> str:
        depths = "-".join(map(str, self.config.depths))
        return (
            f"SegFormer, MiT {depths} of width "
            f"{self.config.hidden_sizes[0]}-{self.config.hidden_sizes[-1]}"
        )

    @property
    def low_channels(self) -> int:
        return self.config.hidden_sizes[0]

    @property
    def last_channels(self) -> int:
        return self.config.hidden_sizes[-1]

    def features(self, pixel_values: Tensor) -> tuple[Tensor, ...]:
        """The encoder's four features, (B, C_i, H/s, W/s) at strides 4, 8, 16, 32."""
        return self.model.segformer(
            self.normalize(pixel_values), output_hidden_states=True
        ).hidden_states

    def raw_logits(self, pixel_values: Tensor) -> Tensor:
        return decode(self.model.decode_head, self.features(pixel_values))

    def forward(self, pixel_values: Tensor) -> StudentOutput:
        features = self.features(pixel_values)
        return StudentOutput(
            logits=decode(self.model.decode_head, features),
            low=features[0],
            second=features[1],
            last=features[-1],
            auxiliary_logits=None,
            second_stage=self.borrowed_second_stage,
        )
