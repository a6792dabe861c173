"""Who does what, where: Slow and SlowFast for boxes in a clip, as they are trained on AVA.

Papers: Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, arXiv
1812.03982, section 5; Gu et al., "AVA: A Video Dataset of Spatio-temporally Localized Atomic Visual
Actions", CVPR 2018, arXiv 1705.08421. Reference: pytorchvideo 0.1.5,
`pytorchvideo/models/hub/{resnet,slowfast}.py`, with `create_resnet_with_roi_head` and
`create_slowfast_with_roi_head`.

The bodies of `bottleneck3d` and `slowfast`, but for res5: it keeps the resolution of res4, a
sixteenth of the clip's, and its 3x3 look at every second pixel. The maps, averaged over time, are
read inside of each box on a grid of 7x7 (RoIAlign), of which the largest values count. Boxes are
of the frame in the middle of the clip; each has a score for every action, by sigmoids.

Deviations: logits are returned, where the reference ends in the sigmoids; the mean is taken over
whatever T is left, where it pools 4 frames, or 8 and 32. Without boxes the whole picture is one.
The reference reads the maps without RoIAlign's half pixel (torchvision's default), and so do we;
the files were trained by PySlowFast, whose configurations know both.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from marey.models._fair import Size, initialise, space, stage, stem, uniform, zoo_input
from marey.models._labels import ava
from marey.models._registry import register
from marey.models._roi_net import RoiNet
from marey.models._weights import Weights, renamed
from marey.models.slowfast import PATHWAYS, TwoPathways, from_first_to_last, two_pathways
from marey.nn.roi import BoxMax
from marey.types import Input

STRIDES: tuple[Size, ...] = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 1, 1))
STRIDE = 16  # of the maps, from stem, pool, res3 and res4


def every_second(width: int, stride: Size) -> nn.Module:
    """1x3x3 with a pixel left out between those it looks at."""
    return nn.Conv3d(width, width, (1, 3, 3), stride, (0, 2, 2), (1, 2, 2), bias=False)


class TwoMaps(TwoPathways):
    """Two pathways, whose maps are averaged over time only."""

    def forward(self, clip: Tensor) -> Tensor:
        """N 3 T H W → N 2304 1 H/16 W/16, slow channels first."""
        return torch.cat([maps.mean(2, keepdim=True) for maps in self.pathways(clip)], 1)


class BoxNet(RoiNet):
    """A body of stages up to a sixteenth of the resolution, and boxes read from its maps."""

    def __init__(self, body: nn.Module, channels: int, *, classes: int, dropout: float) -> None:
        super().__init__(body, BoxMax(channels, classes, dropout, stride=STRIDE))
        initialise(self)

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`pytorchvideo`, which numbers the stages."""
        if layout != "pytorchvideo":
            return super().convert(state, layout)
        return renamed(state, _NAMES)


_NAMES = PATHWAYS | {
    "model.blocks.0.": "body.stem.",
    **{f"model.blocks.{number - 1}.": f"body.res{number}." for number in range(2, 6)},
    "detection_head.proj.": "head.linear.",
}


SLOW_CLIP = zoo_input(frames=4, every=16, views=(1, 1))
CLIP = zoo_input(frames=32, every=2, views=(1, 1))
_family = partial(
    register, classes=80, paper="1812.03982", reference="pytorchvideo 0.1.5", boxes=True
)


def _ava(file: str, prepare: Input, mean_ap: float) -> dict[str, Weights]:
    """A file of pytorchvideo's zoo: Kinetics-400, then AVA v2.2."""
    frames, every = prepare.frames, prepare.every
    return {
        "ava": Weights(
            source=f"https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/ava/{file}.pyth",
            licence="Apache-2.0",
            layout="pytorchvideo",
            labels=ava,
            multilabel=True,
            protocol=f"AVA v2.2 val, frame mAP {mean_ap} at IoU 0.5, {frames}x{every} frames, "
            "short side 256 (pytorchvideo)",
        )
    }


@_family(SLOW_CLIP, weights=_ava("SLOW_4x16_R50_DETECTION", SLOW_CLIP, 19.5), default="ava")
def slow_r50_detection(*, classes: int, dropout: float = 0.5) -> RoiNet:
    stages: OrderedDict[str, nn.Module] = OrderedDict(stem=stem(1, 64))
    widths = pairwise((64, 256, 512, 1024, 2048))
    for number, width, times, stride in zip(
        range(2, 6), widths, uniform(1, 1, 3, 3), STRIDES, strict=True
    ):
        middle = every_second if number == 5 else space
        stages[f"res{number}"] = stage(*width, times, stride, middle)
    return BoxNet(nn.Sequential(stages), 2048, classes=classes, dropout=dropout)


@_family(CLIP, weights=_ava("SLOWFAST_8x8_R50_DETECTION", CLIP, 24.67), default="ava")
def slowfast_r50_detection(*, classes: int, dropout: float = 0.5) -> RoiNet:
    stages, channels = two_pathways(
        uniform(1, 1, 3, 3),
        uniform(3, 3, 3, 3),
        alpha=4,
        kernel=7,
        strides=STRIDES,
        last=every_second,
    )
    body = TwoMaps(stages, 4, from_first_to_last)
    return BoxNet(body, channels, classes=classes, dropout=dropout)
