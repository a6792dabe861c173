"""Torch datasets over samples: random clips to train on, and fixed views to test on.

All chance is a function of (seed, epoch, sample), whichever worker loads it and whenever.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random
from typing import cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler, default_collate

from marey.data.augment import Augment
from marey.data.source import Source
from marey.errors import MareyError
from marey.types import Image, Input, Window
from marey.video.prepare import crops
from marey.video.windows import pick, views, window_length

Item = tuple[Tensor, int] | MareyError
"""A clip with its class number; or the error, because a worker's exception loses its form."""


class TrainClips(Dataset[Item]):
    """A random clip of each sample, uint8 T H W 3, by the key (epoch, sample)."""

    def __init__(
        self, sources: Sequence[Source], prepare: Input, augment: Augment, *, seed: int
    ) -> None:
        self.sources, self.prepare, self.augment, self.seed = sources, prepare, augment, seed

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, key: tuple[int, int]) -> Item:
        epoch, index = key
        source, prepare = self.sources[index], self.prepare
        rng = Random(f"{self.seed}/{epoch}/{index}")
        window = _random_window(source, prepare, rng)
        try:
            (frames,) = source.clips(
                [(window, pick(window, prepare, source.fps, rng=rng))], prepare
            )
        except MareyError as error:
            return error
        return self.augment(torch.from_numpy(frames), prepare.size, rng), source.target


def _random_window(source: Source, prepare: Input, rng: Random) -> Window:
    """A window as long as the network's clip, anywhere; a shorter sample is taken whole."""
    room = source.duration - window_length(prepare, source.fps)
    if room <= 0:
        return source.span
    start = source.span.start + rng.random() * room
    return Window(start, start + source.duration - room)


class TestClips(Dataset[Item]):
    """The fixed views of each sample, uint8 V T H W 3: `clips` in time x `crops` in space."""

    __test__ = False  # not a test of pytest's

    def __init__(self, sources: Sequence[Source], prepare: Input, shape: tuple[int, int]) -> None:
        self.sources, self.prepare, self.shape = sources, prepare, shape

    def __len__(self) -> int:
        return len(self.sources)

    def __getitem__(self, index: int) -> Item:
        try:
            frames = fixed_views(self.sources[index], self.prepare, self.shape)
        except MareyError as error:
            return error
        return torch.from_numpy(frames), self.sources[index].target


def fixed_views(source: Source, prepare: Input, shape: tuple[int, int]) -> Image:
    """The views of the multi-view protocol, V T H W 3, without chance.

    `shape` is clips in time x crops in space. A sample no longer than a clip gives one in time.
    """
    clips, across = shape
    spans = views(source.duration, prepare, source.fps, clips, start=source.span.start)
    plan = [(span, pick(span, prepare, source.fps)) for span in spans]
    return np.stack(
        [
            crop
            for frames in source.clips(plan, prepare)
            for crop in crops(frames, prepare.size, 3 if across == 3 else 1)
        ]
    )


def collate(items: list[Item]) -> tuple[Tensor, Tensor] | MareyError:
    """A batch (clips, targets); or the first error in it."""
    for item in items:
        if isinstance(item, MareyError):
            return item
    return cast(tuple[Tensor, Tensor], tuple(default_collate(items)))


class EpochSampler(Sampler[tuple[int, int]]):
    """Keys (epoch, sample): each epoch's order is drawn from seed and epoch.

    The keys carry the epoch, so workers that live on from one epoch to the next need not be told.
    """

    def __init__(self, samples: int, seed: int) -> None:
        self.samples, self.seed = samples, seed
        self.begin(0)

    def begin(self, epoch: int, skip: int = 0) -> None:
        """Give `epoch` next, without its first `skip` samples, which an earlier sitting took."""
        self.epoch, self.skip = epoch, skip

    def __iter__(self) -> Iterator[tuple[int, int]]:
        order = np.random.default_rng([self.seed, self.epoch]).permutation(self.samples)
        for index in order[self.skip :].tolist():
            yield self.epoch, index

    def __len__(self) -> int:
        return self.samples - self.skip
