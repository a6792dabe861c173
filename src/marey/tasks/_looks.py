"""Where a detector looks: every k-th frame of a video, several at a time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from marey.boxes import Detections, visible
from marey.data.box_files import BoxFile
from marey.runtime.detector import Detector
from marey.tasks._filled import Look
from marey.tasks._spent import Spent
from marey.types import Frame, Video
from marey.video.numbers import Numbers

Lose = Callable[[str, int], None]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which detections count: of some `labels` (None: all), at least as sure as `threshold`.

    Those that lie outside of the picture, or have no area, are told to `lose`.
    """

    threshold: float
    labels: Collection[str] | None
    lose: Lose

    def of(self, found: Detections, frame: Frame) -> Detections:
        keep = found.scores >= self.threshold
        if self.labels is not None:
            keep &= np.array([label in self.labels for label in found.labels], np.bool_)
        height, width = frame.image.shape[:2]
        there = visible(found.boxes, width, height)
        if lost := int((keep & ~there).sum()):
            self.lose("boxes outside of the picture or without an area, left out", lost)
        return found.only(keep & there)


def seen(
    frames: Iterable[Frame],
    detector: Detector,
    wanted: Wanted,
    *,
    every: int,
    batch: int,
    spent: Spent,
) -> Iterator[Look]:
    """Every frame, with what a network sees in each `every`-th and in the last, `batch` at a time.

    So they come up to `every` times `batch` frames late.
    """
    chunk: list[Frame] = []
    for frame, last in _with_last(spent.waited(frames)):
        chunk.append(frame)
        if last or len(chunk) == every * batch:
            places = sorted({*range(0, len(chunk), every), *([len(chunk) - 1] if last else [])})
            with spent.on("network"):
                found = detector(_images([chunk[place] for place in places]))
            spent.clips += len(places)
            at = dict(zip(places, found, strict=True))
            for place, each in enumerate(chunk):
                yield Look(each, wanted.of(at[place], each) if place in at else None)
            chunk = []


def given(
    frames: Iterable[Frame], file: BoxFile, video: Video, wanted: Wanted, *, every: int
) -> Iterator[Look]:
    """Every frame, with what a file says of each `every`-th and of the last.

    What it says of frames that there are not is told at the end.
    """
    numbers, before, met = Numbers(video), float("-inf"), 0
    for place, (frame, last) in enumerate(_with_last(frames)):
        time = float(frame.time)
        found = file.at(numbers.next(time), before, time)
        before, met = time, met + len(found)
        yield Look(frame, wanted.of(found, frame) if last or place % every == 0 else None)
    if unmet := len(file) - met:
        wanted.lose("boxes of the file that belong to no frame", unmet)


def _images(frames: Sequence[Frame]) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    if len(frames) == 1:
        return frames[0].image[None]
    return np.stack([frame.image for frame in frames])


def _with_last(frames: Iterable[Frame]) -> Iterator[tuple[Frame, bool]]:
    """Each frame, and whether it is the last one."""
    held: Frame | None = None
    for frame in frames:
        if held is not None:
            yield held, False
        held = frame
    if held is not None:
        yield held, True
