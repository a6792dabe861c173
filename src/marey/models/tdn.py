"""TDN: a ResNet that looks at differences, between neighbouring frames and between segments.

Paper: Wang et al., "TDN: Temporal Difference Networks for Efficient Action Recognition", CVPR 2021,
arXiv 2012.10071. Reference: MCG-NJU/TDN `ops/tdn_net.py` (eaafdcd), `ops/base_module.py` (bcf28d9),
`ops/models.py` (bc540f7).

A clip is segments of five frames each, one behind the other: N 3 5*S H W.

    stem, layer1    the middle frame of each segment; beside it the differences between its five
                    frames, at half the resolution, which are blended into it behind both
    layer2 to 4     in each block, behind the first convolution: an attention, made of differences
                    between neighbouring segments, both ways and at two scales; then a kernel over
                    three segments for each channel, which begins as TSM's shift and is learnt

`difference` is the share of the differences in the two blends: the authors take a half for 8
segments and a quarter for 16.

Deviations: the mean over space and segments is taken before the last layer, which is linear. Any
number of segments will do. Untrained, each block's last norm starts at zero, as timm does it; the
authors start from an image network. Their files also hold the kernel that the one over differences
was copied from (`conv1_temp`), which nothing reads: it is dropped. Like them, convolutions before
norms have a bias, which does nothing while these take the statistics of the batch. An early version
of the reference computes the finer scale of the backward attention from the forward one; here it is
the later one, which does not.

The authors' weights lie on Google Drive, which has no addresses that stay, and so are not listed.
Downloaded by hand, a file loads by `load_state(net, read_state(path), source=str(path),
layout="tdn")` of `marey.models._weights`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import ModelError
from marey.models._image_nets import imagenet
from marey.models._net import Net
from marey.models._registry import register
from marey.nn.heads import Mean

FRAMES = 5
"""The frames of a segment."""

Pathways = tuple[Tensor, Tensor]  # of the middle frames and of the differences, N C S H W

_BLOCK = {
    "mse.conv1": "attention.squeeze.0",
    "mse.bn1": "attention.squeeze.1",
    "mse.conv2": "attention.align",
    "mse.conv3_smallscale2": "attention.coarse.1",
    "mse.bn3_smallscale2": "attention.coarse.2",
    "mse.conv3_smallscale4": "attention.fine.0",
    "mse.bn3_smallscale4": "attention.fine.1",
    "mse.conv3": "attention.expand.0",
    "mse.bn3": "attention.expand.1",
    "shift.conv": "shift",
}
_PLACES = {
    "conv1": "body.stem.frames.0",
    "bn1": "body.stem.frames.1",
    "conv1_5.0": "body.stem.differences.1",
    "conv1_5.1": "body.stem.differences.2",
    "resnext_layer1": "body.layer1.differences",
    "layer1_bak": "body.layer1.frames",
    **{f"layer{n}_bak": f"body.layer{n}" for n in (2, 3, 4)},
    "new_fc": "head.linear",
}


def conv(
    inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1, bias: bool = False
) -> nn.Conv3d:
    """A kernel over height and width, drawn as the authors do."""
    size, steps, pad = (1, kernel, kernel), (1, stride, stride), (0, kernel // 2, kernel // 2)
    made = nn.Conv3d(inputs, outputs, size, steps, pad, groups=groups, bias=bias)
    nn.init.kaiming_normal_(made.weight, mode="fan_out", nonlinearity="relu")
    return made


def blend(frames: Tensor, differences: Tensor, share: float) -> Tensor:
    """The weighted sum, of differences enlarged to the size of the frames."""
    return (1 - share) * frames + share * F.interpolate(differences, frames.shape[2:])


class Attention(nn.Module):
    """Enlarges what changes between neighbouring segments, and lessens the rest: N C S H W, kept.

    In a sixteenth of the channels, each segment is subtracted from its neighbour, aligned by a
    convolution; at the ends there is none, and the difference is zero.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        few = channels // 16
        self.squeeze = nn.Sequential(conv(channels, few, 1), nn.BatchNorm3d(few))
        self.align = conv(few, few, 3, groups=few)
        self.coarse = nn.Sequential(nn.AvgPool3d((1, 2, 2)), conv(few, few, 3), nn.BatchNorm3d(few))
        self.fine = nn.Sequential(conv(few, few, 3), nn.BatchNorm3d(few))
        self.expand = nn.Sequential(conv(few, channels, 1), nn.BatchNorm3d(channels))

    def forward(self, x: Tensor) -> Tensor:
        few = self.squeeze(x)
        aligned = self.align(few)
        forwards = F.pad(aligned[:, :, 1:] - few[:, :, :-1], (0, 0, 0, 0, 0, 1))
        backwards = F.pad(aligned[:, :, :-1] - few[:, :, 1:], (0, 0, 0, 0, 1, 0))
        # Each sigmoid less a half, and half of both: from half of x to one and a half of it.
        return x * (0.5 + 0.5 * (self._gate(forwards) + self._gate(backwards)))

    def _gate(self, difference: Tensor) -> Tensor:
        coarse = F.interpolate(self.coarse(difference), difference.shape[2:])
        gate: Tensor = self.expand((difference + coarse + self.fine(difference)) / 3).sigmoid()
        return gate


