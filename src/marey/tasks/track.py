"""A video in, the things in it out: where each is in every frame."""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from typing import Any

from marey.data.box_files import BoxFile, is_box_file
from marey.outputs.journal import Journal
from marey.runtime import Runtime
from marey.runtime.detector import PEDESTRIANS, Detector, make_detector
from marey.runtime.roi import compile_actions
from marey.tasks._actor_looks import JudgesBoxes
from marey.tasks._pass import Asked, Pass
from marey.tasks._seen import Progress
from marey.tasks._spent import Spent
from marey.tasks.follow import DEFAULT_TRACKER, PATIENCE, SMOOTH
from marey.tasks.shots import finder
from marey.types import Report
from marey.video.read import Limits, open_video

DEFAULT_DETECTOR = PEDESTRIANS


def track(
    video: str | os.PathLike[str],
    detector: str | os.PathLike[str] | Detector | BoxFile = DEFAULT_DETECTOR,
    tracker: str = DEFAULT_TRACKER,
    *,
    every: int = 1,
    batch: int = 1,
    threshold: float = 0.5,
    labels: Collection[str] | None = None,
    patience: float = PATIENCE,
    smooth: float = SMOOTH,
    cuts: Sequence[float] = (),
    shots: str | Runtime | None = None,
    actions: str | os.PathLike[str] | Runtime | JudgesBoxes | None = None,
    action_threshold: float = 0.5,
    threads: int = 0,
    limits: Limits | None = None,
    progress: Progress | None = None,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> Report:
    """The things in `video`, each as a `Track` with an id: its box in every frame it is in.

    `detector` is a name, or a file of boxes (`.txt` MOT, `.json` COCO, `.csv`), or what
    `made_ready` gave; `tracker` is cbiou, bytetrack, sort, ocsort or botsort, or "none": then there
    is a track without an id for each label. What else is set is as in `marey.tasks.follow.follow`,
    which gives the same frame by frame; `threads` and `limits` are those of `open_video`; `spent`
    is told what it took, and `journal` keeps what the networks say.

    With `shots`, TransNetV2 ("transnetv2", or what `marey.tasks.shots.finder` gave) finds cuts in
    the same decoding: they are events `cut`, and no track goes on over one.

    With `actions`, a network of clips or one of boxes in clips (a name, or what
    `marey.runtime.roi.compile_actions` made), the report also has what each of them does with a
    score of `action_threshold` or more, as events with an `actor` (`marey.tasks.actors.Acting`).

    Raises `VideoError`, `ModelError`, `WeightsError`, `DataError` for a file of boxes, or
    `MissingExtraError` where no tracker can be loaded.
    """
    if isinstance(detector, str | os.PathLike):
        detector = made_ready(detector)
    if isinstance(actions, str | os.PathLike):
        actions = compile_actions(actions)
    if isinstance(shots, str):
        shots = finder(shots)
    how: dict[str, Any] = {"every": every, "threshold": threshold, "labels": labels}
    how |= {"batch": batch, "patience": patience, "smooth": smooth, "cuts": cuts}
    spent = spent or Spent()
    with spent.on("seconds"), open_video(video, limits=limits, threads=threads) as reader:
        found = Pass(Asked(None, detector, shots, actions), tracker, how, action_threshold)
        found.over(reader, progress=progress, spent=spent, journal=journal)
        return found.report(reader)


def made_ready(
    detector: str | os.PathLike[str],
    *,
    runtime: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Detector | BoxFile:
    """What `track` asks of many videos: a detector by its name, or a file of boxes."""
    if is_box_file(detector):
        return BoxFile(detector)
    how = {"runtime": runtime, "precision": precision}
    return make_detector(os.fspath(detector), threads=threads, **how)
