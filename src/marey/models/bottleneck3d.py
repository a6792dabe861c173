"""Bottleneck networks over space and time: C2D, I3D, Slow, CSN and R(2+1)D on ResNets.

Papers: Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv 1711.07971 (C2D, and I3D on a
ResNet after Carreira and Zisserman, CVPR 2017, arXiv 1705.07750); Feichtenhofer et al., "SlowFast
Networks for Video Recognition", ICCV 2019, arXiv 1812.03982 (Slow); Tran et al., "Video
Classification with Channel-Separated Convolutional Networks", ICCV 2019, arXiv 1904.02811 (CSN);
Tran et al., CVPR 2018, arXiv 1711.11248 (R(2+1)D). References:
facebookresearch/pytorchvideo@f3142bb `pytorchvideo/models/{resnet,csn,r2plus1d}.py`, and
facebookresearch/SlowFast@287ec00 `slowfast/models/video_model_builder.py` for the non-local blocks.

ResNet's bottleneck, and time enters by what its convolutions do:

    C2D       frame by frame; only a max pool behind res2 joins pairs of frames
    I3D       5x7x7 stem; a block's first 1x1x1 is 3x1x1 in all of res2, then in every second
              block; the same pool
    Slow      the first 1x1x1 is 3x1x1 in res4 and res5; time is never strided
    CSN       3x7x7 stem; the 1x3x3 is a depthwise 3x3x3, which strides time too
    R(2+1)D   the 1x3x3 follows on 3x1x1, norm and ReLU, which stride time; no pool in the stem

`non_local=True` puts a non-local block behind blocks 1 and 3 of res3 and 1, 3 and 5 of res4, as
PySlowFast does: softmax for C2D and I3D, dot product for Slow.

Deviations: the head takes the mean over whatever T, H and W is left, where the references slide a
window of the training crop over it and average what comes out. Logits are returned: pytorchvideo's
R(2+1)D ends in a softmax. That network is not the paper's, where space comes first, to a width
that keeps the number of parameters (`resnet3d`). pytorchvideo's CSN has norms with an epsilon of
1e-5, other releases (`csn`) 1e-3; it builds it without dropout, but trained it with 0.5, as here.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from marey.models._fair import (
    PYSLOWFAST,
    PYTORCHVIDEO,
    STRIDES,
    Middle,
    Size,
    charades,
    conv3d,
    initialise,
    kinetics,
    something,
    space,
    stage,
    stem,
    uniform,
    zoo_input,
)
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import renamed
from marey.nn.heads import Mean
from marey.nn.non_local import Affinity, NonLocal

NON_LOCAL = {3: (1, 3), 4: (1, 3, 5)}
"""The blocks of each stage that a non-local block follows."""


def depthwise(width: int, stride: Size) -> nn.Module:
    """3x3x3 of each channel by itself: "channel-separated"."""
    return conv3d(width, width, (3, 3, 3), stride, groups=width)


def time_then_space(width: int, stride: Size) -> nn.Module:
    """3x1x1, norm, ReLU, 1x3x3."""
    return nn.Sequential(
        OrderedDict(
            conv_t=conv3d(width, width, (3, 1, 1), (stride[0], 1, 1)),
            norm=nn.BatchNorm3d(width),
            relu=nn.ReLU(inplace=True),
            conv_xy=conv3d(width, width, (1, 3, 3), (1, *stride[1:])),
        )
    )


def with_non_local(
    blocks: nn.Sequential, after: Sequence[int], channels: int, affinity: Affinity
) -> nn.Sequential:
    """The stage with a non-local block behind some of its blocks."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for position, (name, block) in enumerate(blocks.named_children()):
        layers[name] = block
        if position in after:
            layers[f"non_local{position}"] = NonLocal(channels, affinity)
    return nn.Sequential(layers)


