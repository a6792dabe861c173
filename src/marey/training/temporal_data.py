"""What a step of the temporal head's training sees: stretches of features, and the answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marey.models._temporal_head import Features
from marey.nn.temporal import Points, points
from marey.nn.temporal_loss import Targets, assign
from marey.types import Event

_ENOUGH = 0.5  # the share of an event that makes it one where a stretch cuts it


@dataclass(frozen=True, slots=True)
class Example:
    """A video to learn from: features C T, its events' `spans` E 2 in cells, label numbers E."""

    values: Tensor
    spans: Tensor
    labels: Tensor

    @classmethod
    def of(cls, features: Features, events: Sequence[Event], labels: Sequence[str]) -> Example:
        number = {label: k for k, label in enumerate(labels)}
        times = np.array([(event.start, event.end) for event in events]).reshape(-1, 2)
        return cls(
            torch.from_numpy(np.ascontiguousarray(features.values)).float(),
            torch.from_numpy(features.cells(times)),
            torch.tensor([number[event.label] for event in events], dtype=torch.int64),
        )

    @property
    def cells(self) -> int:
        return self.values.shape[1]

    def stretch(self, start: int, length: int) -> Stretch:
        """Cells `start` to `start + length`; an event that is cut by their edge ends there.

        Where less than half of an event is left, nobody can say that it is one or that it is none.
        """
        low = start - 0.5 if start else -torch.inf
        high = start + length - 0.5 if start + length < self.cells else torch.inf
        cut = self.spans.clamp(low, high)
        left = (cut[:, 1] - cut[:, 0]) / (self.spans[:, 1] - self.spans[:, 0])
        known, doubtful = left >= _ENOUGH, (left > 0) & (left < _ENOUGH)
        values = self.values[:, start : start + length]
        return Stretch(values, cut[known] - start, self.labels[known], cut[doubtful] - start)


class Stretch(NamedTuple):
    """A part of a video, cells counted from its start; `doubtful` D 2 are left out of the loss."""

    values: Tensor
    spans: Tensor
    labels: Tensor
    doubtful: Tensor


class Place(NamedTuple):
    """Where a stretch lies: the number of its example, its first cell, and how many it has."""

    example: int
    start: int
    length: int


class Batch(NamedTuple):
    """N stretches side by side: features N C T, and which cells are real, N T.

    At the P points of all levels: targets (N K P, N 2 P, N P), and which of them count, N P.
    """

    values: Tensor
    mask: Tensor
    targets: Targets
    counted: Tensor

    def to(self, device: torch.device) -> Batch:
        targets = Targets(*(part.to(device) for part in self.targets))
        values, mask, counted = (part.to(device) for part in (self.values, self.mask, self.counted))
        return Batch(values, mask, targets, counted)


def epoch_of(
    examples: Sequence[Example], length: int, batch: int, seed: Sequence[int]
) -> Iterator[list[Place]]:
    """Every example once, a long one as stretches of `length` at random places, in random order."""
    rng = np.random.default_rng(seed)
    items = [k for k, example in enumerate(examples) for _ in range(_parts(example, length))]
    places = []
    for k in rng.permutation(items).tolist():
        cells = examples[k].cells
        start = int(rng.integers(max(0, cells - length) + 1))
        places.append(Place(k, start, min(length, cells)))
    for first in range(0, len(places), batch):
        yield places[first : first + batch]


def steps_of(examples: Sequence[Example], length: int, batch: int) -> int:
    """How many batches `epoch_of` gives."""
    return -(-sum(_parts(example, length) for example in examples) // batch)


def _parts(example: Example, length: int) -> int:
    return -(-example.cells // length)


def collate(stretches: Sequence[Stretch], classes: int, levels: int) -> Batch:
    """The stretches as one batch, filled up to the longest."""
    cells = max(stretch.values.shape[1] for stretch in stretches)
    values = torch.zeros(len(stretches), len(stretches[0].values), cells)
    mask = torch.zeros(len(stretches), cells, dtype=torch.bool)
    grid = points(cells, levels)
    targets, counted = [], []
    for row, stretch in enumerate(stretches):
        own = stretch.values.shape[1]
        values[row, :, :own] = stretch.values
        mask[row, :own] = True
        targets.append(assign(grid, stretch.spans, stretch.labels, classes))
        counted.append(~_within(grid, stretch.doubtful))
    stacked = Targets(*(torch.stack(parts) for parts in zip(*targets, strict=True)))
    return Batch(values, mask, stacked, torch.stack(counted))


def usual_count(examples: Sequence[Example], classes: int, levels: int, length: int) -> float:
    """How many points of a stretch answer for an event, on average; at least one."""
    counts = [
        int(assign(points(e.cells, levels), e.spans, e.labels, classes).answering.sum())
        for e in examples
    ]
    return max(1.0, sum(counts) / sum(_parts(example, length) for example in examples))


def _within(grid: Points, spans: Tensor) -> Tensor:
    """Which points lie in any of `spans`."""
    position = grid.position[:, None]
    return ((position >= spans[:, 0]) & (position <= spans[:, 1])).any(1)
