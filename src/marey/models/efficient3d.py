"""Efficient 3D CNNs: the small image networks of 2016 to 2018, with 3x3x3 for 3x3.

Paper: Köpüklü et al., "Resource Efficient 3D Convolutional Neural Networks", ICCV Workshops 2019,
arXiv 1904.02422. Reference: okankop/Efficient-3DCNNs@9db09f6 `models/{mobilenet,mobilenetv2,
shufflenet,shufflenetv2,squeezenet}.py`.

Time is halved wherever height and width are, but for the stem. The blocks:

    MobileNet      3x3x3 of each channel by itself ("depthwise"), 1x1x1
    MobileNetV2    1x1x1 to six times the width, 3x3x3 depthwise, 1x1x1 back, no ReLU behind it
    ShuffleNet     1x1x1 to a quarter of the width, 3x3x3 depthwise, 1x1x1 back; these in groups,
                   and the channels shuffled, so that each group sees something of all others
    ShuffleNetV2   half of the channels pass, the others get 1x1x1, 3x3x3 depthwise, 1x1x1; shuffled
    SqueezeNet     1x1x1 to few channels; then half of the outputs see 1x1x1, half 3x3x3

`width_mult` scales the channels, and what is no whole number is rounded down; ShuffleNetV2 has a
table instead.

Deviations: the mean is taken over whatever T, H and W is left. In ShuffleNet the pool beside a
strided branch takes frames by pairs; the reference fails where their number is odd, here the last
one then stands twice. The last layer starts as everywhere in marey.

The authors' weights lie on Google Drive, which has no addresses that stay, and so are not listed.
Downloaded by hand, a file loads by `load_state(net, read_state(path), source=str(path),
layout="efficient-3dcnns")` of `marey.models._weights`. For those of Kinetics-600 the frames were
read by OpenCV, blue first: reverse the input channels of their first kernel.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import ModelError
from marey.models._net import Net
from marey.models._registry import register
from marey.nn.heads import Head, Mean, classifier
from marey.types import Input

Stages = list[list[nn.Module]]
Key = TypeVar("Key")
Row = TypeVar("Row")

relu = partial(nn.ReLU, inplace=True)
relu6 = partial(nn.ReLU6, inplace=True)
pool = partial(nn.MaxPool3d, 3, 2, 1)


def pointwise(inputs: int, outputs: int, groups: int = 1) -> tuple[nn.Module, nn.Module]:
    """1x1x1, norm."""
    return nn.Conv3d(inputs, outputs, 1, groups=groups, bias=False), nn.BatchNorm3d(outputs)


def depthwise(channels: int, stride: int) -> tuple[nn.Module, nn.Module]:
    """3x3x3 of each channel by itself, norm."""
    kernel = nn.Conv3d(channels, channels, 3, stride, 1, groups=channels, bias=False)
    return kernel, nn.BatchNorm3d(channels)


def stem(outputs: int, *behind: nn.Module) -> nn.Sequential:
    """3x3x3, halving height and width; norm."""
    kernel = nn.Conv3d(3, outputs, 3, (1, 2, 2), 1, bias=False)
    return nn.Sequential(kernel, nn.BatchNorm3d(outputs), *behind)


class Separable(nn.Sequential):
    """MobileNet's block."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        conv1, bn1 = depthwise(inputs, stride)
        conv2, bn2 = pointwise(inputs, outputs)
        super().__init__(
            OrderedDict(conv1=conv1, bn1=bn1, relu1=relu(), conv2=conv2, bn2=bn2, relu2=relu())
        )


