"""Which encoders are CNNs, vision transformers and hybrids: it decides the optimizer, and what
--cnn and --vit take.
"""

import pytest
import torch

from ctcl_hf.models import DeepLabV3PlusConfig
from ctcl_hf.models.modeling_deeplabv3plus import create_encoder
from ctcl_hf.students.deeplabv3plus import encoder_family

ENCODERS = {
    "cnn": [
        "mobilenetv2_100",
        "resnet50",
        "convnext_tiny",
        "regnety_002",
        "skresnet18",
        "resnest14d",
    ],
    "hybrid": [
        "maxvit_tiny_tf_224",
        "coatnet_nano_rw_224",
        "mobilevitv2_050",
        "botnet26t_256",
        "halonet26t",
        "sehalonet33ts",
        "lambda_resnet26t",
        "edgenext_xx_small",
        "efficientvit_b0",
    ],
    "vit": ["pvt_v2_b0", "hiera_tiny_224", "davit_tiny", "twins_svt_small", "twins_pcpvt_small"],
}


@pytest.mark.parametrize(
    ("encoder", "family"), [(name, family) for family in ENCODERS for name in ENCODERS[family]]
)
def test_an_encoder_is_of_the_family_that_its_layers_make_it(encoder, family):
    """By names of classes alone, attention called otherwise (BottleneckAttn, HaloAttn, LambdaLayer,
    LiteMLA) was none, so that its encoder trained by the CNN's SGD; and transformers without any
    convolution were hybrids.
    """
    with torch.device("meta"):
        built = create_encoder(DeepLabV3PlusConfig(encoder=encoder, output_stride=32))
    assert encoder_family(built) == family
