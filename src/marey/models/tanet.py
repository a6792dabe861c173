"""TANet: a ResNet-50 whose kernel over time is made for each clip.

Paper: Liu et al., "TAM: Temporal Adaptive Module for Video Recognition", ICCV 2021, arXiv
2005.06803 (no relation of IBM's TAM, which is `marey.models.ibm`). Reference:
liu-zhy/temporal-adaptive-module@5fcb46f `ops/temporal_module.py`, `ops/models.py`; mmaction2's
`mmaction/models/backbones/tanet.py` for its names.

timm's ResNet-50 with the rule `gate`: in each block, between the first convolution's ReLU and the
3x3 convolution, a gate for each frame and a kernel over three frames for each channel, both
computed from the channel's course over the clip. The linear layers that do so fix the number of
frames: `frames` is an option.

Deviations: the mean over the frames is taken before the last layer, which is linear. The authors'
own weights are on Google Drive, which has no addresses that stay, and so are not listed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from marey.models import _mmaction2
from marey.models._image_nets import image_net, imagenet, mmaction2_name
from marey.models._net import Net
from marey.models._registry import register
from marey.models.timed import timed

_FOLDER = "tanet_imagenet-pretrained-r50_8xb8-dense-1x1x8-100e_kinetics400-rgb"


def from_authors(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names as timm's, and as the rule's for what it put in."""
    return {
        _own(name.removeprefix("base_model."), "net").replace("new_fc.", "fc."): value
        for name, value in state.items()
    }


def from_mmaction2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same of mmaction2's."""
    return {
        mmaction2_name(_own(name.removeprefix("backbone."), "block")): value
        for name, value in state.items()
    }


def _own(name: str, wrapped: str) -> str:
    """Inside a block: `wrapped` holds the image network's layers, `tam` what was added."""
    name = re.sub(rf"^(layer\d\.\d+)\.{wrapped}\.", r"\1.", name)
    return re.sub(r"^(layer\d\.\d+)\.tam\.", r"body.net.\1.conv2.mix.", name)


@register(
    imagenet(frames=8, every=8, resize=256, size=(224, 224), views=(10, 3)),
    classes=400,
    paper="2005.06803",
    reference="liu-zhy/temporal-adaptive-module@5fcb46f",
    weights={
        "k400_mm": _mmaction2.trained(
            "tanet",
            _FOLDER,
            "20220919-a34346bc",
            input=imagenet(frames=8, every=8, resize=256, size=(256, 256), views=(10, 3)),
            top1=76.25,
            protocol="Kinetics-400 val, dense, 3 crops, 8x256x256 (mmaction2)",
        )
    },
)
def tanet_resnet50(*, classes: int, dropout: float = 0.5, frames: int = 8) -> Net:
    image = image_net("resnet50", classes)
    net = timed(image, "gate:init=paper", frames=frames, classes=classes, dropout=dropout)
    net.layouts |= {"tanet": from_authors, "mmaction2": from_mmaction2}
    return net
