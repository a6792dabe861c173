"""A video of any length in, the events in it out: what happens, from when to when."""

from __future__ import annotations

import math
import os
from collections.abc import Collection, Mapping
from contextlib import closing
from dataclasses import replace
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any

from marey.errors import ModelError
from marey.outputs.journal import Journal
from marey.runtime import FILES, Ready, Runtime, compile
from marey.runtime.shared import SharedRuntime
from marey.runtime.temporal import TemporalRuntime, is_head
from marey.tasks._seen import Progress, Seen, labels_of
from marey.tasks._spent import Spent
from marey.tasks._stretches import step_of
from marey.tasks.classify import score
from marey.tasks.events import Rules, find_events, levels, suppress
from marey.tasks.features import features
from marey.tasks.shots import finder, shots
from marey.types import Report, Window
from marey.video.read import Decode, Limits, nothing_decoded, open_video
from marey.video.windows import window_length

SHOTS = "transnetv2"
"""The model that finds shots, where none is named."""

_NO_SHARING = "Leave out `shared`."
KEPT = 20_000  # windows that a report holds: hours of them, and megabytes of JSON


def detect(
    video: str | os.PathLike[str],
    model: str | os.PathLike[str] | Runtime | TemporalRuntime = SHOTS,
    *,
    threshold: float | None = None,
    thresholds: Mapping[str, float] | None = None,
    leave: float | None = None,
    smooth: float = 0.0,
    gap: float = 0.0,
    shortest: float = 0.0,
    background: Collection[str] | None = None,
    overlap: float = 0.5,
    window: float | None = None,
    step: float | None = None,
    gamma: float = 1.0,
    top: int = 3,
    shared: bool | None = None,
    decode: Decode = "all",
    threads: int = 0,
    limits: Limits | None = None,
    progress: Progress | None = None,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> Report:
    """The events in `video`, in order of their starts; without a `model`, its cuts.

    A network that finds shots (`marey.tasks.shots`) looks at every frame, in dark footage better
    with a `gamma` below 1: what is set of windows, curves and labels is not used then, and the
    report says so.

    A folder that `marey train --task detect` wrote finds events in features, with a threshold of
    its own for each label, which `threshold` and `thresholds` override; `background` and `shortest`
    count, and what is set of windows and curves does not, as the report says.

    A network for clips scores windows: by default as long as its clip, each half a window after the
    one before; with `smooth`, averaged with those up to so many seconds away. Their middles are the
    corners of a curve a label. An event is a stretch in which it never falls below `leave` (by
    default half the threshold) and somewhere reaches `threshold` (0.5), or the label's own in
    `thresholds`. Those of a label no more than `gap` seconds apart are one, and those under
    `shortest` seconds none. Labels of `background` are no events (None: those called so, "other",
    "none" or the like). Where the network's classes exclude each other, of two events that overlap
    by more than `overlap` (tIoU) the surer is kept.

    With `shared`, windows that overlap share the frames they have in common (`SharedRuntime`): they
    then follow each other in whole frames of the clip, and the scores of a network that mixes time
    are near those of windows by themselves, and not the same. None shares where they are the same
    up to which of two neighbouring frames is taken: in networks whose body looks at frames alone.

    `decode`, `threads` and `limits` are those of `open_video`; `spent` is told what it took, and
    `journal` keeps what the network says. The report also holds the best `top` labels of each
    window, if there are no more than `KEPT`. Raises `VideoError`, `ModelError` or `WeightsError`.
    """
    if isinstance(model, os.PathLike):
        model = os.fspath(model)
    if isinstance(model, str) and not finds_shots(model):
        model = made_ready(model, shared=shared)
    elif shared and not isinstance(model, SharedRuntime):
        raise ModelError("its windows do not share frames", do="Give the network's name.")
    reading: dict[str, Any] = {"threads": threads, "limits": limits}
    reading |= {"progress": progress, "spent": spent, "journal": journal}
    curves = {"leave": leave, "smooth": smooth, "gap": gap, "window": window, "step": step}
    dark = {"gamma": gamma if gamma != 1 else None}
    level = 0.5 if threshold is None else threshold
    if isinstance(model, TemporalRuntime):
        least = _least(model, threshold, thresholds, background)
        report = _by_head(video, model, least, shortest, decode=decode, **reading)
        return _told(report, "a trained head finds events in features", curves | dark)
    if isinstance(model, str) or finds_shots(model):
        report = shots(video, model, threshold=level, gamma=gamma, **reading)
        others = {
            **{"thresholds": thresholds, "shortest": shortest, "background": background},
            **curves,
            "decode": None if decode == "all" else decode,
        }
        return _told(report, "shots are found in all frames", others)
    rules = Rules.of(
        labels_of(model),
        threshold=level,
        thresholds=thresholds,
        leave=leave,
        gap=gap,
        shortest=shortest,
        background=background,
    )
    reading |= {"decode": decode, "window": window, "step": step}
    report = _by_windows(video, model, rules, smooth=smooth, overlap=overlap, top=top, **reading)
    return _told(report, "a network for clips has a gamma of its own", dark)


def _by_windows(
    video: str | os.PathLike[str],
    runtime: Runtime,
    rules: Rules,
    *,
    smooth: float,
    overlap: float,
    window: float | None,
    step: float | None,
    top: int,
    decode: Decode,
    threads: int,
    limits: Limits | None,
    progress: Progress | None,
    spent: Spent | None,
    journal: Journal | None,
) -> Report:
    """The events that the curves of window scores make by these rules."""
    seen = Seen(rules.labels, top, most=KEPT)
    spent = spent or Spent()
    opened = partial(open_video, video, limits=limits, threads=threads, decode=decode)
    with spent.on("seconds"), opened() as reader:
        spent.frames = reader.counts
        window = window or window_length(runtime.input, reader.video.fps)
        told = _told_step(runtime, reader.video.fps, step)
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
            warnings=(*runtime.warnings, *reader.warnings(), *seen.warnings(), *told),
            events=tuple(events),
        )


