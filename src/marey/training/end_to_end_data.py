"""What a network must look at for a stretch of features: frames, and what a feature is made of."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice, takewhile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from marey.errors import VideoError
from marey.tasks._windows import Rows, average, layout
from marey.types import Clip, Image, Input, Scores, Window
from marey.video.clips import clips
from marey.video.read import open_video
from marey.video.windows import pick


@dataclass(frozen=True, slots=True)
class Asked:
    """How features are asked for: a network's `input`, `window` and `stride` in seconds.

    `by_frame`: what the network makes of a clip is the mean over what it makes of its frames.
    """

    input: Input
    window: float | None
    stride: float
    by_frame: bool


class Seen(NamedTuple):
    """Clips to look at, uint8 M T H W 3 before the crop, and `weights` L M: feature l is the sum of
    what the network makes of each clip, times its weight.
    """

    clips: Tensor
    weights: Tensor


def look(video: Path, start: int, length: int, asked: Asked) -> Seen:
    """What features `start` to `start + length` of a video are made of, as `features` makes them.

    VideoError where the video no longer gives what it gave when they were made.
    """
    prepare = asked.input
    with open_video(video, threads=1) as reader:
        plan = layout(reader.video, prepare, asked.window, asked.stride)
        spans = list(islice(plan.windows, start, start + length))
        looked_at = _within(spans, plan.clips) if plan.longer else spans
        moments = [(span, pick(span, prepare, reader.video.fps)) for span in looked_at]
        how = {"size": prepare.resize, "interpolation": prepare.interpolation}
        found = list(clips(reader, moments, **how))  # type: ignore[arg-type]
    weights = _means(spans, looked_at) if plan.longer else np.eye(len(spans), dtype=np.float32)
    if weights.shape != (length, len(found)):
        raise VideoError(
            f"gives {len(found)} clips for features {start} to {start + length}, not as before",
            where=video,
            do="Run `marey check` on it; it may have changed while this ran.",
        )
    if not asked.by_frame:
        return Seen(
            torch.from_numpy(np.stack([c.frames for c in found])), torch.from_numpy(weights)
        )
    frames, shares = _frames(found)
    return Seen(torch.from_numpy(frames[:, None]), torch.from_numpy(weights @ shares))


def _within(spans: list[Window], every: Iterator[Window]) -> list[Window]:
    """Those clips whose middles the windows hold."""
    until = takewhile(lambda clip: clip.middle < spans[-1].end, every)
    return [clip for clip in until if clip.middle >= spans[0].start]


def _means(spans: list[Window], looked_at: list[Window]) -> Rows:
    """What each window is of the clips: `average`, of one clip at a time."""
    ones = np.eye(len(looked_at), dtype=np.float32)
    rows = average(spans, (Scores(clip, row) for clip, row in zip(looked_at, ones, strict=True)))
    return np.stack([row.p for row in rows])


def _frames(found: list[Clip]) -> tuple[Image, Rows]:
    """The different frames in clips, M H W 3, and what each clip is of them."""
    numbers: dict[Fraction, int] = {}
    images: list[Image] = []
    for clip in found:
        for time, image in zip(clip.times, clip.frames, strict=True):
            if time not in numbers:
                numbers[time] = len(images)
                images.append(image)
    shares = np.zeros((len(found), len(images)), np.float32)
    for row, clip in zip(shares, found, strict=True):
        for time in clip.times:
            row[numbers[time]] += 1 / len(clip.times)
    return np.stack(images), shares
