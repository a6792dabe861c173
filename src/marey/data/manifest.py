"""The samples of a data set with their labels, and how they are split."""

from __future__ import annotations

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from marey.data.formats import SPLITS, Sample, read_samples, write_csv
from marey.errors import DataError
from marey.files import whole_file


@dataclass(frozen=True, slots=True)
class Manifest:
    """Labelled samples; a sample's class number is the position of its label in `labels`.

    `labels` are those of the whole data set, so that class numbers agree between its splits. `root`
    is where the samples were read from.
    """

    samples: tuple[Sample, ...]
    labels: tuple[str, ...]
    root: Path

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Manifest:
        """Read a folder of class folders, or a CSV `video,start,end,label,split,group`.

        Folders are `root/label/*.mp4` or `root/{train,val,test}/label/*.mp4`. Labels are sorted.
        DataError names the file and line that cannot be used.
        """
        path = Path(path)
        samples = tuple(read_samples(path))
        labels = tuple(sorted({sample.label for sample in samples}))
        if len(labels) < 2:
            raise DataError(
                f"there is one class only, {labels[0]!r}",
                where=path,
                do="A classifier tells classes apart: give at least two.",
            )
        return cls(samples, labels, path if path.is_dir() else path.parent)

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the samples name, in the order train, val, test."""
        named = {sample.split for sample in self.samples}
        return tuple(split for split in SPLITS if split in named)

    @property
    def targets(self) -> tuple[int, ...]:
        """The class number of each sample."""
        number = {label: k for k, label in enumerate(self.labels)}
        return tuple(number[sample.label] for sample in self.samples)

    def split(self, name: str) -> Manifest:
        """The samples of one split; DataError if there are none."""
        samples = tuple(sample for sample in self.samples if sample.split == name)
        if not samples:
            has = ", ".join(self.splits) or "no splits"
            raise DataError(
                f"no sample is of split {name!r}; the data name {has}",
                where=self.root,
                do="Add a split column, or leave the split out to use all samples.",
            )
        return self.with_samples(samples)

    def with_samples(self, samples: Iterable[Sample]) -> Manifest:
        """Other samples of the same data set: labels and root stay."""
        return replace(self, samples=tuple(samples))

    def stratified(self, folds: int, fold: int = 0, seed: int = 0) -> Manifest:
        """Every sample with its split set: `val` in fold number `fold`, `train` elsewhere.

        Each class is spread evenly over the folds; the order is drawn from `seed` and from the file
        names, so that reading the rows in another order gives the same folds. Samples of one group
        stay together, and then the spread is as even as the groups allow.
        """
        if folds < 2 or not 0 <= fold < folds:
            raise DataError(
                f"fold {fold} of {folds} does not exist", do="Count folds from 0; at least two."
            )
        fold_of = self._folds(folds, seed)
        samples = [
            replace(sample, split="val" if fold_of[key] == fold else "train")
            for sample, key in zip(self.samples, self._groups(), strict=True)
        ]
        for split in ("train", "val"):
            if not any(sample.split == split for sample in samples):
                raise DataError(
                    f"fold {fold} of {folds} leaves no sample in {split}",
                    where=self.root,
                    do="Take fewer folds, or give more groups.",
                )
        return self.with_samples(samples)

    def _folds(self, folds: int, seed: int) -> dict[str, int]:
        """A fold for each group: groups in random order, each to the fold that has least of its
        classes so far. With one sample a group this is the usual stratified k-fold.
        """
        members: dict[str, Counter[str]] = {}
        for sample, group in zip(self.samples, self._groups(), strict=True):
            members.setdefault(group, Counter())[sample.label] += 1
        order = sorted(members)
        np.random.default_rng(seed).shuffle(order)
        order.sort(
            key=lambda group: -members[group].total()
        )  # stable: large groups are placed first
        filled = [Counter[str]() for _ in range(folds)]
        fold_of = {}
        for group in order:
            same_class = [sum(filled[k][label] for label in members[group]) for k in range(folds)]
            fold_of[group] = min(range(folds), key=lambda k: (same_class[k], filled[k].total(), k))
            filled[fold_of[group]] += members[group]
        return fold_of

    def _groups(self) -> list[str]:
        """The group of each sample; without one it is the video, whose spans may overlap."""
        return [s.group or name for s, name in zip(self.samples, self._names(), strict=True)]

    def _names(self) -> list[str]:
        """The videos' paths from where they part, so that moved data keep their folds and hash."""
        paths = [sample.video.resolve() for sample in self.samples]
        top = os.path.commonpath({path.parent for path in paths})
        return [path.relative_to(top).as_posix() for path in paths]

    def data_hash(self) -> str:
        """A SHA-256 over all rows and the videos' sizes: equal hashes mean the same data.

        File contents are not read. Data that are moved, or listed in another way, keep their hash.
        """
        rows = sorted(
            json.dumps([name, s.video.stat().st_size, s.start, s.end, s.label, s.split])
            for s, name in zip(self.samples, self._names(), strict=True)
        )
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the CSV that `read` reads, with the splits as they are and absolute video paths."""
        with whole_file(path) as temporary:
            write_csv(self.samples, temporary)
