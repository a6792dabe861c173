"""One pass over a video: what it shows, its shots, its people, and what each of them does."""

from __future__ import annotations

import os
from collections.abc import Callable
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
from marey.tasks._pass import Asked, Pass
from marey.tasks._seen import Progress
from marey.tasks._spent import Spent
from marey.tasks._trackers import check_tracker
from marey.tasks.classify import DEFAULT_MODEL
from marey.tasks.follow import DEFAULT_TRACKER
from marey.tasks.track import DEFAULT_DETECTOR
from marey.types import ModelCard, Report
from marey.video.read import Limits, open_video

T = TypeVar("T")


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
        self.missing: list[str] = []
        self.tracker = tracker
        tags = compile(model, **how) if isinstance(model, str) else model
        shots = self._if_there("shots", lambda: _shots.finder(**how))
        found = self._if_there("things", lambda: _detector(detector, tracker, threads))
        if isinstance(actions, str | os.PathLike):
            actions = compile_actions(actions, **how)
        if actions and found is None:
            self.missing.append("actions are not told: nobody is followed")
            actions = None
        self.asked = Asked(tags, found, shots, actions)

    def _if_there(self, what: str, make: Callable[[], T]) -> T | None:
        try:
            return make()
        except (MissingExtraError, WeightsError) as error:
            self.missing.append(f"{what} are not looked for: {error}")
            return None

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self.missing, *self.asked.warnings)

    def card(self) -> ModelCard:
        return self.asked.nets[0].card()


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
    how = {"every": every, "threshold": threshold}
    with spent.on("seconds"), open_video(video, limits=limits, threads=threads) as reader:
        found = Pass(analyst.asked, analyst.tracker, how, action_threshold)
        found.over(reader, progress=progress, spent=spent, journal=journal)
        return found.report(reader, analyst.missing)
