"""A video in, labels on a time line out."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import closing, nullcontext
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from marey.outputs.journal import Journal
from marey.runtime import Runtime, compile
from marey.tasks._ahead import ahead
from marey.tasks._look import look_by
from marey.tasks._seen import Progress, Seen, labels_of
from marey.tasks._spent import Spent
from marey.types import Report, Scores, Window
from marey.video.clips import clips
from marey.video.read import Decode, Limits, Reader, nothing_decoded, open_video
from marey.video.windows import pick, window_length, windows

DEFAULT_MODEL = "efficientnet_lite0.in1k"

_AHEAD = 2  # clips that are decoded while one is looked at


def classify(
    video: str | os.PathLike[str],
    model: str | Runtime = DEFAULT_MODEL,
    *,
    window: float | None = None,
    step: float | None = None,
    top: int = 5,
    decode: Decode = "all",
    threads: int = 0,
    limits: Limits | None = None,
    progress: Progress | None = None,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> Report:
    """The best `top` labels of every window of `video`, and of the whole of it.

    `window` and `step` are seconds; a window is by default as long as the network's clip, a step as
    long as the window. `model` is a name, a checkpoint folder, or what `marey.compile` gave.
    `decode`, `threads` and `limits` are those of `open_video`; `spent` is told what it took, and
    `journal` keeps what the network says. Many videos go through `classify_all`. Raises
    `VideoError`, `ModelError` or `WeightsError`.
    """
    runtime = compile(model) if isinstance(model, str) else model
    spent = spent or Spent()
    opened = partial(open_video, video, limits=limits, threads=threads, decode=decode)
    with spent.on("seconds"), opened() as reader:
        spent.frames = reader.counts
        seen = Seen(labels_of(runtime), top)
        scored = score(reader, runtime, window=window, step=step, spent=spent, journal=journal)
        with closing(scored):
            for _ in seen.passing(scored, reader.video, progress):
                pass
        if not seen.count:
            raise nothing_decoded(video)
        return Report(
            video=reader.video,
            model=runtime.card(),
            top=seen.top,
            windows=tuple(seen.windows),
            warnings=(*runtime.warnings, *reader.warnings()),
        )


def score(
    reader: Reader,
    runtime: Runtime,
    *,
    window: float | None = None,
    step: float | None = None,
    batch: int = 1,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> Generator[Scores]:
    """The class probabilities of one window after another.

    The next clips are decoded while the network looks at the present ones; memory is bounded by
    two clips more than are looked at. A `batch` of more than one takes memory and, on a CPU, gains
    nothing (`docs/speed.md`). Where windows overlap and the network judges each frame by itself, a
    frame is looked at once. With a `journal`, what it holds is not computed again.

    A window no longer than the network's clip is that clip. A longer one averages the clips whose
    middle it holds; they follow each other without gaps, and each is scored once however much the
    windows overlap.
    """
    video, prepare = reader.video, runtime.input
    natural = window_length(prepare, video.fps)
    window = window or natural
    step = step or window
    duration = math.inf if video.duration is None else video.duration
    spans = windows(duration, window, step, start=video.start)
    longer = window > natural
    length, stride = (natural, step / math.ceil(step / natural)) if longer else (window, step)
    # Closed before the reader can be: a thread decodes from it.
    moments = _score(reader, runtime, duration, length, stride, batch, spent or Spent(), journal)
    with closing(moments):
        yield from average(spans, moments) if longer else moments


def _score(
    reader: Reader,
    runtime: Runtime,
    duration: float,
    length: float,
    step: float,
    batch: int,
    spent: Spent,
    journal: Journal | None,
) -> Generator[Scores]:
    video, prepare = reader.video, runtime.input
    spans = windows(duration, length, step, start=video.start)
    if journal:
        yield from _from_earlier(journal, spans, reader)
    plan = ((span, pick(span, prepare, video.fps)) for span in spans)
    stream = clips(reader, plan, size=prepare.resize, interpolation=prepare.interpolation)
    look = look_by(runtime, overlapping=step < length)
    p_of = sigmoid if runtime.multilabel else softmax
    with journal or nullcontext(), closing(ahead(stream, max(batch, _AHEAD))) as decoded:
        groups = iter(lambda: list(islice(decoded, batch)), [])
        for group in spent.waited(groups):
            with spent.on("network"):
                logits = look(group)
            spent.clips += len(group)
            for clip, p in zip(group, p_of(logits), strict=True):
                if journal:
                    journal.add(p, reader.lost())
                yield Scores(clip.window, p)


def _from_earlier(journal: Journal, spans: Iterator[Window], reader: Reader) -> Iterator[Scores]:
    """What an earlier run has seen; its windows are taken from `spans`."""
    for row, span in zip(
        journal.rows(), spans, strict=False
    ):  # in this order, none of `spans` goes
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


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """N K logits to N K probabilities."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """N K logits to N K probabilities, each class by itself."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)  # which never overflows
