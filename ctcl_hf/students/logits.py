"""Any segmentation model as a student of which only the logits are known."""

from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from ..data import IGNORE_INDEX
from .student import FeaturesUnknown, Student, StudentOutput, has_attention

# Models of transformers whose encoders are convolutions with attention between them.
HYBRID_TYPES = ("mobilevit", "mobilevitv2")


class LogitStudent(Student):
    """Any other model of `AutoModelForSemanticSegmentation`: its logits, and no features."""

    takes_any_size = False

    @property
    def family(self) -> str:
        if self.config.model_type in HYBRID_TYPES:
            return "hybrid"
        return "vit" if has_attention(self.model) else "cnn"

    @property
    def ignore_index(self) -> int:
        return IGNORE_INDEX  # the data's: its configuration need not have such a field

    @property
    def description(self) -> str:
        return type(self.model).__name__.removesuffix("ForSemanticSegmentation")

    @property
    def can_checkpoint(self) -> bool:
        return self.model.supports_gradient_checkpointing and not any(
            isinstance(module, _BatchNorm) for module in self.model.modules()
        )

    def _lacks(self, name: str) -> FeaturesUnknown:
        return FeaturesUnknown(f"The stages of a {self.config.model_type} are not known")

    def forward(self, pixel_values: Tensor) -> StudentOutput:
        return StudentOutput(logits=self.raw_logits(pixel_values))
