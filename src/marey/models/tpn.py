"""TPN: a pyramid over time on the last two stages of a Slow network.

Paper: Yang et al., "Temporal Pyramid Network for Action Recognition", CVPR 2020, arXiv 2004.03548.
Reference: open-mmlab/mmaction2@v1.2.0 `mmaction/models/necks/tpn.py`,
`mmaction/models/heads/tpn_head.py`, with its `ResNet3dSlowOnly`.

An action is quick or slow. A network that is fed at several frame rates can tell; TPN is fed once,
and takes the stages of one network for the rates, as deeper ones see more of time:

    spatial modulation     res4 is brought to width and size of res5, by a strided 1x3x3
    temporal modulation    both are mixed over three frames, to 1024 channels, and pooled over eight
    top-down flow          res5 is added to res4, and both are fused: each by itself, then together
    bottom-up flow         that sum, mixed over time, is added to res5, and both are fused again
    pyramid fusion         the outcomes of both flows are joined, N 2048 T/8 H W

The second flow begins with the sums of the first: a cascade, in the words of the paper.

Deviations: the reference trains with a second classifier on res4, which sees none of what follows;
a network here has one answer, so that classifier is left out, and dropped from the files. The
authors' own networks for 16 and 32 frames, which pool the two stages unequally, and TPN on TSM are
not here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from marey.models import _mmaction2
from marey.models._fair import STRIDES, Size, conv3d, initialise, stage, stem, uniform
from marey.models._image_nets import imagenet
from marey.models._labels import kinetics400
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights, renamed
from marey.nn.heads import Mean

RATE = 8  # frames that are pooled into one
RES4, RES5 = 1024, 2048  # channels of the backbone's stages, and of what the pyramid gives
GROUPS = 32  # of the convolutions that see one stage


def unit(
    inputs: int, outputs: int, kernel: Size = (1, 1, 1), stride: Size = (1, 1, 1), groups: int = 1
) -> nn.Sequential:
    """Convolution, norm, ReLU."""
    return nn.Sequential(
        OrderedDict(
            conv=conv3d(inputs, outputs, kernel, stride, groups=groups),
            norm=nn.BatchNorm3d(outputs),
            relu=nn.ReLU(inplace=True),
        )
    )


def tempo() -> nn.Sequential:
    """Temporal modulation: N 2048 T H W → N 1024 T/8 H W, with T/8 rounded up."""
    pool = nn.MaxPool3d((RATE, 1, 1), ceil_mode=True)
    return nn.Sequential(OrderedDict(conv=conv3d(RES5, RES4, (3, 1, 1), groups=GROUPS), pool=pool))


class Fusion(nn.Module):
    """Both stages, N 1024 T H W each, by themselves and then together → N 2048 T H W."""

    def __init__(self) -> None:
        super().__init__()
        self.res4 = unit(RES4, RES4, groups=GROUPS)
        self.res5 = unit(RES4, RES4, groups=GROUPS)
        self.both = unit(2 * RES4, RES5)

    def forward(self, res4: Tensor, res5: Tensor) -> Tensor:
        both: Tensor = self.both(torch.cat([self.res4(res4), self.res5(res5)], 1))
        return both


class Pyramid(nn.Module):
    """res4, N 1024 T H W, and res5, N 2048 T H/2 W/2 → N 2048 T/8 H/2 W/2."""

    def __init__(self) -> None:
        super().__init__()
        self.align = unit(RES4, RES5, (1, 3, 3), (1, 2, 2))
        self.tempo4, self.tempo5 = tempo(), tempo()
        self.upwards = conv3d(RES4, RES4, (3, 1, 1))
        self.top_down, self.bottom_up = Fusion(), Fusion()
        self.fuse = unit(2 * RES5, RES5)
        for module in self.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.xavier_uniform_(module.weight)

    def forward(self, res4: Tensor, res5: Tensor) -> Tensor:
        res4, res5 = self.tempo4(self.align(res4)), self.tempo5(res5)
        res4 = res4 + res5
        top_down = self.top_down(res4, res5)
        res5 = res5 + self.upwards(res4)
        bottom_up = self.bottom_up(res4, res5)
        fused: Tensor = self.fuse(torch.cat([top_down, bottom_up], 1))
        return fused


class SlowPyramid(nn.Module):
    """A Slow network's stem and stages, and the pyramid on the last two of them."""

    def __init__(self, depth: int) -> None:
        super().__init__()
        self.stem = stem(1, 64)
        widths = pairwise((64, 256, 512, RES4, RES5))
        times = uniform(1, 1, 3, 3, depth=depth)  # as in Slow, res4 and res5 alone look at time
        self.res2, self.res3, self.res4, self.res5 = (
            stage(*width, kernels, stride)
            for width, kernels, stride in zip(widths, times, STRIDES, strict=True)
        )
        initialise(self)
        self.pyramid = Pyramid()

    def forward(self, clip: Tensor) -> Tensor:
        """N 3 T H W → N 2048 T/8 H/32 W/32, all rounded up."""
        res4 = self.res4(self.res3(self.res2(self.stem(clip))))
        fused: Tensor = self.pyramid(res4, self.res5(res4))
        return fused