class InvertedResidual(nn.Module):
    """MobileNetV2's block: wide inside, narrow and linear at its ends."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = inputs * expansion
        widen = (*pointwise(inputs, wide), relu6()) if expansion > 1 else ()
        self.conv = nn.Sequential(
            *widen, *depthwise(wide, stride), relu6(), *pointwise(wide, outputs)
        )
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(x)
        return x + made if self.residual else made


class Shuffle(nn.Sequential):
    """ShuffleNet's block. Where it strides, what comes in stands averaged beside what it makes."""

    def __init__(self, inputs: int, outputs: int, stride: int, groups: int) -> None:
        narrow, made = outputs // 4, outputs - inputs if stride == 2 else outputs
        # Channels as few as behind the stem are not grouped: the authors ask for 24, at any width.
        conv1, bn1 = pointwise(inputs, narrow, 1 if inputs == 24 else groups)
        conv2, bn2 = depthwise(narrow, stride)
        conv3, bn3 = pointwise(narrow, made, groups)
        mix = OrderedDict(conv1=conv1, bn1=bn1, relu1=relu(), shuffle=nn.ChannelShuffle(groups))
        super().__init__(mix | OrderedDict(conv2=conv2, bn2=bn2, conv3=conv3, bn3=bn3))
        self.striding = stride == 2

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return (torch.cat([made, _averaged(x)], 1) if self.striding else made + x).relu()


def _averaged(x: Tensor) -> Tensor:
    if x.shape[2] % 2:
        x = torch.cat([x, x[:, :, -1:]], 2)
    # Padded beforehand: torch averages no map that is smaller than the window, padding or not.
    return F.avg_pool3d(F.pad(x, (1, 1, 1, 1)), (2, 3, 3), 2)


class Split(nn.Module):
    """ShuffleNetV2's block. Where it strides, nothing passes: both branches see all channels."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        half = outputs // 2
        self.striding = stride == 2
        if self.striding:
            self.branch1 = nn.Sequential(
                *depthwise(inputs, stride), *pointwise(inputs, half), relu()
            )
        self.branch2 = nn.Sequential(
            *pointwise(inputs if self.striding else half, half),
            relu(),
            *depthwise(half, stride),
            *pointwise(half, half),
            relu(),
        )
        self.shuffle = nn.ChannelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        passed, given = (self.branch1(x), x) if self.striding else x.chunk(2, 1)
        mixed: Tensor = self.shuffle(torch.cat([passed, self.branch2(given)], 1))
        return mixed


class Fire(nn.Module):
    """SqueezeNet's block, with a shortcut where as many channels go in as out."""

    def __init__(self, inputs: int, squeezed: int, outputs: int) -> None:
        super().__init__()
        half = outputs // 2
        self.squeeze = nn.Conv3d(inputs, squeezed, 1)
        self.squeeze_bn = nn.BatchNorm3d(squeezed)
        self.expand1x1 = nn.Conv3d(squeezed, half, 1)
        self.expand1x1_bn = nn.BatchNorm3d(half)
        self.expand3x3 = nn.Conv3d(squeezed, half, 3, padding=1)
        self.expand3x3_bn = nn.BatchNorm3d(half)
        self.residual = inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        few = self.squeeze_bn(self.squeeze(x)).relu()
        halves = self.expand1x1_bn(self.expand1x1(few)), self.expand3x3_bn(self.expand3x3(few))
        made = torch.cat(halves, 1)
        return (made + x if self.residual else made).relu()


