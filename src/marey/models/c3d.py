"""Eight 3x3x3 convolutions in a row: C3D.

Paper: Tran et al., "Learning Spatiotemporal Features with 3D Convolutional Networks", ICCV 2015,
arXiv 1412.0767. Reference: open-mmlab/mmaction2@4d6c934 `mmaction/models/backbones/c3d.py`.

VGG over space and time: convolutions with bias and no norm, a max-pool after the first, the second
and each further pair, fc6 and fc7. The first pool keeps all frames; the last pads height and width,
so that the 7 rows and columns of a picture of 112 become 4.

Deviations: fc6 looks at a map of 1x4x4, which clips of 16 to 31 frames of 96 to 127 pixels have; of
any other clip the map is averaged to that, where the reference fails. The authors subtracted a mean
clip; a mean colour, as here, is mmaction2's.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from itertools import pairwise

import torch
from torch import Tensor, nn

from marey.models import _mmaction2
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import renamed
from marey.nn.heads import Mean
from marey.nn.init import he_fan_out
from marey.types import Input

GRID = (1, 4, 4)  # T H W of the map that the weights of fc6 are for


def stage(*widths: int, pool: tuple[int, int, int] = (2, 2, 2), pad: int = 0) -> nn.Sequential:
    """3x3x3 convolutions from each width to the next, each with a ReLU, and a max-pool."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise(widths):
        layers += [nn.Conv3d(inputs, outputs, 3, padding=1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers, nn.MaxPool3d(pool, padding=(0, pad, pad)))


def averaged(x: Tensor, axis: int, size: int) -> Tensor:
    """`axis` brought to `size` by means, as by `adaptive_avg_pool3d`, which torch's ONNX lacks."""
    whole = x.shape[axis]
    windows = [(k * whole // size, -(-(k + 1) * whole // size)) for k in range(size)]
    means = [x.narrow(axis, start, end - start).mean(axis) for start, end in windows]
    return torch.stack(means, axis)


class FullyConnected(nn.Module):
    """fc6 and fc7 on the whole map, N C T H W → N 4096 1 1 1."""

    def __init__(self, channels: int, dropout: float) -> None:
        super().__init__()
        frames, height, width = GRID
        self.fc6 = nn.Linear(channels * frames * height * width, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for axis, size in enumerate(GRID, start=2):
            x = averaged(x, axis, size)
        x = self.dropout(self.fc6(x.flatten(1)).relu())
        return self.fc7(x).relu()[:, :, None, None, None]  # type: ignore[no-any-return]


class C3D(Net):
    """Five stages of convolutions (64 to 512 channels), fc6 and fc7; then linear.

    The body ends in fc7, N 4096 1 1 1, which a head for other classes so keeps.
    """

    least = (16, 16, 16)  # four pools over time; over space a fifth, which pads

    def __init__(self, *, classes: int, dropout: float) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=stage(3, 64, pool=(1, 2, 2)),
            conv2=stage(64, 128),
            conv3=stage(128, 256, 256),
            conv4=stage(256, 512, 512),
            conv5=stage(512, 512, 512, pad=1),
            fc=FullyConnected(512, dropout),
        )
        super().__init__(nn.Sequential(layers), Mean(4096, classes, dropout))
        he_fan_out(self)
        for module in self.body.modules():
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.005)
                nn.init.zeros_(module.bias)

    def early(self) -> int:
        """All before `conv5`, from which on the resolution is the last."""
        return 4

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`mmaction2` calls the convolutions of a stage a and b."""
        if layout != "mmaction2":
            return super().convert(state, layout)
        return renamed(state, _NAMES)


_NAMES = {
    **{f"backbone.conv{k}a.conv.": f"body.conv{k}.0." for k in range(1, 6)},
    **{f"backbone.conv{k}b.conv.": f"body.conv{k}.2." for k in range(3, 6)},
    "backbone.fc": "body.fc.fc",
    "cls_head.fc_cls.": "head.linear.",
}


_CONFIG = "c3d_sports1m-pretrained_8xb30-16x1x1-45e_ucf101-rgb"


@register(
    # Every frame; colours from 0 to 255, less a mean.
    Input(
        frames=16,
        resize=128,
        size=(112, 112),
        mean=(104 / 255, 117 / 255, 128 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),
        views=(10, 1),
    ),
    classes=101,
    paper="1412.0767",
    reference="open-mmlab/mmaction2@4d6c934",
    weights={
        "ucf101": _mmaction2.trained(
            "c3d",
            _CONFIG,
            "20220811-31723200",
            top1=83.08,
            protocol="UCF-101 split 1, 10 clips x 1 crop, 16x112x112 (mmaction2)",
        )
    },
    default="ucf101",
)
def c3d(*, classes: int, dropout: float = 0.5) -> Net:
    return C3D(classes=classes, dropout=dropout)
