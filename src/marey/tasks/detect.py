"""A video of any length in, the events in it out: what happens, from when to when."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import replace
from functools import partial

from marey.outputs.journal import Journal
from marey.runtime import Runtime, compile
from marey.tasks._seen import Progress, Seen, labels_of
from marey.tasks._spent import Spent
from marey.tasks.classify import score
from marey.tasks.events import Rules, find_events, suppress
from marey.tasks.shots import finder, shots
from marey.types import Report
from marey.video.read import Decode, Limits, nothing_decoded, open_video
from marey.video.windows import window_length

SHOTS = "transnetv2"
"""The model that finds shots, where none is named."""

KEPT = 20_000  # windows that a report holds: hours of them, and megabytes of JSON


def detect(
    video: str | os.PathLike[str],
    model: str | Runtime = SHOTS,
    *,
    threshold: float = 0.5,
    thresholds: Mapping[str, float] | None = None,
    leave: float | None = None,
    smooth: float = 0.0,
    gap: float = 0.0,
    shortest: float = 0.0,
    background: Collection[str] | None = None,
    overlap: float = 0.5,
    window: float | None = None,
    step: float | None = None,
    top: int = 3,
    decode: Decode = "all",
    threads: int = 0,
    limits: Limits | None = None,
    progress: Progress | None = None,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> Report:
    """The events in `video`, in order of their starts; without a `model`, its cuts.

    A network that finds shots (`marey.tasks.shots`) looks at every frame: what is set of windows,
    curves and labels is not used then, and the report says so.

    A network for clips scores windows: by default as long as its clip, each half a window after the
    one before; with `smooth`, averaged with those up to so many seconds away. Their middles are the
    corners of a curve a label. An event is a stretch in which it never falls below `leave` (by
    default half the threshold) and somewhere reaches `threshold`, or the label's own in
    `thresholds`. Those of a label no more than `gap` seconds apart are one, and those under
    `shortest` seconds none. Labels of `background` are no events (None: those called so, "other",
    "none" or the like). Where the network's classes exclude each other, of two events that overlap
    by more than `overlap` (tIoU) the surer is kept.

    `decode`, `threads` and `limits` are those of `open_video`; `spent` is told what it took, and
    `journal` keeps what the network says. The report also holds the best `top` labels of each
    window, if there are no more than `KEPT`. Raises `VideoError`, `ModelError` or `WeightsError`.
    """
    if finds_shots(model):
        given = {
            **{"thresholds": thresholds, "leave": leave, "smooth": smooth, "gap": gap},
            **{"shortest": shortest, "background": background, "window": window, "step": step},
            "decode": None if decode == "all" else decode,
        }
        report = shots(
            video,
            model,
            threshold=threshold,
            threads=threads,
            limits=limits,
            progress=progress,
            spent=spent,
            journal=journal,
        )
        unused = [name for name, value in given.items() if value]
        told = (f"shots are found in all frames: {', '.join(unused)} not used",) if unused else ()
        return replace(report, warnings=(*report.warnings, *told))
    runtime = compile(model) if isinstance(model, str) else model
    names = labels_of(runtime)
    rules = Rules.of(
        names,
        threshold=threshold,
        thresholds=thresholds,
        leave=leave,
        gap=gap,
        shortest=shortest,
        background=background,
    )
    seen = Seen(names, top, most=KEPT)
    spent = spent or Spent()
    opened = partial(open_video, video, limits=limits, threads=threads, decode=decode)
    with spent.on("seconds"), opened() as reader:
        spent.frames = reader.counts
        window = window or window_length(runtime.input, reader.video.fps)
        step = step or window / 2
        scored = score(reader, runtime, window=window, step=step, spent=spent, journal=journal)
        with closing(scored):
            passed = seen.passing(scored, reader.video, progress)
            found = find_events(passed, rules, smooth=smooth)
            events = suppress(found, overlap, across=not runtime.multilabel)
        if not seen.count:
            raise nothing_decoded(video)
        return Report(
            video=reader.video,
            model=runtime.card(),
            top=seen.top,
            windows=tuple(seen.windows),
            warnings=(*runtime.warnings, *reader.warnings(), *seen.warnings()),
            events=tuple(events),
        )


def finds_shots(model: str | Runtime) -> bool:
    """Whether a network judges frames, not clips."""
    name = model if isinstance(model, str) else model.card().name
    return name.partition(".")[0] == SHOTS


def made_ready(
    model: str, *, runtime: str = "auto", precision: str = "auto", threads: int | None = None
) -> Runtime:
    """The network for `detect` of many videos, as `compile` makes it."""
    if finds_shots(model):
        return finder(model, runtime=runtime, precision=precision, threads=threads)
    return compile(model, runtime=runtime, precision=precision, threads=threads)