class RectifiedMean(Head):
    """SqueezeNet's: the mean of every position's rectified scores. No logit is below zero."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__(dropout, None)
        self.linear = classifier(channels, classes)
        self.renew(classes)

    def renew(self, classes: int) -> None:
        """Begun around one: around zero, the scores of few classes may all be negative for good."""
        super().renew(classes)
        nn.init.ones_(self.linear.bias)

    def forward(self, x: Tensor) -> Tensor:
        positions = x.flatten(2).transpose(1, 2)  # N (T*H*W) C
        return self.logits(positions).relu().mean(1)


class Efficient3d(Net):
    """A stem and stages of blocks; `names` gives the places here of the published parts."""

    def __init__(self, stem: nn.Module, stages: Stages, head: Head, names: dict[str, str]) -> None:
        layers = OrderedDict(stem=stem)
        for number, blocks in enumerate(stages, start=1):
            layers[f"stage{number}"] = nn.Sequential(*blocks)
        super().__init__(nn.Sequential(layers), head)
        self.names = names | {"classifier.1": "head.linear"}

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """SqueezeNet's last layer is a convolution there, K C 1 1 1."""
        if layout != "efficient-3dcnns":
            return super().convert(state, layout)
        found = {self._own(name): value for name, value in state.items()}
        if "head.linear.weight" in found:
            found["head.linear.weight"] = found["head.linear.weight"].flatten(1)
        return found

    def _own(self, name: str) -> str:
        part = re.match(r"((features|classifier)\.\d+|\w*)", name)
        assert part is not None
        rest = name.removeprefix(part[0]).replace(".banch", ".branch")  # as it is spelt there
        return self.names.get(part[0], part[0]) + rest


def _staged(
    block: Callable[[int, int, int], nn.Module], inputs: int, widths: Sequence[Sequence[int]]
) -> Stages:
    """A block for every width; the first of each stage halves time, height and width."""
    stages: Stages = []
    for stage in widths:
        stages.append([])
        for outputs in stage:
            stages[-1].append(block(inputs, outputs, 1 if stages[-1] else 2))
            inputs = outputs
    return stages


def _numbered(stages: Stages, first: int) -> dict[str, str]:
    """The blocks, where they are counted through all stages as `features.N`, from `first` on."""
    blocks = [f"body.stage{n}.{k}" for n, stage in enumerate(stages, 1) for k in range(len(stage))]
    return {f"features.{number}": block for number, block in enumerate(blocks, first)}


def _scaled(widths: Sequence[Sequence[int]], width_mult: float) -> list[list[int]]:
    scaled = [[int(width * width_mult) for width in stage] for stage in widths]
    if min(map(min, scaled)) < 1:
        raise ModelError(f"width_mult {width_mult!r} leaves no channels in some layers")
    return scaled


def _chosen(table: Mapping[Key, Row], key: Key, option: str) -> Row:
    if key not in table:
        raise ModelError(f"{option} must be one of {', '.join(map(str, table))}; got {key!r}")
    return table[key]