def shift(channels: int) -> nn.Conv3d:
    """A kernel over three segments for each channel: an eighth from the next, from the last, …"""
    kernel = nn.Conv3d(channels, channels, (3, 1, 1), 1, (1, 0, 0), groups=channels, bias=False)
    part = channels // 8
    with torch.no_grad():
        kernel.weight.zero_()
        kernel.weight[:part, :, 2] = 1
        kernel.weight[part : 2 * part, :, 0] = 1
        kernel.weight[2 * part :, :, 1] = 1
    return kernel


class Bottleneck(nn.Module):
    """1x1, over segments if `timed`, 3x3, 1x1, beside a shortcut."""

    def __init__(self, inputs: int, width: int, stride: int, timed: bool) -> None:
        super().__init__()
        outputs = 4 * width
        last = nn.BatchNorm3d(outputs)
        nn.init.zeros_(last.weight)
        over_time: OrderedDict[str, nn.Module] = OrderedDict()
        if timed:
            over_time = OrderedDict(attention=Attention(width), shift=shift(width))
        first: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=conv(inputs, width, 1, bias=True),
            bn1=nn.BatchNorm3d(width),
            relu1=nn.ReLU(inplace=True),
        )
        rest: OrderedDict[str, nn.Module] = OrderedDict(
            conv2=conv(width, width, 3, stride, bias=True),
            bn2=nn.BatchNorm3d(width),
            relu2=nn.ReLU(inplace=True),
            conv3=conv(width, outputs, 1, bias=True),
            bn3=last,
        )
        self.residual = nn.Sequential(first | over_time | rest)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(
                conv(inputs, outputs, 1, stride, bias=True), nn.BatchNorm3d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.residual(x) + self.shortcut(x)
        return mixed.relu()


def layer(inputs: int, width: int, depth: int, *, timed: bool) -> nn.Sequential:
    """`depth` blocks; the first strides where it is timed."""
    first = Bottleneck(inputs, width, 2 if timed else 1, timed)
    others = (Bottleneck(4 * width, width, 1, timed) for _ in range(depth - 1))
    return nn.Sequential(first, *others)


class Stem(nn.Module):
    """N 3 5*S H W → the middle frames' maps, with the differences' blended in, and the latter."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share
        image, change = conv(3, 64, 7, 2, bias=True), conv(3 * (FRAMES - 1), 64, 7, 2)
        with torch.no_grad():  # begun alike: the colours' mean for every colour of a difference
            change.weight.copy_(image.weight.mean(1, keepdim=True).expand_as(change.weight))
        self.frames = nn.Sequential(image, *self._rest())
        self.differences = nn.Sequential(nn.AvgPool3d((1, 2, 2)), change, *self._rest())

    @staticmethod
    def _rest() -> tuple[nn.Module, ...]:
        pool = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
        return nn.BatchNorm3d(64), nn.ReLU(inplace=True), pool

    def forward(self, clip: Tensor) -> Pathways:
        frames = [clip[:, :, place::FRAMES] for place in range(FRAMES)]  # N 3 S H W each
        changes = torch.cat([after - before for before, after in pairwise(frames)], 1)
        differences = self.differences(changes)
        return blend(self.frames(frames[FRAMES // 2]), differences, self.share), differences


class ShortTerm(nn.Module):
    """Both pathways through blocks of their own, and blended into one."""

    def __init__(self, depth: int, share: float) -> None:
        super().__init__()
        self.share = share
        self.frames = layer(64, 64, depth, timed=False)
        self.differences = layer(64, 64, depth, timed=False)

    def forward(self, pathways: Pathways) -> Tensor:
        frames, differences = pathways
        return blend(self.frames(frames), self.differences(differences), self.share)


class Tdn(Net):
    """Stem, a layer of two pathways, three layers that look across segments, mean, linear."""

    # Two segments; and no map is too small to be halved once more.
    least = (2 * FRAMES, 33, 33)

    def __init__(
        self, depths: Sequence[int], *, classes: int, dropout: float, difference: float
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(
            stem=Stem(difference), layer1=ShortTerm(depths[0], difference)
        )
        for number, depth in enumerate(depths[1:], start=2):
            layers[f"layer{number}"] = layer(64 << number, 32 << number, depth, timed=True)
        super().__init__(nn.Sequential(layers), Mean(2048, classes, dropout))

    def _check(self, clip: Tensor) -> None:
        super()._check(clip)
        if clip.shape[2] % FRAMES:
            raise ModelError(
                f"takes segments of {FRAMES} frames, got {clip.shape[2]} frames", where=self.name
            )

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        if layout != "tdn":
            return super().convert(state, layout)
        return {
            _own(name): _inflated(value)
            for name, value in state.items()
            if not name.startswith("base_model.conv1_temp")
        }

    def folded(self, layout: str) -> int:
        """What is dropped: a 7x7 kernel of three colours to 64 channels, and its bias."""
        return 64 * (3 * 7 * 7 + 1) if layout == "tdn" else super().folded(layout)


def _own(name: str) -> str:
    name = name.removeprefix("base_model.")
    part = re.match(r"conv1_5\.\d|\w+", name)
    if part:
        name = _PLACES.get(part[0], part[0]) + name[part.end() :]
    name = name.replace(".downsample.", ".shortcut.")
    inner = re.match(r"(.*\.\d+)\.(conv\d|bn\d|mse\.\w+|shift\.conv)\.(\w+)$", name)
    if inner is None:
        return name
    return f"{inner[1]}.residual.{_BLOCK.get(inner[2], inner[2])}.{inner[3]}"


def _inflated(value: Tensor) -> Tensor:
    """Kernels of images, O I h w, and over segments, C 1 3, as those of clips."""
    if value.ndim == 4:
        return value.unsqueeze(2)
    return value[..., None, None] if value.ndim == 3 else value


# Eight segments of five neighbours each, over Kinetics' ten seconds.
CLIP = imagenet(
    frames=8 * FRAMES,
    burst=FRAMES,
    sampling="segments",
    seconds=10.0,
    resize=256,
    size=(256, 256),
    views=(10, 3),
)
_as_tdn = partial(
    register,
    CLIP,
    classes=400,
    paper="2012.10071",
    reference="MCG-NJU/TDN@eaafdcd, @bcf28d9, @bc540f7",
)


@_as_tdn()
def tdn_resnet50(*, classes: int, dropout: float = 0.5, difference: float = 0.5) -> Net:
    return Tdn((3, 4, 6, 3), classes=classes, dropout=dropout, difference=difference)


@_as_tdn()
def tdn_resnet101(*, classes: int, dropout: float = 0.5, difference: float = 0.5) -> Net:
    return Tdn((3, 4, 23, 3), classes=classes, dropout=dropout, difference=difference)