class BottleneckNet(Net):
    """Stem, four stages of bottlenecks (256 to 2048 channels), mean, linear.

    `times` are the kernels over time of every block's first convolution, by stage.
    """

    def __init__(
        self,
        first: nn.Module,
        times: Sequence[Sequence[int]],
        *,
        classes: int,
        dropout: float,
        strides: Sequence[Size] = STRIDES,
        middle: Middle = space,
        pool_time: bool = False,
        non_local: Affinity | None = None,
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=first)
        inputs = 64
        for number, (kernels, stride) in enumerate(zip(times, strides, strict=True), start=2):
            outputs = 64 << number
            blocks = stage(inputs, outputs, kernels, stride, middle)
            if non_local:
                blocks = with_non_local(blocks, NON_LOCAL.get(number, ()), outputs, non_local)
            layers[f"res{number}"] = blocks
            if pool_time and number == 2:
                layers["pool2"] = nn.MaxPool3d((2, 1, 1))
            inputs = outputs
        super().__init__(nn.Sequential(layers), Mean(inputs, classes, dropout))
        # The pool wants two frames; non-local blocks two pixels of res4, 16 times fewer.
        self.least = (2 if pool_time else 1, *((17, 17) if non_local else (1, 1)))
        initialise(self)

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`pytorchvideo`, which numbers stages and pool, and `pyslowfast`."""
        if layout == "pytorchvideo":
            stages = [name for name, _ in self.body.named_children()]
            numbers = {f"blocks.{n}.": f"body.{stage}." for n, stage in enumerate(stages)}
            head = {f"blocks.{len(stages)}.proj.": "head.linear."}
            return renamed(state, PYTORCHVIDEO | numbers | head)
        if layout == "pyslowfast":
            return renamed(state, {"pathway0_": ""} | PYSLOWFAST)
        return super().convert(state, layout)


CLIP = zoo_input(frames=8, every=8)
CSN_CLIP = zoo_input(frames=32, every=2)
R2PLUS1D_CLIP = zoo_input(frames=16, every=4)
_family = partial(
    register,
    classes=400,
    reference="facebookresearch/pytorchvideo@f3142bb, facebookresearch/SlowFast@287ec00",
    default="k400",
)


@_family(CLIP, paper="1711.07971", weights={"k400": kinetics("C2D_8x8_R50", CLIP, 71.46)})
def c2d_r50(*, classes: int, dropout: float = 0.5, non_local: bool = False) -> Net:
    return BottleneckNet(
        stem(1, 64),
        uniform(1, 1, 1, 1),
        pool_time=True,
        non_local="softmax" if non_local else None,
        classes=classes,
        dropout=dropout,
    )


@_family(CLIP, paper="1705.07750", weights={"k400": kinetics("I3D_8x8_R50", CLIP, 73.27)})
def i3d_r50(*, classes: int, dropout: float = 0.5, non_local: bool = False) -> Net:
    return BottleneckNet(
        stem(5, 64),
        [[3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]],
        pool_time=True,
        non_local="softmax" if non_local else None,
        classes=classes,
        dropout=dropout,
    )


@_family(
    CLIP,
    paper="1812.03982",
    weights={
        "k400": kinetics("SLOW_8x8_R50", CLIP, 74.58),
        "k400_4x16": kinetics("SLOW_4x16_R50", replace(CLIP, frames=4, every=16), 72.40),
        "ssv2": something("SLOW_8x8_R50", CLIP, 60.04),
        "charades": charades("SLOW_8x8_R50", CLIP, 34.72),
    },
)
def slow_r50(*, classes: int, dropout: float = 0.5, non_local: bool = False) -> Net:
    return BottleneckNet(
        stem(1, 64),
        uniform(1, 1, 3, 3),
        non_local="dot_product" if non_local else None,
        classes=classes,
        dropout=dropout,
    )


@_family(
    CSN_CLIP,
    paper="1904.02811",
    weights={"k400": kinetics("CSN_32x2_R101", CSN_CLIP, 77.00)},
)
def csn_r101(*, classes: int, dropout: float = 0.5) -> Net:
    return BottleneckNet(
        stem(3, 64),
        uniform(1, 1, 1, 1, depth=101),
        strides=((1, 1, 1), (2, 2, 2), (2, 2, 2), (2, 2, 2)),
        middle=depthwise,
        classes=classes,
        dropout=dropout,
    )


@_family(
    R2PLUS1D_CLIP,
    paper="1711.11248",
    weights={"k400": kinetics("R2PLUS1D_16x4_R50", R2PLUS1D_CLIP, 76.01)},
)
def r2plus1d_r50(*, classes: int, dropout: float = 0.5) -> Net:
    return BottleneckNet(
        stem(1, 64, pool=False),
        uniform(1, 1, 1, 1),
        strides=((1, 2, 2), (1, 2, 2), (2, 2, 2), (2, 2, 2)),
        middle=time_then_space,
        classes=classes,
        dropout=dropout,
    )
