"""Windows that share their frames: a whole stretch of video goes through the network at once."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, nullcontext
from fractions import Fraction
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from marey.outputs.journal import Journal
from marey.runtime.shared import SharedRuntime, Stretch
from marey.tasks._ahead import ahead
from marey.tasks._spent import Spent
from marey.types import Input, Scores, Window
from marey.video.clips import clips
from marey.video.prepare import centre_crop
from marey.video.read import Reader
from marey.video.windows import Picks, grid, window_length, windows

Rows = NDArray[np.float32]
Plan = Iterator[tuple[Window, deque[Window]]]
"""Stretches, each with the windows to be told of it."""

_NEAR = 0.05  # of a step: as near as this is the same place


def step_of(input: Input, fps: Fraction | None, step: float) -> tuple[int, float]:
    """The most frames of a clip that last no longer than `step` seconds, and how long they last."""
    _, apart = grid(input, fps)
    hop = max(1, int(step / apart + _NEAR))
    return hop, hop * apart


def by_stretch(
    reader: Reader,
    runtime: SharedRuntime,
    read: Callable[[Rows], Rows],
    *,
    hop: int,
    spent: Spent,
    journal: Journal | None,
) -> Generator[Scores] | None:
    """What the network says of windows as long as its clip, one every `hop` frames.

    The last stretch, and so the last window, ends with the video. None for a video that is shorter
    than a stretch, or of unknown length. Memory is bounded by two stretches more than is looked at.
    """
    video, stretch = reader.video, runtime.stretch(hop)
    first, apart = grid(runtime.input, video.fps)
    step = hop * apart
    length = window_length(runtime.input, video.fps)
    whole = length + (stretch.clips - 1) * step
    if video.duration is None or video.duration < whole:
        return None
    spans = windows(video.duration, whole, stretch.clips * step, start=video.start)
    times = [first + k * apart for k in range(stretch.frames)]
    plan = _planned(spans, stretch.clips, step, length)
    return _looked(reader, stretch, read, plan, times, step, spent, journal)


def _planned(spans: Iterator[Window], clips: int, step: float, length: float) -> Plan:
    """Each stretch and those of its windows that no earlier one has."""
    last = -np.inf
    for span in spans:
        starts = [span.start + k * step for k in range(clips)]
        new = [start for start in starts if start > last + _NEAR * step]
        yield span, deque(Window(start, start + length) for start in new)
        last = starts[-1]


def _looked(
    reader: Reader,
    stretch: Stretch,
    read: Callable[[Rows], Rows],
    plan: Plan,
    times: list[float],
    step: float,
    spent: Spent,
    journal: Journal | None,
) -> Generator[Scores]:
    if journal:
        plan = yield from _from_earlier(journal, plan, reader)
    wanted: dict[Window, deque[Window]] = {}

    def picked() -> Iterator[tuple[Window, Picks]]:
        for span, inside in plan:
            wanted[span] = inside
            yield span, Picks(tuple(span.start + time for time in times))

    input = stretch.runtime.input
    stream = clips(reader, picked(), size=input.resize, interpolation=input.interpolation)
    with journal or nullcontext(), closing(ahead(stream, 1)) as decoded:
        for clip in spent.waited(decoded):
            with spent.on("network"):
                said = read(stretch.runtime(centre_crop(clip.frames, input.size)[None]))
            for window in wanted.pop(clip.window):
                row = said[round((window.start - clip.window.start) / step)]
                spent.clips += 1
                if journal:
                    journal.add(row, reader.lost())
                yield Scores(window, row)


def _from_earlier(journal: Journal, plan: Plan, reader: Reader) -> Generator[Scores, None, Plan]:
    """What an earlier run was told; gives back the plan of what it was not."""
    span, inside = Window(0, 0), deque[Window]()
    for row in journal.rows():
        while not inside:
            span, inside = next(plan)
        reader.go_on(row.state)
        yield Scores(inside.popleft(), row.p)
    return chain([(span, inside)] if inside else [], plan)
