"""Many videos, some of them at once, so that the cores stay busy between one and the next."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from threading import Event
from typing import Any, Generic, TypeVar

from marey.data.box_files import BoxFile
from marey.errors import MareyError, ModelError
from marey.outputs.journal import Journal
from marey.outputs.text import read_reports
from marey.runtime import Runtime, compile
from marey.runtime.detector import Detector
from marey.runtime.roi import compile_actions
from marey.runtime.temporal import TemporalRuntime
from marey.tasks._actor_looks import JudgesBoxes
from marey.tasks._seen import Progress
from marey.tasks._spent import Spent
from marey.tasks.analyze import Analyst, analyze
from marey.tasks.classify import DEFAULT_MODEL, classify
from marey.tasks.detect import SHOTS, detect, made_ready
from marey.tasks.features import features, seer
from marey.tasks.shots import finder
from marey.tasks.track import DEFAULT_DETECTOR, track
from marey.tasks.track import made_ready as made_tracking
from marey.types import Report, VideoFeatures

T = TypeVar("T")
R = TypeVar("R")
F = TypeVar("F", Report, VideoFeatures)

AT_ONCE = 2  # while one waits for the network, the other is opened, decoded and finished


@dataclass(frozen=True, slots=True)
class Done(Generic[F]):
    """What was found in one of many videos, or the error that it gave, and what it took."""

    video: str
    found: F | MareyError
    spent: Spent


def classify_all(
    videos: Iterable[str | os.PathLike[str]],
    model: str | Runtime = DEFAULT_MODEL,
    *,
    at_once: int = AT_ONCE,
    progress: Callable[[str], Progress] | None = None,
    journal: Callable[[str], Journal | None] | None = None,
    **how: Any,
) -> Generator[Done[Report]]:
    """What `classify` finds in each of `videos`; `how` is what else it takes, `each_of` the rest.

    ModelError and WeightsError are raised here.
    """
    runtime = compile(model) if isinstance(model, str) else model
    do = partial(classify, model=runtime, **how)
    yield from each_of(videos, do, at_once=at_once, progress=progress, journal=journal)


def detect_all(
    videos: Iterable[str | os.PathLike[str]],
    model: str | os.PathLike[str] | Runtime | TemporalRuntime = SHOTS,
    *,
    at_once: int = AT_ONCE,
    progress: Callable[[str], Progress] | None = None,
    journal: Callable[[str], Journal | None] | None = None,
    **how: Any,
) -> Generator[Done[Report]]:
    """What `detect` finds in each of `videos`; `how` is what else it takes, `each_of` the rest.

    ModelError and WeightsError are raised here.
    """
    runtime = made_ready(model) if isinstance(model, str | os.PathLike) else model
    do = partial(detect, model=runtime, **how)
    yield from each_of(videos, do, at_once=at_once, progress=progress, journal=journal)


def features_all(
    videos: Iterable[str | os.PathLike[str]],
    model: str | os.PathLike[str] | Runtime = DEFAULT_MODEL,
    *,
    at_once: int = AT_ONCE,
    progress: Callable[[str], Progress] | None = None,
    journal: Callable[[str], Journal | None] | None = None,
    **how: Any,
) -> Generator[Done[VideoFeatures]]:
    """What `features` gives for each of `videos`; `how` is what else it takes, `each_of` the rest.

    ModelError and WeightsError are raised here.
    """
    do = partial(features, model=seer(model), **how)
    yield from each_of(videos, do, at_once=at_once, progress=progress, journal=journal)


def track_all(
    videos: Iterable[str | os.PathLike[str]],
    detector: str | os.PathLike[str] | Detector | BoxFile = DEFAULT_DETECTOR,
    *,
    cuts: Mapping[str, Sequence[float]] | None = None,
    shots: str | Runtime | None = None,
    actions: str | os.PathLike[str] | Runtime | JudgesBoxes | None = None,
    at_once: int = AT_ONCE,
    progress: Callable[[str], Progress] | None = None,
    journal: Callable[[str], Journal | None] | None = None,
    **how: Any,
) -> Generator[Done[Report]]:
    """What `track` finds in each of `videos`; `how` is what else it takes, `each_of` the rest.

    `cuts` are by the video's path. ModelError, WeightsError and DataError are raised here.
    """
    ready = made_tracking(detector) if isinstance(detector, str | os.PathLike) else detector
    if isinstance(actions, str | os.PathLike):
        actions = compile_actions(actions)
    if isinstance(shots, str):
        shots = finder(shots)

    def do(video: str | os.PathLike[str], **each: Any) -> Report:
        known = (cuts or {}).get(os.fspath(video), ())
        return track(video, ready, cuts=known, shots=shots, actions=actions, **each, **how)

    yield from each_of(videos, do, at_once=at_once, progress=progress, journal=journal)


def analyze_all(
    videos: Iterable[str | os.PathLike[str]],
    analyst: Analyst,
    *,
    threads: int = 0,
    progress: Callable[[str], Progress] | None = None,
    journal: Callable[[str], Journal | None] | None = None,
    **how: Any,
) -> Generator[Done[Report]]:
    """What `analyze` finds in each of `videos`, one at a time: its parts fill the gaps already.

    `how` is what else it takes, `each_of` the rest.
    """
    do = partial(analyze, model=analyst, threads=threads, **how)
    yield from each_of(videos, do, at_once=1, progress=progress, journal=journal)


def cuts_of(path: Path) -> dict[str, list[float]]:
    """Where new shots begin, by the video's path, as a report of `detect` says; see `track_all`."""
    return {
        report.video.path: [event.start for event in report.events if event.label == "cut"]
        for report in read_reports(path)
    }


