"""A video in, the things in it out: where each is in every frame."""

from __future__ import annotations

import os
from array import array
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from typing import Any

import numpy as np

from marey.data.box_files import BoxFile, is_box_file
from marey.outputs.journal import Journal
from marey.runtime import Runtime
from marey.runtime.detector import PEDESTRIANS, Detector, make_detector
from marey.runtime.roi import compile_actions
from marey.tasks._actor_looks import JudgesBoxes
from marey.tasks._filled import NOBODY
from marey.tasks._followed import Followed
from marey.tasks._remembered import remembered, remembered_looks
from marey.tasks._seen import Progress
from marey.tasks._spent import Spent
from marey.tasks.actors import Acting
from marey.tasks.follow import DEFAULT_TRACKER, PATIENCE, SMOOTH, follow, told
from marey.types import Event, Report, Track
from marey.video.read import Limits, Reader, nothing_decoded, open_video

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
    how: dict[str, Any] = {"every": every, "threshold": threshold, "labels": labels}
    how |= {"patience": patience, "smooth": smooth}
    spent = spent or Spent()
    with (
        spent.on("seconds"),
        open_video(video, limits=limits, threads=threads) as reader,
        remembered_looks(detector, journal) as eye,
        remembered(actions, journal, "actions") as judge,
    ):
        spent.frames = reader.counts
        found = follow(reader, eye, tracker, batch=batch, cuts=cuts, spent=spent, **how)
        tracks, events, lost = who_does_what(
            found, reader, judge, action_threshold, progress=progress, spent=spent
        )
        if not reader.counts.converted:
            raise nothing_decoded(video)
        return Report(
            video=reader.video,
            model=detector.card(),
            top=(),
            windows=(),
            warnings=(
                *detector.warnings,
                *(actions.warnings if actions else ()),
                *reader.warnings(),
                *lost,
            ),
            events=events,
            tracks=tracks,
            also=(actions.card(),) if actions else (),
            tracking=told(tracker, **how),
        )


def who_does_what(
    found: Generator[Followed],
    reader: Reader,
    actions: Runtime | JudgesBoxes | None,
    threshold: float,
    *,
    progress: Progress | None = None,
    spent: Spent | None = None,
) -> tuple[tuple[Track, ...], tuple[Event, ...], list[str]]:
    """The tracks in what `follow` found in `reader`, what each does by `actions`, and warnings."""
    video = reader.video
    shown: Iterator[Followed] = found
    acting = None
    if actions is not None:
        acting = Acting(actions, video, threshold=threshold, spent=spent)
        shown = acting(found)
    with closing(found):
        tracks = collect(_shown(shown, video.start, video.duration, progress))
    return (tracks, acting.events, acting.warnings()) if acting else (tracks, (), [])


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


class _Growing:
    """A track that is not whole yet: 29 bytes a box."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.times, self.boxes = array("d"), array("f")
        self.scores, self.seen = array("f"), array("b")

    def add(self, time: float, box: Iterable[float], score: float, seen: bool) -> None:
        self.times.append(time)
        self.boxes.extend(box)
        self.scores.append(score)
        self.seen.append(seen)

    def whole(self, id: int) -> Track:
        return Track(
            id=None if id == NOBODY else id,
            label=self.label,
            times=np.array(self.times, np.float64),
            boxes=np.array(self.boxes, np.float32).reshape(-1, 4),
            scores=np.array(self.scores, np.float32),
            seen=np.array(self.seen, np.bool_),
        )


def collect(found: Iterable[Followed]) -> tuple[Track, ...]:
    """The tracks in frames that follow each other, by id; things without one by their label.

    No image is kept: an hour of ten people, at 25 frames a second, takes 26 MB.
    """
    growing: dict[tuple[int, str], _Growing] = {}
    for moment in found:
        time = float(moment.frame.time)
        for id, label, box, score, seen in zip(
            moment.ids.tolist(),
            moment.labels,
            moment.boxes.tolist(),
            moment.scores.tolist(),
            moment.seen.tolist(),
            strict=True,
        ):
            key = id, label
            if key not in growing:
                growing[key] = _Growing(label)
            growing[key].add(time, box, score, seen)
    return tuple(growing.pop(key).whole(key[0]) for key in sorted(growing))


def _shown(
    found: Iterable[Followed], start: float, duration: float | None, progress: Progress | None
) -> Iterator[Followed]:
    """The frames, told to `progress` on their way."""
    for moment in found:
        if progress:
            progress(float(moment.frame.time) - start, duration)
        yield moment
