"""Two pathways at two frame rates: SlowFast.

Paper: Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019, arXiv 1812.03982.
References: facebookresearch/pytorchvideo@f3142bb `pytorchvideo/models/slowfast.py`;
facebookresearch/SlowFast@287ec00 `slowfast/models/video_model_builder.py` for its names;
open-mmlab/mmaction2@4d6c934 `mmaction/models/backbones/resnet3d_slowfast.py`.

The Slow pathway sees one of `alpha` frames with the full width, and looks at time in res4 and res5
only: what is there. The Fast pathway sees all frames with an eighth of the width, and looks at time
everywhere: how it moves. Behind the stem, res2, res3 and res4 a lateral convolution over time,
strided by `alpha`, lays twice the Fast channels beside the Slow ones.

    8x8     slow frames x the step between them: of a clip of 32 frames, every 2nd of 30 a second;
            alpha 4, lateral kernels of 7 frames with ResNet-50, of 5 with ResNet-101
    4x16    of 32 frames; alpha 8, lateral kernels of 5
    16x8    of 64 frames; alpha 4, lateral kernels of 5; of res4 only the first 6 blocks, as many as
            ResNet-50 has, look at time ("R101-50-50")
    _mm     mmaction2's: laterals without norm and ReLU, other slow frames; 8x8 has kernels of 7

A clip is one tensor, of the Fast pathway's frames; `TwoPathways` picks the slow ones of it. As the
pathways differ in T, the body ends in the mean of each over time and space, side by side, slow
first: N 2304 1 1 1, what the last layer of all published files sees. The maps are had from
`TwoPathways.pathways`, or by stage.

Deviations: the means are taken over whatever T, H and W are left; PySlowFast and pytorchvideo slide
windows of the training crop. Where `alpha` does not divide T, the references fail; here the slow
pathway has as many frames as the lateral convolutions give, T / alpha rounded up.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from marey.models import _mmaction2
from marey.models._fair import (
    PYSLOWFAST,
    PYTORCHVIDEO,
    STRIDES,
    Middle,
    Size,
    charades,
    initialise,
    kinetics,
    something,
    space,
    stage,
    stem,
    uniform,
    zoo_input,
)
from marey.models._image_nets import imagenet
from marey.models._labels import kinetics400
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights, renamed
from marey.nn.heads import Mean

Pathways = tuple[Tensor, Tensor]  # slow N C T/alpha H W, fast N C/8 T H W
Pick = Callable[[int, int], list[int]]  # frames and alpha to the positions of the slow ones

BETA = 8  # how much narrower the Fast pathway is


def from_first_to_last(frames: int, alpha: int) -> list[int]:
    """FAIR's slow frames: spread evenly over the clip, both ends among them, rounded down.

    In whole numbers: torch's linspace, which the references round, falls a frame short of one of
    them in a few clips of 160 frames and more.
    """
    steps = -(-frames // alpha)
    return [step * (frames - 1) // max(steps - 1, 1) for step in range(steps)]


def every_alpha(frames: int, alpha: int) -> list[int]:
    """mmaction2's slow frames: the first, and every `alpha`-th from there."""
    return list(range(0, frames, alpha))