def each_of(
    videos: Iterable[str | os.PathLike[str]],
    do: Callable[..., F],
    *,
    at_once: int = AT_ONCE,
    progress: Callable[[str], Progress] | None = None,
    journal: Callable[[str], Journal | None] | None = None,
) -> Generator[Done[F]]:
    """What `do(video, progress=…, spent=…)` finds in each, in their order, `at_once` at a time.

    One that cannot be read gives its error, and the others go on; a ModelError is raised, as it
    would be that of all. They share the network; memory is bounded by the clips of `at_once`
    videos, however long those are and however many follow: `videos` may be endless. Closing the
    generator ends what is under way. With `journal`, `do` also gets that of its video, from which a
    run that was stopped goes on.
    """
    enough = Event()

    def one(video: str | os.PathLike[str]) -> Done[F]:
        name, spent = os.fspath(video), Spent()
        shown = progress(name) if progress else None

        def move(done: float, total: float | None) -> None:
            if enough.is_set():
                raise _EnoughError
            if shown:
                shown(done, total)

        kept = {"journal": journal(name)} if journal else {}
        try:
            found: F | MareyError = do(video, progress=move, spent=spent, **kept)
        except ModelError:
            raise
        except MareyError as error:
            found = error
        return Done(name, found, spent)

    yield from in_order(one, videos, at_once, enough)


class _EnoughError(Exception):
    """Nobody wants the rest of a video."""


def in_order(do: Callable[[T], R], items: Iterable[T], at_once: int, enough: Event) -> Generator[R]:
    """`do` of every item, in their order, `at_once` of them in threads at a time.

    As many more may be done before their turn, so that a long one does not hold up those after it.
    `enough` is set when no more are wanted: what is under way should end then, and is waited for.
    """
    source = iter(items)
    with ThreadPoolExecutor(at_once) as pool:
        under_way: deque[Future[R]] = deque()
        try:
            while True:
                for item in islice(source, 2 * at_once - len(under_way)):
                    under_way.append(pool.submit(do, item))
                if not under_way:
                    return
                yield under_way.popleft().result()
        finally:
            enough.set()
            for future in under_way:
                future.cancel()