def _drawn(net: Net) -> Net:
    """With kernels as MobileNetV2 and SqueezeNet begin; the other three begin as torch does."""
    for module in net.modules():
        if isinstance(module, nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    return net


# Tested on successive windows of 16 frames at the video's own rate, which in Kinetics' ten seconds
# are about 16. The reference takes a mean from values up to 255, and does not divide.
CLIP = Input(
    frames=16,
    resize=112,
    size=(112, 112),
    mean=(114.7748 / 255, 107.7354 / 255, 99.4750 / 255),
    std=(1 / 255, 1 / 255, 1 / 255),
    views=(16, 1),
)
_as_efficient = partial(
    register,
    CLIP,
    classes=600,
    paper="1904.02422",
    reference="okankop/Efficient-3DCNNs@9db09f6",
)


@_as_efficient()
def mobilenet_3d(*, classes: int, dropout: float = 0.2, width_mult: float = 1.0) -> Net:
    widths = [32], [64], [128] * 2, [256] * 2, [512] * 6 + [1024] * 2
    [first], *others = _scaled(widths, width_mult)
    stages = _staged(Separable, first, others)
    names = {"features.0": "body.stem", **_numbered(stages, 1)}
    head = Mean(others[-1][-1], classes, dropout)
    return Efficient3d(stem(first, relu()), stages, head, names)


@_as_efficient()
def mobilenetv2_3d(*, classes: int, dropout: float = 0.2, width_mult: float = 1.0) -> Net:
    widths = [32], [16], [24] * 2, [32] * 3, [64] * 4 + [96] * 3, [160] * 3 + [320]
    [first], [second], *others = _scaled(widths, width_mult)
    last = int(1280 * max(width_mult, 1.0))
    stages: Stages = [[InvertedResidual(first, second, 1, expansion=1)]]
    stages += _staged(partial(InvertedResidual, expansion=6), second, others)
    stages[-1].append(nn.Sequential(*pointwise(others[-1][-1], last), relu6()))
    names = {"features.0": "body.stem", **_numbered(stages, 1)}
    return _drawn(Efficient3d(stem(first, relu6()), stages, Mean(last, classes, dropout), names))


# The outputs of the stages, by the number of groups. 567 is what the reference has.
_BY_GROUPS = {
    1: (144, 288, 567),
    2: (200, 400, 800),
    3: (240, 480, 960),
    4: (272, 544, 1088),
    8: (384, 768, 1536),
}


@_as_efficient()
def shufflenet_3d(
    *, classes: int, dropout: float = 0.2, width_mult: float = 1.0, groups: int = 3
) -> Net:
    one, two, three = _chosen(_BY_GROUPS, groups, "groups")
    [first], *others = _scaled(([24], [one] * 4, [two] * 8, [three] * 4), width_mult)
    if first % groups or any(width % groups or width // 4 % groups for width, *_ in others):
        raise ModelError(f"{groups} groups cannot share the channels of width_mult {width_mult!r}")
    stages = _staged(partial(Shuffle, groups=groups), first, others)
    names = {"conv1": "body.stem"} | {f"layer{n}": f"body.stage{n}" for n in (1, 2, 3)}
    head = Mean(others[-1][-1], classes, dropout)
    return Efficient3d(stem(first, relu(), pool()), stages, head, names)


# The outputs of the stages and of the last convolution.
_BY_WIDTH = {
    0.25: (32, 64, 128, 1024),
    0.5: (48, 96, 192, 1024),
    1.0: (116, 232, 464, 1024),
    1.5: (176, 352, 704, 1024),
    2.0: (224, 488, 976, 2048),
}


@_as_efficient()
def shufflenetv2_3d(*, classes: int, dropout: float = 0.2, width_mult: float = 1.0) -> Net:
    one, two, three, last = _chosen(_BY_WIDTH, width_mult, "width_mult")
    stages = _staged(Split, 24, ([one] * 4, [two] * 8, [three] * 4))
    names = {"conv1": "body.stem", **_numbered(stages, 0), "conv_last": "body.stage3.4"}
    stages[-1].append(nn.Sequential(*pointwise(three, last), relu()))
    return Efficient3d(stem(24, relu(), pool()), stages, Mean(last, classes, dropout), names)


# The stem's kernel and outputs; what each block squeezes to and makes, between two pools.
_BY_VERSION = {
    1.0: (7, 96, ([(16, 128)] * 2, [(32, 256)] * 2, [(48, 384)] * 2 + [(64, 512)], [(64, 512)])),
    1.1: (3, 64, ([(16, 128)] * 2, [(32, 256)] * 2, [(48, 384)] * 2, [(64, 512)] * 2)),
}


@_as_efficient()
def squeezenet_3d(*, classes: int, dropout: float = 0.5, version: float = 1.1) -> Net:
    kernel, inputs, table = _chosen(_BY_VERSION, version, "version")
    conv = nn.Conv3d(3, inputs, kernel, (1, 2, 2), kernel // 2)
    first = nn.Sequential(conv, nn.BatchNorm3d(inputs), relu(), pool())
    stages: Stages = []
    for blocks in table:
        stages.append([pool()] if stages else [])
        for squeezed, outputs in blocks:
            stages[-1].append(Fire(inputs, squeezed, outputs))
            inputs = outputs
    names = {"features.0": "body.stem.0", "features.1": "body.stem.1", **_numbered(stages, 4)}
    return _drawn(Efficient3d(first, stages, RectifiedMean(inputs, classes, dropout), names))
