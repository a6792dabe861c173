"""Where the frames of a sample come from: its video, or a cache of frames decoded once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from marey.data.cache import Cache
from marey.data.formats import Sample
from marey.errors import VideoError
from marey.types import Image, Input, Video, Window
from marey.video.clips import clips
from marey.video.read import open_video
from marey.video.windows import Picks, pick


@dataclass(frozen=True, slots=True)
class Source:
    """A sample whose video was opened: `span` is its measured time, `target` its class number.

    `cached` is the file of its frames, `cached_fps` of them a second; None means: decode the video.
    """

    video: Path
    target: int
    span: Window
    fps: Fraction | None
    warnings: tuple[str, ...] = ()
    cached: Path | None = None
    cached_fps: float = 0.0

    @property
    def duration(self) -> float:
        return self.span.end - self.span.start

    def clips(self, plan: Sequence[tuple[Window, Picks]], prepare: Input) -> list[Image]:
        """The frames of each pick, T H W 3 uint8, scaled to `prepare.resize` and not yet cut.

        Windows come with start times that do not decrease. VideoError if one holds no frame.
        """
        if self.cached is not None:
            frames = np.load(self.cached, mmap_mode="r")
            return [frames[self._positions(picks, len(frames))] for _, picks in plan]
        with open_video(self.video, threads=1) as reader:
            read = clips(reader, plan, size=prepare.resize, interpolation=prepare.interpolation)
            found = [clip.frames for clip in read]
        if len(found) < len(plan):
            raise VideoError(
                f"no frame can be decoded in {len(plan) - len(found)} of {len(plan)} windows",
                where=self.video,
                do="Run `marey check` on it to see why, or remove its row.",
            )
        return found

    def _positions(self, picks: Picks, count: int) -> list[int]:
        places = (math.floor((time - self.span.start) * self.cached_fps) for time in picks.times)
        return [min(max(place, 0), count - 1) for place in places]


def open_source(sample: Sample, target: int, prepare: Input, cache: Cache | None = None) -> Source:
    """Find out when a sample really begins and ends, and with a cache, decode it into that.

    VideoError if the video cannot be read, or if the span lies outside of it.
    """
    entry = cache.find(sample, prepare) if cache else None
    if entry is None:
        with open_video(sample.video, threads=1) as reader:
            span = _span(sample, reader.video)
            pick(span, prepare, reader.video.fps)  # refuses now what it would refuse later
            if cache is None:
                notes = tuple(reader.warnings())
                return Source(sample.video, target, span, reader.video.fps, notes)
            entry = cache.store(sample, reader, span, prepare)
    return Source(
        sample.video, target, entry.span, entry.fps, entry.warnings, entry.frames, entry.frame_rate
    )


def _span(sample: Sample, video: Video) -> Window:
    """The labelled span, as far as the video goes."""
    last = math.inf if video.end is None else video.end
    start = max(video.start, -math.inf if sample.start is None else sample.start)
    end = min(last, math.inf if sample.end is None else sample.end)
    if start >= end:
        raise VideoError(
            f"the labelled span begins at {start:g} s, the video ends at {end:g} s",
            where=sample.video,
            do="Times are seconds on the video's own clock; `marey check` shows it.",
        )
    return Window(start, end)
