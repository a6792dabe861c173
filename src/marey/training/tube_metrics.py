"""How well tubes agree with those that people marked: video mAP.

A tube is somebody who does one thing for a while, with a box at every moment of it. How far two
overlap is their temporal IoU times the mean, over the moments they have in common, of their boxes'
IoU. Of one action, tubes of all videos are taken by descending score; each goes to the marked one,
among those still free, with which it overlaps most, and is right if that reaches the threshold.

Gkioxari and Malik, "Finding Action Tubes", CVPR 2015, arXiv 1411.6031; Kalogeiton et al., "Action
Tubelet Detector for Spatio-Temporal Action Localization", ICCV 2017, arXiv 1705.01861, whose
program goes on in MCG-NJU/MOC-Detector: src/ACT_utils/ACT_utils.py@c269657 (`iou3dt`) and
src/ACT.py@26ba317 (`videoAP`). Deviations: times are seconds, so that boxes need not be in every
frame; a box is as wide as x2 - x1, without a pixel more; average precision is the area under the
precision made to never rise with recall, as for frames and events here, where the reference joins
its points by lines; tubes found are all judged, without suppression among them.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.boxes import paired_iou
from marey.data.ava import ActionBoxes, AvaFiles, evaluated
from marey.errors import DataError
from marey.outputs.text import read_reports
from marey.training.event_metrics import (
    STRICT,
    LabelMetrics,
    Overlap,
    by_label,
    in_time,
    label_metrics,
    match,
    mean_of,
)
from marey.types import Report

IOUS = (0.2, *STRICT)
GAP = 1.5
"""Steps between key frames in which somebody is not marked, after which it is another tube."""
_STEP = 1.0  # seconds, where a video has one key frame: AVA's


@dataclass(frozen=True, slots=True, eq=False)
class Tube:
    """Somebody who does `label`, `start <= t < end`; `boxes` N 4 at `times` N, in any scale."""

    label: str
    start: float
    end: float
    score: float
    times: NDArray[np.float64]
    boxes: NDArray[np.float64]

    def at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where it is at other times, N 4: on straight lines between its boxes."""
        corners = [np.interp(times, self.times, side) for side in self.boxes.T]
        return np.stack(corners, 1)


Tubes = Mapping[str, Iterable[Tube]]
"""Tubes by the name of their video."""


