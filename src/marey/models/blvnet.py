"""bLVNet: every other frame through a big network, those between through a little one.

Paper: Fan et al., "More Is Less: Learning Efficient Video Representations by Big-Little Network and
Depthwise Temporal Aggregation", NeurIPS 2019, arXiv 1912.00869, on the big-little networks for
images of Chen et al., ICLR 2019, 1807.03848. Reference: IBM/bLVNet-TAM@feadcd3
`core/models/{blvnet_tam,blvnet_tam_backbone}.py`.

A 2D network on a clip of 2K frames, folded into the batch in pairs. The first of a pair goes
through a little branch, of 1/alpha of the width and about 1/beta of the depth, the second through a
big one, at half the resolution; the two maps are added, fused by one more block, and given back to
both, until the last stage. The Temporal Aggregation Module (TAM in `marey.nn.mix`, with its ReLU)
lets the frames see each other: before each stage, and before each block of the last.

    stem    7x7, norm, ReLU                                     2K frames   1/2
    layer0  TAM; big 3x3, little 3x3 3x3 1x1; sum; 1x1                      1/4
    layer1  TAM; big, little bottlenecks; sum; a bottleneck                 1/8
    layer2  the same                                                        1/16
    layer3  the same                                                        1/16
    layer4  bottlenecks, TAM in front of each branch            K frames    1/32

`blvnet_50` is the same without TAM: no frame sees another but that of its pair. The reference has
no constructor for it; it is held to the reference's parts with TAM left out.

As in the reference, and unlike TAM-ResNet (`ibm.py`), a projected shortcut in layer4 takes what
comes out of the aggregation, an identity what goes into it. Deviations: the mean over space and
time is taken before the last layer, which is linear: the same as the mean of the logits. IBM's
weights for Something-Something are linked by pages of a file service, not by addresses of the
files, and are not registered; downloaded, they load as `ibm-blvnet`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import ModelError
from marey.models._image_nets import imagenet
from marey.models._net import Net
from marey.models._registry import register
from marey.nn.heads import Mean
from marey.nn.init import he_fan_out
from marey.nn.mix import TemporalAggregation
from marey.nn.time import Clock, Folded

DEPTHS = {50: (3, 4, 6, 3), 101: (4, 8, 18, 3), 152: (5, 12, 30, 3)}  # from 101 on not ResNet's
Mix = Callable[[int], nn.Module]
"""What lets frames see each other, (N*T) C H W → the same, made for so many channels."""


def pairs(frames: Tensor) -> tuple[Tensor, Tensor]:
    """(N*2K) C H W → the first and the second of each pair, (N*K) C H W."""
    first, second = frames.reshape(-1, 2, *frames.shape[1:]).unbind(1)
    return first, second


def to_both(merged: Tensor) -> Tensor:
    """(N*K) C H W → (N*2K) C H W, each map for both frames of its pair."""
    pixels = merged.permute(0, 2, 3, 1)  # as channels-last memory lies, and so stays
    return torch.stack([pixels, pixels], 1).flatten(0, 1).permute(0, 3, 1, 2)


def conv_norm(inputs: int, outputs: int, kernel: int = 1, stride: int = 1) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 beside a shortcut, which is averaged where the block strides."""

    def __init__(
        self, inputs: int, outputs: int, stride: int = 1, relu: bool = True, mix: Mix = nn.Identity
    ) -> None:
        super().__init__()
        width = outputs // 4
        self.tam = mix(inputs)
        self.conv1, self.bn1 = conv_norm(inputs, width)
        self.conv2, self.bn2 = conv_norm(width, width, 3, stride)
        self.conv3, self.bn3 = conv_norm(width, outputs)
        shortcut: list[nn.Module] = [nn.AvgPool2d(3, 2, 1)] if stride == 2 else []
        if inputs != outputs:
            shortcut += conv_norm(inputs, outputs)
        self.downsample = nn.Sequential(*shortcut) if shortcut else None
        self.relu = relu

    def forward(self, x: Tensor) -> Tensor:
        mixed = self.tam(x)
        branch = self.bn1(self.conv1(mixed)).relu()
        branch = self.bn2(self.conv2(branch)).relu()
        branch = self.bn3(self.conv3(branch))
        # The asymmetry is the reference's, and its weights were trained with it.
        way = x if self.downsample is None else self.downsample(mixed)
        total: Tensor = branch + way
        return total.relu() if self.relu else total


