"""A detector of events over features in time: convolutions, max pooling, many scales, no anchors.

Tang et al. 2023, "TemporalMaxer", arXiv 2303.09055; TuanTNG/TemporalMaxer@c0f16bf, which follows
ActionFormer (Zhang et al. 2022, arXiv 2202.07925; happyharrycn/actionformer_release): two
convolutions project the features, max pooling (3 wide, stride 2) makes each coarser level, and two
small heads of three convolutions, shared by all levels, say at every point which labels hold there
and how far away their start and end are.

Deviations: features are standardised by means that belong to the network; dropout follows each
projection; distances are a softplus, which has a gradient everywhere, where the reference cuts at
zero; width 256, not 512, for data of a few dozen videos.

The unit of time is the cell: feature number t is about the cell [t - 0.5, t + 0.5).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# How probable an event is at a point before anything is learnt (focal loss, arXiv 1708.02002).
_RARE = 0.01


class Answers(NamedTuple):
    """What the network says at the P points of all levels: label logits N K P and, in cells, the
    distances to start and end, N 2 P. `mask` N P tells which points are of the video, not padding.
    """

    logits: Tensor
    distances: Tensor
    mask: Tensor


class Points(NamedTuple):
    """Where the points lie: `position` P in cells, and the `stride` P of their level."""

    position: Tensor
    stride: Tensor


def points(cells: int, levels: int) -> Points:
    """The points over so many cells: level l has one at every 2**l-th, finest level first."""
    places = [torch.arange(0, cells, 2**level) for level in range(levels)]
    strides = [torch.full_like(place, 2**level) for level, place in enumerate(places)]
    return Points(torch.cat(places).double(), torch.cat(strides).double())


class TemporalDetector(nn.Module):
    """Features N C T → `Answers` at every point; T is anything, and padding changes no answer."""

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        channels: int,
        classes: int,
        *,
        width: int = 256,
        levels: int = 6,
        dropout: float = 0.1,
    ) -> None:
        super().__init__()
        self.levels = levels
        self.register_buffer("mean", torch.zeros(channels, 1))
        self.register_buffer("std", torch.ones(channels, 1))
        self.project = nn.ModuleList(
            [_Block(channels, width, dropout), _Block(width, width, dropout)]
        )
        self.labels = _Tower(width, classes)
        self.edges = _Tower(width, 2)
        self.scales = nn.Parameter(torch.ones(levels))
        nn.init.constant_(self.labels.out.bias, math.log(_RARE / (1 - _RARE)))  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Answers:
        """`x` N C T; `mask` N T is False where a shorter video was filled up."""
        if mask is None:
            mask = torch.ones_like(x[:, 0], dtype=torch.bool)
        x = (x - self.mean) / self.std * mask[:, None]
        for block in self.project:
            x = block(x, mask)
        logits, distances, masks = [], [], []
        for level in range(self.levels):
            if level:
                # Padding is zero and nothing else is below, so it never wins.
                mask = mask[:, ::2]
                x = F.max_pool1d(x, 3, stride=2, padding=1) * mask[:, None]
            masks.append(mask)
            logits.append(self.labels(x, mask))
            away = F.softplus(self.scales[level] * self.edges(x, mask))
            distances.append(away * 2**level)
        return Answers(torch.cat(logits, 2), torch.cat(distances, 2), torch.cat(masks, 1))


class _Block(nn.Module):
    """A convolution over three steps, normalised over channels, rectified; padding stays zero."""

    def __init__(self, channels: int, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, width, 3, padding=1, bias=False)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        x = self.norm(self.conv(x).transpose(1, 2)).transpose(1, 2)
        return self.dropout(x.relu()) * mask[:, None]  # type: ignore[no-any-return]


class _Tower(nn.Module):
    """Two blocks and a last convolution, N C T → N `outputs` T."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([_Block(width, width) for _ in range(2)])
        self.out = nn.Conv1d(width, outputs, 3, padding=1)
        nn.init.normal_(self.out.weight, std=0.01)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x, mask)
        return self.out(x)  # type: ignore[no-any-return]
