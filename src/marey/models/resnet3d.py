"""Residual networks over space and time: R3D, MCx, rMCx and R(2+1)D.

Paper: Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR
2018, arXiv 1711.11248. References: pytorch/vision@1f1a920 `torchvision/models/video/resnet.py` for
the graphs and their 18-layer weights; facebookresearch/VMZ@4cc542d `c2/lib/models/r3d_model.py`
for which stages are 3D; moabitcoin/ig65m-pytorch@fc749e2 for R(2+1)D-34.

One basic-block network; what a 3x3 convolution does with time is an argument, per stage:

    R3D       stem 3x7x7, every stage 3x3x3
    MCx       stem 3x7x7, stages x..5 look at single frames (1x3x3) and keep their number
    rMCx      the reverse: stem 1x7x7 and stages below x look at single frames, the others are 3x3x3
    R(2+1)D   1x3x3 to a middle width, norm, ReLU, then 3x1x1

Deviations: the head takes the mean over whatever T, H and W is left, with an option of dropout
before the last layer. The middle width of R(2+1)D is taken from the block's own input for both
convolutions in torchvision (`per="block"`), from each convolution's own input in Caffe2
(`per="convolution"`), and the weights differ accordingly. Caffe2's R(2+1)D-34 has a norm epsilon
of 1e-3. The published ports train with a BatchNorm momentum of 0.9, a misreading of Caffe2's
decay; here it is torch's 0.1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal

from torch import Tensor, nn

from marey.models._labels import kinetics400
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights
from marey.nn.heads import Mean
from marey.nn.init import he_fan_out
from marey.types import Input

Norm = Callable[[int], nn.Module]
Per = Literal["block", "convolution"]


class Space(nn.Conv3d):
    """1x3x3: each frame by itself, and all of them kept."""

    def __init__(self, inputs: int, outputs: int, stride: int, middle: int, norm: Norm) -> None:
        super().__init__(
            inputs, outputs, (1, 3, 3), self.shortcut_stride(stride), (0, 1, 1), bias=False
        )

    @staticmethod
    def shortcut_stride(stride: int) -> tuple[int, int, int]:
        return 1, stride, stride


class SpaceTime(nn.Conv3d):
    """3x3x3: space and time at once, strided alike."""

    def __init__(self, inputs: int, outputs: int, stride: int, middle: int, norm: Norm) -> None:
        super().__init__(inputs, outputs, 3, stride, 1, bias=False)

    @staticmethod
    def shortcut_stride(stride: int) -> tuple[int, int, int]:
        return stride, stride, stride


class SpaceThenTime(nn.Sequential):
    """1x3x3 to the middle width, norm, ReLU, 3x1x1: "(2+1)D"."""

    def __init__(self, inputs: int, outputs: int, stride: int, middle: int, norm: Norm) -> None:
        super().__init__(
            nn.Conv3d(inputs, middle, (1, 3, 3), (1, stride, stride), (0, 1, 1), bias=False),
            norm(middle),
            nn.ReLU(inplace=True),
            nn.Conv3d(middle, outputs, (3, 1, 1), (stride, 1, 1), (1, 0, 0), bias=False),
        )

    @staticmethod
    def shortcut_stride(stride: int) -> tuple[int, int, int]:
        return stride, stride, stride


Conv = type[Space] | type[SpaceTime] | type[SpaceThenTime]


def middle_width(inputs: int, outputs: int) -> int:
    """The width between space and time at which (2+1)D has the parameters of 3x3x3."""
    return 27 * inputs * outputs // (9 * inputs + 3 * outputs)


class Block(nn.Module):
    """Two convolutions beside a shortcut, which is projected where width or size change."""

    def __init__(
        self, conv: Conv, inputs: int, outputs: int, stride: int, norm: Norm, per: Per
    ) -> None:
        super().__init__()
        first = middle_width(inputs, outputs)
        second = first if per == "block" else middle_width(outputs, outputs)
        self.conv1 = nn.Sequential(
            conv(inputs, outputs, stride, first, norm), norm(outputs), nn.ReLU(inplace=True)
        )
        self.conv2 = nn.Sequential(conv(outputs, outputs, 1, second, norm), norm(outputs))
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            strides = conv.shortcut_stride(stride)
            self.downsample = nn.Sequential(
                nn.Conv3d(inputs, outputs, 1, strides, bias=False), norm(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.conv2(self.conv1(x)) + self.downsample(x)
        return mixed.relu()


def full_stem(kernel: int, norm: Norm) -> nn.Sequential:
    """`kernel`x7x7 to 64 channels, halving height and width."""
    return nn.Sequential(
        nn.Conv3d(3, 64, (kernel, 7, 7), (1, 2, 2), (kernel // 2, 3, 3), bias=False),
        norm(64),
        nn.ReLU(inplace=True),
    )


def factored_stem(norm: Norm) -> nn.Sequential:
    """1x7x7 to 45 channels, then 3x1x1 to 64; the 45 follows no rule, the authors chose it."""
    return nn.Sequential(
        nn.Conv3d(3, 45, (1, 7, 7), (1, 2, 2), (0, 3, 3), bias=False),
        norm(45),
        nn.ReLU(inplace=True),
        nn.Conv3d(45, 64, (3, 1, 1), padding=(1, 0, 0), bias=False),
        norm(64),
        nn.ReLU(inplace=True),
    )


class ResNet3d(Net):
    """Stem, four stages of blocks (64 to 512 channels, halved from the second on), mean, linear."""

    def __init__(
        self,
        stem: Callable[[Norm], nn.Module],
        convs: Sequence[Conv],
        *,
        classes: int,
        dropout: float,
        depths: Sequence[int] = (2, 2, 2, 2),
        norm: Norm = nn.BatchNorm3d,
        per: Per = "block",
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem(norm))
        inputs = 64
        for stage, (conv, depth) in enumerate(zip(convs, depths, strict=True), start=1):
            outputs, blocks = 32 << stage, []
            for position in range(depth):
                stride = 2 if stage > 1 and position == 0 else 1
                blocks.append(Block(conv, inputs, outputs, stride, norm, per))
                inputs = outputs
            layers[f"layer{stage}"] = nn.Sequential(*blocks)
        super().__init__(nn.Sequential(layers), Mean(inputs, classes, dropout))
        he_fan_out(self)

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`torchvision` is also the layout of the IG-65M files."""
        if layout != "torchvision":
            return super().convert(state, layout)
        return {
            f"head.linear.{name[3:]}" if name.startswith("fc.") else f"body.{name}": value
            for name, value in state.items()
        }