@dataclass(frozen=True, slots=True)
class TubeEvaluation:
    """Video mAP at each of `ious`, in [0, 1]; `strict` is its mean over 0.5 to 0.95.

    `mean_ap` and `recall` are means over the actions that are marked.
    """

    ious: tuple[float, ...]
    mean_ap: tuple[float, ...]
    recall: tuple[float, ...]
    strict: float
    videos: int
    labels: tuple[LabelMetrics, ...]
    warnings: tuple[str, ...] = ()

    def at(self, iou: float) -> float:
        """The mean average precision at one of `ious`."""
        return self.mean_ap[self.ious.index(iou)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def evaluate_tubes(
    found: str | os.PathLike[str] | Sequence[Report],
    marked: str | os.PathLike[str],
    *,
    actions: str | os.PathLike[str] | None = None,
) -> TubeEvaluation:
    """Video mAP of what actors do in reports of `marey track --actions`, or in their `.json`.

    `marked` has lines as AVA has them, with people: one person's lines of one action, as long as
    they go on, are a tube (`marked_tubes`). A report belongs to the video of its name, with or
    without suffix. `actions` is the `.pbtxt` of those that are judged (None: those that `marked`
    names, or where it has numbers the 60 of AVA). Raises DataError with every line that cannot be
    used.
    """
    files, path = AvaFiles(), Path(marked)
    labels = files.actions(Path(actions)) if actions else files.named(path) or evaluated()
    boxes = files.marked(path, labels)
    files.check()
    truth = marked_tubes(boxes, labels, path)
    reports = read_reports(Path(found)) if isinstance(found, str | os.PathLike) else found
    told = Counter[str]()
    theirs = _by_video(reports, truth, told)
    known = set(labels.values())
    judged = {
        video: [tube for tube in tubes_of(report, told) if _known(tube, known, told)]
        for video, report in theirs.items()
    }
    if other := int((~np.isin(boxes.actions, list(labels))).sum()):
        told["lines of other actions, left out"] = other
    if missing := len(truth) - len(theirs):
        told["marked videos without a report, in which nothing is found"] = missing
    return measure_tubes(judged, truth, tuple(f"{what}: {n}" for what, n in told.items()))


def measure_tubes(found: Tubes, truth: Tubes, warnings: tuple[str, ...] = ()) -> TubeEvaluation:
    """The same of tubes in hand, both in one scale; DataError if none is marked."""
    theirs, marked = by_label(found), by_label(truth)
    if not marked:
        raise DataError("no tube of these actions is marked", do="Give their list by --classes.")
    labels = tuple(
        label_metrics(label, match(theirs.get(label, []), marked.get(label, []), IOUS, in_space))
        for label in sorted({*theirs, *marked})
    )
    mean_ap = mean_of(one.ap for one in labels)
    return TubeEvaluation(
        ious=IOUS,
        mean_ap=mean_ap,
        recall=mean_of(one.recall for one in labels),
        strict=float(np.mean([mean_ap[IOUS.index(iou)] for iou in STRICT])),
        videos=len(truth),
        labels=labels,
        warnings=warnings,
    )


def in_space(marked: Sequence[Tube]) -> Overlap[Tube]:
    """The overlap with each of `marked` in time and space."""
    temporal = in_time(marked)

    def overlap(tube: Tube) -> NDArray[np.float64]:
        found = temporal(tube)
        for k in np.flatnonzero(found).tolist():
            found[k] *= _spatial(tube, marked[k])
        return found

    return overlap


def _spatial(found: Tube, marked: Tube) -> float:
    """The mean IoU of the boxes at the moments of `marked` that both have; at least at one."""
    start, end = max(found.start, marked.start), min(found.end, marked.end)
    times = marked.times[(start <= marked.times) & (marked.times < end)]
    if not len(times):
        times = np.array([(start + end) / 2])
    return float(paired_iou(found.at(times), marked.at(times)).mean())


def marked_tubes(
    boxes: ActionBoxes, labels: Mapping[int, str], where: object = None
) -> dict[str, list[Tube]]:
    """The tubes in marked lines, by video, in shares of the picture; those of other actions not.

    One person's lines of one action are a tube while they go on: it ends where more than `GAP`
    steps pass without one. A step is the median time between the key frames of the video; a tube
    lasts a step beyond its last line. DataError for lines without a person, and for a person who
    does one thing twice in a key frame.
    """
    nobody = [frame for frame, person in zip(boxes.frames, boxes.people, strict=True) if person < 0]
    if nobody:
        raise DataError(
            f"{len(nobody)} lines name no person, the first {nobody[0].video} at "
            f"{nobody[0].time:g} s",
            where=where,
            do="Number the people in the eighth cell: a tube is one person's.",
        )
    places: dict[str, dict[tuple[int, int], list[int]]] = {}
    for k, frame in enumerate(boxes.frames):
        known = places.setdefault(frame.video, {})
        if boxes.actions[k] in labels:
            known.setdefault((int(boxes.actions[k]), int(boxes.people[k])), []).append(k)
    steps = _steps(boxes)
    return {
        video: [
            tube
            for (action, _), own in groups.items()
            for tube in _runs(boxes, own, labels[action], steps[video], where)
        ]
        for video, groups in places.items()
    }


def _steps(boxes: ActionBoxes) -> dict[str, float]:
    """Seconds from one key frame of a video to the next, usually."""
    times: defaultdict[str, set[float]] = defaultdict(set)
    for frame in boxes.frames:
        times[frame.video].add(frame.time)
    return {
        video: float(np.median(np.diff(sorted(own)))) if len(own) > 1 else _STEP
        for video, own in times.items()
    }


def _runs(
    boxes: ActionBoxes, places: Sequence[int], label: str, step: float, where: object
) -> list[Tube]:
    """The tubes in one person's lines of one action."""
    order = sorted(places, key=lambda place: boxes.frames[place])
    times = np.array([boxes.frames[place].time for place in order])
    if (same := np.flatnonzero(np.diff(times) == 0)).size:
        frame = boxes.frames[order[same[0]]]
        raise DataError(
            f"person {boxes.people[order[0]]} does {label!r} twice in {frame.video} at "
            f"{frame.time:g} s",
            where=where,
            do="Give people numbers of their own.",
        )
    cuts = np.flatnonzero(np.diff(times) > GAP * step) + 1
    return [
        Tube(label, float(part[0]), float(part[-1]) + step, 1.0, part, boxes.boxes[rows])
        for part, rows in zip(np.split(times, cuts), np.split(np.array(order), cuts), strict=True)
    ]


def tubes_of(report: Report, told: Counter[str]) -> list[Tube]:
    """What actors do in a report, in shares of the picture; `told` counts what is no tube."""
    tracks = {track.id: track for track in report.tracks if track.id is not None}
    scale = np.tile((report.video.width, report.video.height), 2)
    found = []
    for event in report.events:
        track = None if event.actor is None else tracks.get(event.actor)
        if track is None:
            told["events of nobody who is followed, left out"] += 1
            continue
        span = event.start, event.end, event.score
        found.append(Tube(event.label, *span, track.times, track.boxes / scale))
    return found


def _known(tube: Tube, labels: set[str], told: Counter[str]) -> bool:
    if tube.label in labels:
        return True
    told["tubes found of other actions, left out"] += 1
    return False


def _by_video(
    reports: Iterable[Report], truth: Mapping[str, object], told: Counter[str]
) -> dict[str, Report]:
    """The report of each marked video; DataError if there is none at all, or two of one."""
    found: dict[str, Report] = {}
    for report in reports:
        path = Path(report.video.path)
        name = next((name for name in (str(path), path.name, path.stem) if name in truth), None)
        if name is None:
            told["reports of videos in which nothing is marked, left out"] += 1
        elif name in found:
            raise DataError(f"two reports are of {name!r}", do="Give one report a video.")
        else:
            found[name] = report
    if not found:
        raise DataError("no report is of a marked video", do=f"Marked are {', '.join(truth)}.")
    return found