class TPN(Net):
    """Slow with a pyramid, mean, linear."""

    def __init__(self, depth: int, *, classes: int, dropout: float) -> None:
        super().__init__(SlowPyramid(depth), Mean(RES5, classes, dropout))

    def early(self) -> int:
        """All before res5, from which on the resolution is the last."""
        return 4

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`mmaction2`, without its second classifier."""
        if layout != "mmaction2":
            return super().convert(state, layout)
        kept = {name: value for name, value in state.items() if not name.startswith(_AUXILIARY)}
        return renamed(kept, _NAMES)

    def folded(self, layout: str) -> int:
        """What is dropped: a 3x3 of res4 to the width of res5, its norm, and a classifier."""
        if layout != "mmaction2":
            return super().folded(layout)
        return RES5 * (9 * RES4 + 2) + (RES5 + 1) * self.classes


_AUXILIARY = "neck.aux_head."
# Published fragments of names and ours, replaced in this order.
_NAMES = {
    "backbone.conv1.": "body.stem.",
    **{f"backbone.layer{number - 1}.": f"body.res{number}.block" for number in range(2, 6)},
    **_mmaction2.BOTTLENECK,
    ".downsample.": ".shortcut.",
    "neck.spatial_modulation.spatial_modulation.0.0.": "body.pyramid.align.",
    "neck.temporal_modulation_ops.0.conv.": "body.pyramid.tempo4.",
    "neck.temporal_modulation_ops.1.conv.": "body.pyramid.tempo5.",
    "neck.downsample_ops.0.conv.conv.": "body.pyramid.upwards.",
    "neck.level_fusion_1.": "body.pyramid.top_down.",
    "neck.level_fusion_2.": "body.pyramid.bottom_up.",
    "neck.pyramid_fusion.": "body.pyramid.fuse.",
    ".downsamples.0.conv.": ".res4.",
    ".downsamples.1.conv.": ".res5.",
    ".fusion_conv.": ".both.",
    ".bn.": ".norm.",
    "cls_head.fc_cls.": "head.linear.",
}


_register = partial(
    register,
    imagenet(frames=8, every=8, resize=256, size=(256, 256), views=(10, 3)),
    classes=400,
    paper="2004.03548",
    reference="open-mmlab/mmaction2@v1.2.0",
)


def _k400(config: str, stamp: str, top1: float) -> Weights:
    """A file that mmaction2 trained."""
    return _mmaction2.trained(
        "tpn",
        f"tpn-slowonly_{config}_8xb8-8x8x1-150e_kinetics400-rgb",
        stamp,
        labels=kinetics400,
        top1=top1,
        protocol="Kinetics-400 val, 10 clips x 3 crops, 8x256x256 (mmaction2)",
    )


@_register(
    weights={
        "k400": _k400("imagenet-pretrained-r50", "20220913-fed3f4c1", 76.74),
        "k400_scratch": _k400("r50", "20220913-97d0835d", 74.20),
    },
    default="k400",
)
def tpn_slow_r50(*, classes: int, dropout: float = 0.5) -> Net:
    return TPN(50, classes=classes, dropout=dropout)


@_register()
def tpn_slow_r101(*, classes: int, dropout: float = 0.5) -> Net:
    return TPN(101, classes=classes, dropout=dropout)