class Lateral(nn.Module):
    """From Fast to Slow: the slow maps with twice the fast channels behind them.

    With `linear`, as mmaction2 has it, nothing follows the convolution.
    """

    def __init__(self, channels: int, kernel: int, alpha: int, *, linear: bool = False) -> None:
        super().__init__()
        size, stride, padding = (kernel, 1, 1), (alpha, 1, 1), (kernel // 2, 0, 0)
        self.conv = nn.Conv3d(channels, 2 * channels, size, stride, padding, bias=False)
        self.norm = nn.Identity() if linear else nn.BatchNorm3d(2 * channels)
        self.relu = nn.Identity() if linear else nn.ReLU(inplace=True)

    def forward(self, pathways: Pathways) -> Pathways:
        slow, fast = pathways
        return torch.cat([slow, self.relu(self.norm(self.conv(fast)))], 1), fast


class Stage(nn.Module):
    """Both pathways by themselves, then from the one to the other."""

    def __init__(self, slow: nn.Module, fast: nn.Module, lateral: nn.Module) -> None:
        super().__init__()
        self.slow = slow
        self.fast = fast
        self.lateral = lateral

    def forward(self, pathways: Pathways) -> Pathways:
        slow, fast = pathways
        return self.lateral((self.slow(slow), self.fast(fast)))  # type: ignore[no-any-return]


class TwoPathways(nn.Sequential):
    """The stages, with the slow frames picked before and the means taken behind them."""

    def __init__(self, stages: OrderedDict[str, nn.Module], alpha: int, pick: Pick) -> None:
        super().__init__(stages)
        self.alpha = alpha
        self.pick = pick

    def pathways(self, clip: Tensor) -> Pathways:
        """N 3 T H W → the last maps of both, N 2048 T/alpha H' W' and N 256 T H' W'."""
        pathways = clip[:, :, self.pick(clip.shape[2], self.alpha)], clip
        for part in self:
            pathways = part(pathways)
        return pathways

    def forward(self, clip: Tensor) -> Tensor:
        """N 3 T H W → N 2304 1 1 1."""
        return torch.cat([maps.mean((2, 3, 4), keepdim=True) for maps in self.pathways(clip)], 1)


def two_pathways(
    slow: Sequence[Sequence[int]],
    fast: Sequence[Sequence[int]],
    *,
    alpha: int,
    kernel: int,
    linear: bool = False,
    strides: Sequence[Size] = STRIDES,
    last: Middle = space,
) -> tuple[OrderedDict[str, nn.Module], int]:
    """The stages by their names, and the channels of both pathways together behind them.

    `slow` and `fast` are the kernels over time of every block's first convolution, by stage;
    `kernel` that of the lateral convolutions; `last` the middle of res5's blocks.
    """
    lateral = partial(Lateral, kernel=kernel, alpha=alpha, linear=linear)
    width = 64
    stages: OrderedDict[str, nn.Module] = OrderedDict(
        stem=Stage(stem(1, width), stem(5, width // BETA), lateral(width // BETA))
    )
    for number, slow_times, fast_times, stride in zip(
        range(2, 6), slow, fast, strides, strict=True
    ):
        outputs, middle = 64 << number, last if number == 5 else space
        stages[f"res{number}"] = Stage(
            stage(width + 2 * width // BETA, outputs, slow_times, stride, middle),
            stage(width // BETA, outputs // BETA, fast_times, stride, middle),
            lateral(outputs // BETA) if number < 5 else nn.Identity(),
        )
        width = outputs
    return stages, width + width // BETA


class SlowFast(Net):
    """Five stages of two pathways, as `two_pathways` makes them, their means, linear."""

    def __init__(
        self,
        slow: Sequence[Sequence[int]],
        fast: Sequence[Sequence[int]],
        *,
        alpha: int,
        kernel: int,
        classes: int,
        dropout: float,
        pick: Pick = from_first_to_last,
        linear_lateral: bool = False,
    ) -> None:
        stages, width = two_pathways(slow, fast, alpha=alpha, kernel=kernel, linear=linear_lateral)
        head = Mean(width, classes, dropout)
        super().__init__(TwoPathways(stages, alpha, pick), head)
        initialise(self)

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`pytorchvideo`, `pyslowfast`, and `mmaction2`, whose head has the fast channels first."""
        if layout not in _NAMES:
            return super().convert(state, layout)
        ours = renamed(state, _NAMES[layout])
        weight = ours.get("head.linear.weight")
        if layout == "mmaction2" and weight is not None:
            fast = weight.shape[1] // (BETA + 1)
            ours["head.linear.weight"] = weight.roll(-fast, 1)
        return ours


# Published fragments of names and ours, replaced in this order.
PATHWAYS = PYTORCHVIDEO | {
    ".multipathway_blocks.0.": ".slow.",
    ".multipathway_blocks.1.": ".fast.",
    ".multipathway_fusion.conv_fast_to_slow.": ".lateral.conv.",
    ".multipathway_fusion.": ".lateral.",
}
_NAMES = {
    "pytorchvideo": PATHWAYS
    | {
        "blocks.0.": "body.stem.",
        **{f"blocks.{number - 1}.": f"body.res{number}." for number in range(2, 6)},
        "blocks.6.proj.": "head.linear.",
    },
    "pyslowfast": {
        "pathway0_": "slow.",
        "pathway1_": "fast.",
        "_fuse.conv_f2s.": ".lateral.conv.",
        "_fuse.bn.": ".lateral.norm.",
    }
    | PYSLOWFAST,
    "mmaction2": {
        "backbone.slow_path.conv1_lateral.": "body.stem.lateral.",
        **{
            f"backbone.slow_path.layer{number - 1}_lateral.": f"body.res{number}.lateral."
            for number in range(2, 5)
        },
        **{f"backbone.{path}_path.conv1.": f"body.stem.{path}." for path in ("slow", "fast")},
        **{
            f"backbone.{path}_path.layer{number - 1}.": f"body.res{number}.{path}.block"
            for path in ("slow", "fast")
            for number in range(2, 6)
        },
        **_mmaction2.BOTTLENECK,
        ".downsample.": ".shortcut.",
        ".bn.": ".norm.",
        "cls_head.fc_cls.": "head.linear.",
    },
}


CLIP = zoo_input(frames=32, every=2)
LONG_CLIP = replace(CLIP, frames=64)
MM_CLIP = imagenet(frames=32, every=2, resize=256, size=(256, 256))

_family = partial(register, classes=400, paper="1812.03982", default="k400")
_as_fair = partial(
    _family, reference="facebookresearch/pytorchvideo@f3142bb, facebookresearch/SlowFast@287ec00"
)
_as_mmaction2 = partial(_family, MM_CLIP, reference="open-mmlab/mmaction2@4d6c934")


def _by_mmaction2(config: str, stamp: str, top1: float) -> Weights:
    """A file that mmaction2 trained."""
    return _mmaction2.trained(
        "slowfast",
        f"slowfast_{config}_kinetics400-rgb",
        stamp,
        labels=kinetics400,
        top1=top1,
        protocol="Kinetics-400 val, 10 clips x 3 crops, 32x256x256 (mmaction2)",
    )


def _pathways(depth: int) -> tuple[list[list[int]], list[list[int]]]:
    """Slow and Fast; only res4 and res5 of the slow one look at time."""
    return uniform(1, 1, 3, 3, depth=depth), uniform(3, 3, 3, 3, depth=depth)


@_as_fair(
    CLIP,
    weights={
        "k400": kinetics("SLOWFAST_8x8_R50", CLIP, 76.94),
        "ssv2": something("SLOWFAST_8x8_R50", CLIP, 61.68),
        "charades": charades("SLOWFAST_8x8_R50", CLIP, 37.24),
    },
)
def slowfast_r50(*, classes: int, dropout: float = 0.5) -> Net:
    return SlowFast(*_pathways(50), alpha=4, kernel=7, classes=classes, dropout=dropout)


@_as_fair(CLIP, weights={"k400": kinetics("SLOWFAST_4x16_R50", CLIP, 75.34)})
def slowfast_r50_4x16(*, classes: int, dropout: float = 0.5) -> Net:
    return SlowFast(*_pathways(50), alpha=8, kernel=5, classes=classes, dropout=dropout)


@_as_fair(CLIP, weights={"k400": kinetics("SLOWFAST_8x8_R101", CLIP, 77.90)})
def slowfast_r101(*, classes: int, dropout: float = 0.5) -> Net:
    return SlowFast(*_pathways(101), alpha=4, kernel=5, classes=classes, dropout=dropout)


@_as_fair(LONG_CLIP, weights={"k400": kinetics("SLOWFAST_16x8_R101_50_50", LONG_CLIP, 78.70)})
def slowfast_r101_16x8(*, classes: int, dropout: float = 0.5) -> Net:
    slow, fast = _pathways(101)
    slow[2] = fast[2] = [3] * 6 + [1] * 17
    return SlowFast(slow, fast, alpha=4, kernel=5, classes=classes, dropout=dropout)


_mm_slowfast = partial(SlowFast, pick=every_alpha, linear_lateral=True)


@_as_mmaction2(
    weights={
        "k400": _by_mmaction2("r50_8xb8-8x8x1-256e", "20220818-1cb6dfc8", 76.80),
        "k400_steps": _by_mmaction2("r50_8xb8-8x8x1-steplr-256e", "20220818-b62a501f", 76.65),
    }
)
def slowfast_r50_mm(*, classes: int, dropout: float = 0.5) -> Net:
    return _mm_slowfast(*_pathways(50), alpha=4, kernel=7, classes=classes, dropout=dropout)


@_as_mmaction2(weights={"k400": _by_mmaction2("r50_8xb8-4x16x1-256e", "20220901-701b0f6f", 75.55)})
def slowfast_r50_4x16_mm(*, classes: int, dropout: float = 0.5) -> Net:
    return _mm_slowfast(*_pathways(50), alpha=8, kernel=5, classes=classes, dropout=dropout)


@_as_mmaction2(weights={"k400": _by_mmaction2("r101_8xb8-8x8x1-256e", "20220901-9c0e09bd", 78.65)})
def slowfast_r101_mm(*, classes: int, dropout: float = 0.5) -> Net:
    return _mm_slowfast(*_pathways(101), alpha=4, kernel=7, classes=classes, dropout=dropout)