def blocks(
    inputs: int,
    outputs: int,
    count: int,
    stride: int = 1,
    relu: bool = True,
    mix: Mix = nn.Identity,
) -> nn.Sequential:
    """Bottlenecks in a row; without `relu` the last of several ends in its sum."""
    row = [Bottleneck(inputs, outputs, stride, mix=mix)]
    for left in reversed(range(count - 1)):
        row.append(Bottleneck(outputs, outputs, relu=relu or left > 0, mix=mix))
    return nn.Sequential(*row)


class BigLittleStem(nn.Module):
    """Big: one 3x3. Little: two, narrow, and a 1x1. Both halve the picture."""

    def __init__(self, channels: int, alpha: int, mix: Mix) -> None:
        super().__init__()
        narrow = channels // alpha
        self.tam = mix(channels)
        self.big = nn.Sequential(*conv_norm(channels, channels, 3, 2))
        self.little = nn.Sequential(
            *(*conv_norm(channels, narrow, 3), nn.ReLU(inplace=True)),
            *(*conv_norm(narrow, narrow, 3, 2), nn.ReLU(inplace=True)),
            *conv_norm(narrow, channels),
        )
        self.fusion = nn.Sequential(*conv_norm(channels, channels))

    def forward(self, frames: Tensor) -> Tensor:
        """(N*2K) C H W → (N*2K) C H/2 W/2."""
        first, second = pairs(self.tam(frames))
        merged = (self.big(second) + self.little(first)).relu()
        return to_both(self.fusion(merged).relu())


