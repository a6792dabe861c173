"""Where one shot ends and the next begins: a video in, its cuts out."""

from __future__ import annotations

import os
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing, nullcontext
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from marey.errors import ModelError
from marey.outputs.journal import Journal
from marey.runtime import Runtime, compile
from marey.tasks._ahead import ahead
from marey.tasks._seen import Progress
from marey.tasks._spent import Spent
from marey.tasks.classify import sigmoid
from marey.types import Event, Frame, Image, Report
from marey.video.read import Limits, Reader, nothing_decoded, open_video

DEFAULT_MODEL = "transnetv2.clipshots"

_AHEAD = 2  # windows that are decoded while one is looked at


class Judged(NamedTuple):
    """A frame's time, and how sure the network is that it is the last of its shot."""

    time: Fraction
    last: float


def shots(
    video: str | os.PathLike[str],
    model: str | Runtime = DEFAULT_MODEL,
    *,
    threshold: float = 0.5,
    gamma: float = 1.0,
    threads: int = 0,
    limits: Limits | None = None,
    progress: Progress | None = None,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> Report:
    """The cuts of `video`, as events `cut`: each is the first frame of a new shot.

    An event starts at the pts of that frame, ends when the next frame comes, and is scored by the
    network's surest frame before it. A transition that takes longer is one event too, at the first
    frame that is past it. A lower `threshold` finds more; so does, in dark footage, a `gamma` below
    1, to which colours in [0, 1] are raised.

    `model` is a name, or what `finder` gave, which serves many videos. Every frame is decoded once;
    memory is bounded by a few windows. `threads` and `limits` are those of `open_video`; `spent` is
    told what it took, and `journal` keeps what the network says. Raises `VideoError`, `ModelError`
    or `WeightsError`.
    """
    runtime = finder(model) if isinstance(model, str) else model
    spent = spent or Spent()
    with spent.on("seconds"), open_video(video, limits=limits, threads=threads) as reader:
        spent.frames = reader.counts
        with closing(judged(reader, runtime, gamma, progress, spent, journal)) as frames:
            events = tuple(cuts(frames, threshold))
        return Report(
            video=reader.video,
            model=runtime.card(),
            top=(),
            windows=(),
            warnings=(*runtime.warnings, *reader.warnings()),
            events=events,
        )


def finder(
    model: str = DEFAULT_MODEL,
    *,
    runtime: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Runtime:
    """The network that finds shots, ready to run: frames, N T H W 3 → logits of each, N T K."""
    each = {"per_frame": True}
    return compile(model, runtime=runtime, precision=precision, threads=threads, options=each)


def judged(
    reader: Reader,
    runtime: Runtime,
    gamma: float = 1.0,
    progress: Progress | None = None,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> Generator[Judged]:
    """Every frame of the video, once, in windows as the authors' own inference makes them.

    Windows overlap by half, and a frame is judged in the one in whose middle half it lies; the
    first and the last frame are repeated beyond the ends. VideoError where there is no frame.
    """
    prepare, video, spent = runtime.input, reader.video, spent or Spent()
    context, since = prepare.frames // 4, None
    for row in journal.rows() if journal else ():
        times = [Fraction(*time) for time in row.state["times"]]
        reader.go_on(row.state["lost"])
        yield from map(Judged, times, row.p.tolist())
        if len(times) < prepare.frames - 2 * context:
            return  # a short one is the last
        since = float(times[-context])
    brightened = (255 * (np.arange(256) / 255) ** gamma).round().astype(np.uint8)
    size, interpolation = prepare.resize, prepare.interpolation
    frames = reader.frames(since=since, size=size, interpolation=interpolation)
    halves = windows(frames, prepare.frames, begun=since is not None)
    # Closed before the reader can be: a thread decodes from it.
    with journal or nullcontext(), closing(ahead(halves, _AHEAD)) as decoded:
        for times, images in spent.waited(decoded):
            with spent.on("network"):
                logits = runtime(brightened[images[None]])
            spent.clips += 1
            if logits.shape[:2] != (1, len(images)):
                raise ModelError(
                    f"answers for clips, not for frames: it gave {logits.shape}",
                    where=runtime.card().name,
                    do="Give what `finder` gives.",
                )
            p = sigmoid(logits[0, context : context + len(times), 0])
            if journal:
                parts = [time.as_integer_ratio() for time in times]
                journal.add(p, {"times": parts, "lost": reader.lost()})
            yield from map(Judged, times, p.tolist())
            if progress:
                progress(float(times[-1]) - video.start, video.duration)
    if since is None and not spent.clips:
        raise nothing_decoded(video.path)


def windows(
    frames: Iterable[Frame], length: int, *, begun: bool = False
) -> Iterator[tuple[list[Fraction], Image]]:
    """The times of the frames in the middle half, and the images of all `length`, T H W 3.

    Each frame is in one middle only; the last middle is as short as need be. With `begun` the first
    frames lie before the first middle: they have been judged.
    """
    context = length // 4
    held: list[Frame] = []
    for frame in frames:
        held = held or [frame] * (0 if begun else context)
        held.append(frame)
        if len(held) == length:
            yield _window(held, length)
            held = held[length - 2 * context :]
    while len(held) > context:
        yield _window(held, length)
        held = held[length - 2 * context :]


def _window(held: Sequence[Frame], length: int) -> tuple[list[Fraction], Image]:
    middle = held[length // 4 : length - length // 4]
    images = [frame.image for frame in held]
    images += images[-1:] * (length - len(held))
    return [frame.time for frame in middle], np.stack(images)


def cuts(frames: Iterable[Judged], threshold: float) -> Iterator[Event]:
    """An event for each new shot: after frames above the threshold, the first that is not.

    As the authors have it, a video's first frames cannot end a shot. Its last frame is taken to
    last as long as the one before.
    """
    surest, seen = 0.0, False
    cut: Judged | None = None
    before = now = Fraction(0)
    for time, last in frames:
        before, now = now, time
        if cut:
            yield _event(cut, time)
            cut = None
        if last > threshold:
            surest = max(surest, last)
            continue
        if surest and seen:
            cut = Judged(time, surest)
        surest, seen = 0.0, True
    if cut:
        yield _event(cut, now + (now - before))


def _event(cut: Judged, end: Fraction) -> Event:
    return Event("cut", float(cut.time), float(end), cut.last)