# The frames of torchvision's evaluation: every second one of a 30 fps video.
CLIP = Input(
    frames=16,
    fps=15,
    resize=(128, 171),
    size=(112, 112),
    mean=(0.43216, 0.394666, 0.37645),
    std=(0.22803, 0.22145, 0.216989),
    views=(5, 1),
)
family = partial(register, classes=400, paper="1711.11248")
as_vmz = partial(family, CLIP, reference="pytorch/vision@1f1a920, facebookresearch/VMZ@4cc542d")
as_torchvision = partial(family, CLIP, reference="pytorch/vision@1f1a920", default="k400")


def torchvision_k400(file: str, top1: float) -> dict[str, Weights]:
    """Kinetics-400 weights of torchvision, whose file names carry the beginning of the hash."""
    return {
        "k400": Weights(
            source=f"https://download.pytorch.org/models/{file}",
            sha256=file.removesuffix(".pth").rpartition("-")[2],
            licence="BSD-3-Clause",
            layout="torchvision",
            labels=kinetics400,
            top1=top1,
            protocol="Kinetics-400 val, 5 clips x 1 crop, 16x112x112 at 15 fps (torchvision)",
        )
    }


full = partial(full_stem, 3)
flat = partial(full_stem, 1)


@as_torchvision(weights=torchvision_k400("r3d_18-b3b3357e.pth", 63.2))
def r3d_18(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(full, [SpaceTime] * 4, classes=classes, dropout=dropout)


@as_vmz()
def mc2_18(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(full, [Space] * 4, classes=classes, dropout=dropout)


@as_torchvision(weights=torchvision_k400("mc3_18-a90a0ba3.pth", 63.96))
def mc3_18(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(full, [SpaceTime, *[Space] * 3], classes=classes, dropout=dropout)


@as_vmz()
def mc4_18(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(full, [*[SpaceTime] * 2, *[Space] * 2], classes=classes, dropout=dropout)


@as_vmz()
def mc5_18(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(full, [*[SpaceTime] * 3, Space], classes=classes, dropout=dropout)


@as_vmz()
def rmc2_18(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(flat, [SpaceTime] * 4, classes=classes, dropout=dropout)


@as_vmz()
def rmc3_18(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(flat, [Space, *[SpaceTime] * 3], classes=classes, dropout=dropout)


@as_vmz()
def rmc4_18(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(flat, [*[Space] * 2, *[SpaceTime] * 2], classes=classes, dropout=dropout)


@as_vmz()
def rmc5_18(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(flat, [*[Space] * 3, SpaceTime], classes=classes, dropout=dropout)


@as_torchvision(weights=torchvision_k400("r2plus1d_18-91a641e6.pth", 67.463))
def r2plus1d_18(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(factored_stem, [SpaceThenTime] * 4, classes=classes, dropout=dropout)


# VMZ takes every frame, at the video's own rate.
LONG_CLIP = replace(CLIP, frames=32, fps=None, views=(10, 1))


def ig65m(file: str, frames: int, classes: int = 400, top1: float | None = None) -> Weights:
    """Weights pretrained on 65 million Instagram videos, whose hashtags were never published."""
    return Weights(
        source=f"https://github.com/moabitcoin/ig65m-pytorch/releases/download/v1.0.0/{file}",
        licence="MIT (conversion), Apache-2.0 (VMZ)",
        layout="torchvision",
        classes=classes,
        labels=kinetics400 if classes == 400 else None,
        input=replace(LONG_CLIP, frames=frames),
        top1=top1,
        protocol="Kinetics-400 val, per video, the Caffe2 original (VMZ)" if top1 else "",
    )


@family(
    LONG_CLIP,
    reference="moabitcoin/ig65m-pytorch@fc749e2",
    weights={
        "ig65m_32_k400": ig65m(
            "r2plus1d_34_clip32_ft_kinetics_from_ig65m-ade133f1.pth", 32, top1=80.0
        ),
        "ig65m_8_k400": ig65m(
            "r2plus1d_34_clip8_ft_kinetics_from_ig65m-0aa0550b.pth", 8, top1=74.9
        ),
        "ig65m_32": ig65m("r2plus1d_34_clip32_ig65m_from_scratch-449a7af9.pth", 32, classes=359),
        "ig65m_8": ig65m("r2plus1d_34_clip8_ig65m_from_scratch-9bae36ae.pth", 8, classes=487),
    },
    default="ig65m_32_k400",
)
def r2plus1d_34(*, classes: int, dropout: float = 0.0) -> Net:
    return ResNet3d(
        factored_stem,
        [SpaceThenTime] * 4,
        depths=(3, 4, 6, 3),
        norm=partial(nn.BatchNorm3d, eps=1e-3),
        per="convolution",
        classes=classes,
        dropout=dropout,
    )
