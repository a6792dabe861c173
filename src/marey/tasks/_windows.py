"""The windows of a video through a network, one after another: its scores, or its features."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing, nullcontext
from itertools import islice
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from marey.outputs.journal import Journal
from marey.runtime import Runtime
from marey.runtime.shared import SharedRuntime
from marey.tasks._ahead import ahead
from marey.tasks._look import look_by
from marey.tasks._spent import Spent
from marey.tasks._stretches import by_stretch, step_of
from marey.types import Input, Scores, Video, Window
from marey.video.clips import clips
from marey.video.read import Reader
from marey.video.windows import pick, window_length, windows

Rows = NDArray[np.float32]

_AHEAD = 2  # clips that are decoded while one is looked at


def by_window(
    reader: Reader,
    runtime: Runtime,
    read: Callable[[Rows], Rows],
    *,
    window: float | None = None,
    step: float | None = None,
    batch: int = 1,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> Generator[Scores]:
    """What the network says of one window after another, as `read` takes it: N K → N K.

    The next clips are decoded while the network looks at the present ones; memory is bounded by
    two clips more than are looked at. A `batch` of more than one takes memory and, on a CPU, gains
    nothing (`docs/speed.md`). Where windows overlap and the network judges each frame by itself, a
    frame is looked at once; so it is by others with a `SharedRuntime`, and windows then follow each
    other in whole frames of the clip. With a `journal`, what it holds is not computed again.

    A window no longer than the network's clip is that clip. A longer one averages the clips whose
    middle it holds; they follow each other without gaps, and each is looked at once however much
    the windows overlap.
    """
    plan = layout(reader.video, runtime.input, window, step)
    # Closed before the reader can be: a thread decodes from it.
    spent = spent or Spent()
    with closing(
        _by_stretch(reader, runtime, read, plan.step, spent, journal)
        or _by_clip(reader, runtime, read, plan, batch, spent, journal)
    ) as moments:
        yield from average(plan.windows, moments) if plan.longer else moments


class Layout(NamedTuple):
    """The `windows` of a video, and the `clips` that are looked at for them, `step` seconds apart.

    They are the same, unless a window is `longer` than the network's clip.
    """

    windows: Iterator[Window]
    clips: Iterator[Window]
    longer: bool
    step: float
    overlapping: bool


def layout(video: Video, prepare: Input, window: float | None, step: float | None) -> Layout:
    """Where `by_window` looks: windows of so many seconds, so many apart."""
    natural = window_length(prepare, video.fps)
    window = window or natural
    step = step or window
    duration = math.inf if video.duration is None else video.duration
    spans = windows(duration, window, step, start=video.start)
    longer = window > natural
    length, stride = (natural, step / math.ceil(step / natural)) if longer else (window, step)
    looked_at = windows(duration, length, stride, start=video.start)
    return Layout(spans, looked_at, longer, stride, overlapping=stride < length)


def _by_stretch(
    reader: Reader,
    runtime: Runtime,
    read: Callable[[Rows], Rows],
    step: float,
    spent: Spent,
    journal: Journal | None,
) -> Generator[Scores] | None:
    """None where windows share no frames, or do so frame by frame."""
    if not isinstance(runtime, SharedRuntime) or runtime.card().by_frame:
        return None
    hop, _ = step_of(runtime.input, reader.video.fps, step)
    if hop >= runtime.input.frames:
        return None
    return by_stretch(reader, runtime, read, hop=hop, spent=spent, journal=journal)


def _by_clip(
    reader: Reader,
    runtime: Runtime,
    read: Callable[[Rows], Rows],
    layout: Layout,
    batch: int,
    spent: Spent,
    journal: Journal | None,
) -> Generator[Scores]:
    video, prepare, spans = reader.video, runtime.input, layout.clips
    if journal:
        yield from _from_earlier(journal, spans, reader)
    plan = ((span, pick(span, prepare, video.fps)) for span in spans)
    stream = clips(reader, plan, size=prepare.resize, interpolation=prepare.interpolation)
    look = look_by(runtime, overlapping=layout.overlapping)
    with journal or nullcontext(), closing(ahead(stream, max(batch, _AHEAD))) as decoded:
        groups = iter(lambda: list(islice(decoded, batch)), [])
        for group in spent.waited(groups):
            with spent.on("network"):
                said = look(group)
            spent.clips += len(group)
            for clip, row in zip(group, read(said), strict=True):
                if journal:
                    journal.add(row, reader.lost())
                yield Scores(clip.window, row)


def _from_earlier(journal: Journal, spans: Iterator[Window], reader: Reader) -> Iterator[Scores]:
    """What an earlier run was told; its windows are taken from `spans`."""
    rows = journal.rows()
    for row, span in zip(rows, spans, strict=False):  # rows first: no span is taken without one
        reader.go_on(row.state)
        yield Scores(span, row.p)


def average(spans: Iterable[Window], moments: Iterable[Scores]) -> Iterator[Scores]:
    """For each span the mean of the scores whose window has its middle in it; none, no span.

    Both run forward in time; only the scores that a later span may want are held.
    """
    source = iter(moments)
    held: deque[Scores] = deque()
    for span in spans:
        while not held or held[-1].window.middle < span.end:
            moment = next(source, None)
            if moment is None:
                break
            held.append(moment)
        while held and held[0].window.middle < span.start:
            held.popleft()
        inside = [moment.p for moment in held if moment.window.middle < span.end]
        if inside:
            yield Scores(span, np.mean(inside, axis=0, dtype=np.float32))
        elif not held:
            return