class BigLittle(nn.Module):
    """Big: deep, at half the resolution. Little: shallow and narrow. A block for both fuses."""

    def __init__(
        self, inputs: int, outputs: int, depth: int, alpha: int, beta: int, stride: int, mix: Mix
    ) -> None:
        super().__init__()
        self.tam = mix(inputs)
        self.big = blocks(inputs, outputs, depth - 1, 2, relu=False)
        self.little = blocks(inputs, outputs // alpha, max(1, depth // beta - 1))
        self.little_e = nn.Sequential(*conv_norm(outputs // alpha, outputs))
        self.fusion = blocks(outputs, outputs, 1, stride)

    def forward(self, frames: Tensor) -> Tensor:
        """(N*2K) C H W → (N*2K) C' H' W', strided once."""
        first, second = pairs(self.tam(frames))
        little = self.little_e(self.little(first))
        big = F.interpolate(self.big(second), little.shape[2:])  # the nearest pixel
        return to_both(self.fusion((big + little).relu()))


class OfSeconds(nn.Sequential):
    """Layers for the second of each pair, alike by then: (N*2K) C H W → (N*K) C' H' W'."""

    def forward(self, frames: Tensor) -> Tensor:
        _, x = pairs(frames)
        for layer in self:
            x = layer(x)
        return x


class FoldedPairs(Folded):
    """A network of pairs of frames, N 3 2K H W → N C K H' W'; ModelError for an odd number."""

    def forward(self, clip: Tensor) -> Tensor:
        if clip.shape[2] % 2:
            raise ModelError(
                f"takes frames in pairs, so an even number; got {clip.shape[2]}",
                do="Give one frame more or less.",
            )
        return super().forward(clip)


# The reference's names of what is no stage there; without dropout its last layer is `fc`.
_PARTS = {
    "conv1": "body.net.stem.0",
    "bn1": "body.net.stem.1",
    "tam": "body.net.layer0.tam",
    "b_conv0": "body.net.layer0.big.0",
    "bn_b0": "body.net.layer0.big.1",
    "l_conv0": "body.net.layer0.little.0",
    "bn_l0": "body.net.layer0.little.1",
    "l_conv1": "body.net.layer0.little.3",
    "bn_l1": "body.net.layer0.little.4",
    "l_conv2": "body.net.layer0.little.6",
    "bn_l2": "body.net.layer0.little.7",
    "bl_init": "body.net.layer0.fusion.0",
    "bn_bl_init": "body.net.layer0.fusion.1",
    "new_fc": "head.linear",
    "fc": "head.linear",
}
# The frames that an aggregation sees: three have names, another number of them is counted.
_TAPS = ("prev", "curr", "next")
_TAP = re.compile(r"(.*\btam)\.(?:(prev|curr|next)|blending_layers\.(\d+))\.weight$")


def from_ibm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """IBM's names as ours, and each TAM's convolutions, C 1 1 1, as the one over time, C 1 k."""
    found: dict[str, Tensor] = {}
    kernels: dict[str, dict[int, Tensor]] = {}
    for name, value in state.items():
        part, _, rest = name.removeprefix("baseline_model.").partition(".")
        own = f"{_PARTS.get(part, f'body.net.{part}')}.{rest}"
        tap = _TAP.match(own)
        if tap is None:
            found[own] = value
        else:
            place = _TAPS.index(tap[2]) if tap[2] else int(tap[3])
            kernels.setdefault(f"{tap[1]}.weight", {})[place] = value.flatten(1)
    for own, taps in kernels.items():
        found[own] = torch.cat([taps[k] for k in sorted(taps)], 1)[:, None]
    return found


class BLVNet(Net):
    """Frames folded into the batch: T = 2K is the clip's, any even number.

    `alpha` and `beta` divide the width and the depth of the little branches, `kernel` is how many
    frames an aggregation sees (odd), None without any.
    """

    body: Folded
    least = (2, 1, 1)

    def __init__(
        self,
        depths: Sequence[int],
        classes: int,
        dropout: float,
        alpha: int,
        beta: int,
        kernel: int | None,
    ) -> None:
        clock = Clock()
        mix: Mix = nn.Identity
        if kernel is not None:
            mix = partial(TemporalAggregation, clock=clock, kernel=kernel, init="paper", relu=True)
        stages: OrderedDict[str, nn.Module] = OrderedDict(
            stem=nn.Sequential(*conv_norm(3, 64, 7, 2), nn.ReLU(inplace=True)),
            layer0=BigLittleStem(64, alpha, mix),
        )
        inputs = 64
        for stage, (outputs, stride) in enumerate(((256, 2), (512, 2), (1024, 1)), start=1):
            stages[f"layer{stage}"] = BigLittle(
                inputs, outputs, depths[stage - 1], alpha, beta, stride, mix
            )
            inputs = outputs
        stages["layer4"] = OfSeconds(*blocks(inputs, 2048, depths[3], 2, mix=mix))
        super().__init__(
            FoldedPairs(nn.Sequential(stages), clock, stride=2), Mean(2048, classes, dropout)
        )
        self._start()

    def _start(self) -> None:
        """As the authors do; TAM has its own start (`init="paper"`)."""
        he_fan_out(self)
        for module in self.modules():
            if isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)  # type: ignore[arg-type]
        nn.init.normal_(self.head.linear.weight, std=0.001)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """Those of the network on folded frames."""
        return [*self.body.net.named_children(), ("head", self.head)]

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        return from_ibm(state) if layout == "ibm-blvnet" else super().convert(state, layout)


# Spread over all of a video, which in Something-Something takes four seconds.
CLIP = imagenet(
    frames=16, sampling="segments", seconds=4.0, resize=224, size=(224, 224), views=(1, 1)
)
_as_blvnet = partial(
    register, CLIP, classes=174, paper="1912.00869", reference="IBM/bLVNet-TAM@feadcd3"
)


@_as_blvnet()
def blvnet_50(*, classes: int, dropout: float = 0.5, alpha: int = 2, beta: int = 4) -> Net:
    return BLVNet(DEPTHS[50], classes, dropout, alpha, beta, None)


@_as_blvnet()
def blvnet_tam_50(
    *, classes: int, dropout: float = 0.5, alpha: int = 2, beta: int = 4, kernel: int = 3
) -> Net:
    return BLVNet(DEPTHS[50], classes, dropout, alpha, beta, kernel)


@_as_blvnet()
def blvnet_tam_101(
    *, classes: int, dropout: float = 0.5, alpha: int = 2, beta: int = 4, kernel: int = 3
) -> Net:
    return BLVNet(DEPTHS[101], classes, dropout, alpha, beta, kernel)


@_as_blvnet()
def blvnet_tam_152(
    *, classes: int, dropout: float = 0.5, alpha: int = 2, beta: int = 4, kernel: int = 3
) -> Net:
    return BLVNet(DEPTHS[152], classes, dropout, alpha, beta, kernel)
