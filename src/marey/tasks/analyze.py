"""One pass over a video: what it shows, its shots, its people, and what each of them does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

from marey.data.box_files import BoxFile
from marey.errors import MissingExtraError, WeightsError
from marey.outputs.journal import Journal
from marey.runtime import Runtime, compile
from marey.runtime.detector import Detector
from marey.runtime.roi import compile_actions
from marey.tasks import shots as _shots
from marey.tasks import track as _track
from marey.tasks._actor_looks import JudgesBoxes
from marey.tasks._remembered import remembered, remembered_looks
from marey.tasks._seen import Progress, Seen, labels_of
from marey.tasks._shot_tracks import split_at
from marey.tasks._spent import Spent
from marey.tasks._trackers import check_tracker
from marey.tasks.classify import DEFAULT_MODEL, score
from marey.tasks.detect import KEPT
from marey.tasks.follow import DEFAULT_TRACKER, follow, told
from marey.tasks.shots import cuts, judged
from marey.tasks.track import DEFAULT_DETECTOR
from marey.types import Event, ModelCard, Ranked, Report, Score, Track
from marey.video.branches import Branches
from marey.video.read import Limits, Reader, nothing_decoded, open_video

T = TypeVar("T")

_TOP = 3  # labels a window
_SURE = 0.5  # of a cut


class Analyst:
    """The networks of `analyze`, made ready once for any number of videos.

    `model` says what is seen, `detector` (None: nothing) finds what `tracker` follows, and
    `actions` (None: nothing) says what each of it does. Shots, and things to follow, are left out
    where what finds them is not installed or has no weights here, and `warnings` say so. Raises
    ModelError for an unknown name, WeightsError where `model` or `actions` cannot be had.
    """

    def __init__(
        self,
        model: str | Runtime = DEFAULT_MODEL,
        *,
        detector: str | os.PathLike[str] | Detector | BoxFile | None = DEFAULT_DETECTOR,
        tracker: str = DEFAULT_TRACKER,
        actions: str | os.PathLike[str] | Runtime | JudgesBoxes | None = None,
        runtime: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        how: dict[str, Any] = {"runtime": runtime, "precision": precision, "threads": threads}
        self._missing: list[str] = []
        self.tags = compile(model, **how) if isinstance(model, str) else model
        self.shots = self._if_there("shots", lambda: _shots.finder(**how))
        self.tracker = tracker
        self.detector = self._if_there("things", lambda: _detector(detector, tracker, threads))
        if isinstance(actions, str | os.PathLike):
            actions = compile_actions(actions, **how)
        if actions and self.detector is None:
            self._missing.append("actions are not told: nobody is followed")
            actions = None
        self.actions = actions

    def _if_there(self, what: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except (MissingExtraError, WeightsError) as error:
            self._missing.append(f"{what} are not looked for: {error}")
            return None

    @property
    def parts(self) -> tuple[Runtime | Detector | BoxFile | JudgesBoxes, ...]:
        """All that is asked, what is seen first."""
        every = (self.tags, self.shots, self.detector, self.actions)
        return tuple(part for part in every if part is not None)

    @property
    def warnings(self) -> tuple[str, ...]:
        notes = [note for part in self.parts for note in part.warnings]
        return tuple(dict.fromkeys([*self._missing, *notes]))

    def card(self) -> ModelCard:
        return self.tags.card()


def _detector(
    detector: str | os.PathLike[str] | Detector | BoxFile | None, tracker: str, threads: int | None
) -> Detector | BoxFile | None:
    if detector is None:
        return None
    check_tracker(tracker)
    if isinstance(detector, str | os.PathLike):
        return _track.made_ready(detector, threads=threads)
    return detector


def analyze(
    video: str | os.PathLike[str],
    model: str | Runtime | Analyst = DEFAULT_MODEL,
    *,
    every: int = 2,
    threshold: float = 0.5,
    action_threshold: float = 0.5,
    threads: int = 0,
    limits: Limits | None = None,
    progress: Progress | None = None,
    spent: Spent | None = None,
    journal: Journal | None = None,
    **made: Any,
) -> Report:
    """All that is found in `video` by one pass: each frame is decoded once.

    In the report are the best labels of `model` in windows as long as its clip, shots as events
    `cut`, tracks of what a detector finds in every `every`-th frame with a score of `threshold`,
    and with `actions` what each of them does, as events with an `actor`. No track goes on from one
    shot to the next.

    `made` is what `Analyst` takes; many videos share one, as `model`. `threads` and `limits` are
    those of `open_video`; `journal` keeps what the networks say.

    What it takes in memory are a few clips for each part, and `video.branches.HELD` frames. Raises
    `VideoError`, `ModelError` or `WeightsError`.
    """
    analyst = model if isinstance(model, Analyst) else Analyst(model, **made)
    spent = spent or Spent()
    with spent.on("seconds"), open_video(video, limits=limits, threads=threads) as reader:
        spent.frames = reader.counts
        how = {"every": every, "threshold": threshold}
        found = _Analysis(analyst, how, action_threshold, progress, journal)
        _together(reader, found.doing())
        spent.network = sum(part.network for part in found.spent)
        spent.clips = sum(part.clips for part in found.spent)
        spent.waiting = max(part.waiting for part in found.spent)
        starts = [cut.start for cut in found.cuts]
        tracks, acts = split_at(found.tracks, found.acts, starts)
        first, *others = (part.card() for part in analyst.parts)
        events = sorted((*found.cuts, *acts), key=lambda e: (e.start, e.end, e.label))
        return Report(
            video=reader.video,
            model=first,
            top=found.top,
            windows=found.windows,
            warnings=(*analyst.warnings, *reader.warnings(), *found.warnings),
            events=tuple(events),
            tracks=tracks,
            also=tuple(others),
            tracking=told(analyst.tracker, **found.following) if analyst.detector else None,
        )


@dataclass(slots=True)
class _Analysis:
    """What is done to one video, in parts that know nothing of each other, and what they find."""

    analyst: Analyst
    following: dict[str, Any]  # what `follow` takes
    action_threshold: float
    progress: Progress | None
    journal: Journal | None
    spent: list[Spent] = field(default_factory=list)  # by part, which go at once
    top: tuple[Score, ...] = ()
    windows: tuple[Ranked, ...] = ()
    cuts: tuple[Event, ...] = ()
    tracks: tuple[Track, ...] = ()
    acts: tuple[Event, ...] = ()
    warnings: tuple[str, ...] = ()

    def doing(self) -> Iterator[Callable[[Reader], None]]:
        yield self._see
        if self.analyst.shots is not None:
            yield partial(self._find_shots, self.analyst.shots)
        if self.analyst.detector is not None:
            yield partial(self._follow, self.analyst.detector)

    def _see(self, reader: Reader) -> None:
        seen = Seen(labels_of(self.analyst.tags), _TOP, most=KEPT)
        with (
            remembered(self.analyst.tags, self.journal, "tags") as tags,
            closing(score(reader, tags, spent=self._counted())) as scored,
        ):
            for _ in seen.passing(scored, reader.video, self.progress):
                pass
        if not seen.count:
            raise nothing_decoded(reader.video.path)
        self.top, self.windows = seen.top, tuple(seen.windows)
        self.warnings += tuple(seen.warnings())

    def _find_shots(self, finder: Runtime, reader: Reader) -> None:
        with (
            remembered(finder, self.journal, "shots") as net,
            closing(judged(reader, net, spent=self._counted())) as frames,
        ):
            self.cuts = tuple(cuts(frames, _SURE))

    def _follow(self, detector: Detector | BoxFile, reader: Reader) -> None:
        spent = self._counted()
        with (
            remembered_looks(detector, self.journal) as eye,
            remembered(self.analyst.actions, self.journal, "actions") as judge,
        ):
            found = follow(reader, eye, self.analyst.tracker, spent=spent, **self.following)
            self.tracks, self.acts, lost = _track.who_does_what(
                found, reader, judge, self.action_threshold, spent=spent
            )
        self.warnings += tuple(lost)

    def _counted(self) -> Spent:
        self.spent.append(Spent())
        return self.spent[-1]


def _together(reader: Reader, doing: Iterable[Callable[[Reader], None]]) -> None:
    """Each of `doing` on its own branch of the video; the first error ends all, and is raised."""
    parts = list(doing)

    def on(do: Callable[[Reader], None], branch: Reader) -> None:
        with branch:
            do(branch)

    with Branches(reader, len(parts)) as branches, ThreadPoolExecutor(len(parts)) as pool:
        try:
            under_way = [pool.submit(on, do, one) for do, one in zip(parts, branches, strict=True)]
            done, _ = wait(under_way, return_when=FIRST_EXCEPTION)
            for future in done:
                future.result()
        except BaseException:  # Ctrl-C, too: the pool waits for its threads
            for branch in branches:
                branch.close()
            raise