def _told_step(runtime: Runtime, fps: Fraction | None, step: float | None) -> tuple[str, ...]:
    """A word on windows that follow each other faster than was asked for."""
    if not isinstance(runtime, SharedRuntime) or step is None:
        return ()
    real = step_of(runtime.input, fps, step)[1]
    if math.isclose(real, step, rel_tol=0.001):
        return ()
    return (f"windows share frames: one every {real:.3f} s, not every {step:g}",)


def _told(report: Report, how: str, given: Mapping[str, object]) -> Report:
    """The report, with a word on settings that were given and mean nothing there."""
    unused = ", ".join(name for name, value in given.items() if value)
    told = (f"{how}: {unused} not used",) if unused else ()
    return replace(report, warnings=(*report.warnings, *told))


def _least(
    head: TemporalRuntime,
    threshold: float | None,
    thresholds: Mapping[str, float] | None,
    background: Collection[str] | None,
) -> dict[str, float]:
    """The score that an event of each label must reach: the head's own, where none is given."""
    own = head.thresholds if threshold is None else {}
    wanted = {**own, **(thresholds or {})}
    level = 0.5 if threshold is None else threshold
    least = levels(head.labels, level, wanted, background)
    return dict(zip(head.labels, least.tolist(), strict=True))


def _by_head(
    video: str | os.PathLike[str],
    head: TemporalRuntime,
    least: Mapping[str, float],
    shortest: float,
    **reading: Any,
) -> Report:
    """The events that a trained head finds in the features of its own network."""
    found = features(video, head.network, window=head.window, stride=head.stride, **reading)
    span = Window(found.video.start, math.inf if found.video.end is None else found.video.end)
    events = [
        event
        for event in head.candidates(found, span)
        if event.score >= least[event.label] and event.end - event.start >= shortest
    ]
    return Report(
        video=found.video,
        model=head.card(),
        top=(),
        windows=(),
        warnings=found.warnings,
        events=tuple(sorted(events, key=lambda event: (event.start, event.end, event.label))),
    )


def finds_shots(model: str | Ready) -> bool:
    """Whether a network judges frames, not clips."""
    name = model if isinstance(model, str) else model.card().name
    return name.partition(".")[0] == SHOTS


def made_ready(
    model: str | os.PathLike[str],
    *,
    runtime: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    shared: bool | None = None,
) -> Runtime | TemporalRuntime:
    """The network for `detect` of many videos, as `compile` makes it, or a temporal head on one.

    `shared` is that of `detect`; ModelError where windows cannot share, and it is asked for.
    """
    name = os.fspath(model)
    how: dict[str, Any] = {"runtime": runtime, "precision": precision, "threads": threads}
    if is_head(name) or finds_shots(name):
        if shared:
            raise ModelError("windows share frames; this has none", where=name, do=_NO_SHARING)
        return TemporalRuntime(name, **how) if is_head(name) else finder(name, **how)
    if shared is False or (Path(name).suffix in FILES and not shared):
        return compile(name, **how)
    made = SharedRuntime(name, **how)
    if not (shared or made.same):
        return made.alone
    made.stretch(max(1, made.input.frames // 2))  # what it cannot do is told now
    return made
