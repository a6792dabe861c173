"""How well boxes with actions agree with those that people marked: AVA's frame mAP.

Of one action, the boxes found in a key frame are taken by descending score. Each goes to the marked
box with which it overlaps most: if their intersection over union reaches 0.5, and no box before has
had that one, it is right, else it is false. Those of key frames in which nothing is marked are
false, too. Average precision is the area under the precision, made to never rise with recall, over
all key frames; its mean is over the actions that are marked.

Gu et al. 2018, arXiv 1705.08421; activitynet/ActivityNet@1212804, Evaluation/get_ava_performance.py
and Evaluation/ava. Of a key frame count the 50 boxes of highest score, of all actions together.
Deviation: scores that tie are ordered as they stand in the file, where the reference leaves it to
heap and sorting algorithm.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.boxes import box_iou
from marey.data.ava import ActionBoxes, AvaFiles, KeyFrame, evaluated
from marey.errors import DataError
from marey.training.event_metrics import Matches, average_precision

IOU = 0.5
MOST = 50  # boxes of a key frame that count


@dataclass(frozen=True, slots=True)
class ActionMetrics:
    """One action: how many boxes are marked and were found, and average precision in [0, 1].

    `ap` is None where nothing is marked.
    """

    number: int
    label: str
    marked: int
    found: int
    ap: float | None


@dataclass(frozen=True, slots=True)
class ActionEvaluation:
    """Agreement at IoU 0.5: `mean_ap` over the actions that are marked, in so many key frames."""

    mean_ap: float
    frames: int
    actions: tuple[ActionMetrics, ...]
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def evaluate_actions(
    found: str | os.PathLike[str],
    marked: str | os.PathLike[str],
    *,
    excluded: str | os.PathLike[str] | None = None,
    actions: str | os.PathLike[str] | None = None,
) -> ActionEvaluation:
    """AVA's frame mAP of the boxes in the file `found` against those in `marked`.

    `excluded` lists key frames that are not judged, `actions` is the `.pbtxt` of those that are
    (None: those that `marked` names, or where it has numbers the 60 of AVA). Raises DataError with
    every line of all files that cannot be used, before anything is computed.
    """
    files, ours = AvaFiles(), Path(marked)
    labels = files.actions(Path(actions)) if actions else files.named(ours) or evaluated()
    theirs, truth = files.found(Path(found), labels), files.marked(ours, labels)
    left_out = files.excluded(Path(excluded)) if excluded else frozenset()
    files.check()
    return measure_actions(theirs, truth, labels, left_out)


def measure_actions(
    found: ActionBoxes,
    marked: ActionBoxes,
    labels: Mapping[int, str],
    excluded: Collection[KeyFrame] = (),
) -> ActionEvaluation:
    """The same of boxes in hand; DataError if none of `labels` is marked."""
    told = [*_told("found", found, labels, excluded), *_told("marked", marked, labels, excluded)]
    truth = marked.only(_judged(marked, labels, excluded))
    if not len(truth):
        raise DataError("no box of these actions is marked", do="Give their list by --classes.")
    theirs = found.only(_judged(found, labels, excluded))
    surest = _surest(theirs)
    if dropped := len(theirs) - len(surest):
        told.append(f"boxes beyond the {MOST} surest of a key frame, left out: {dropped}")
    each = tuple(_of_action(number, labels[number], surest, truth) for number in sorted(labels))
    precisions = [one.ap for one in each if one.ap is not None]
    frames = len(set(truth.frames))
    return ActionEvaluation(float(np.mean(precisions)), frames, each, tuple(told))


def _judged(
    boxes: ActionBoxes, labels: Mapping[int, str], excluded: Collection[KeyFrame]
) -> NDArray[np.bool_]:
    known = np.isin(boxes.actions, list(labels))
    left_out = np.array([frame in excluded for frame in boxes.frames], bool)
    return np.asarray(known & ~left_out)


def _told(
    what: str, boxes: ActionBoxes, labels: Mapping[int, str], excluded: Collection[KeyFrame]
) -> list[str]:
    other = int((~np.isin(boxes.actions, list(labels))).sum())
    frames = len({frame for frame in boxes.frames if frame in excluded})
    words = [f"boxes {what} of other actions, left out: {other}"] if other else []
    return words + ([f"key frames {what} that are excluded: {frames}"] if frames else [])


def _surest(boxes: ActionBoxes) -> ActionBoxes:
    """Of each key frame the `MOST` boxes of highest score, by descending score."""
    order = np.argsort(-boxes.scores, kind="stable")
    counts: defaultdict[KeyFrame, int] = defaultdict(int)
    kept = []
    for place in order:
        frame = boxes.frames[place]
        counts[frame] += 1
        if counts[frame] <= MOST:
            kept.append(place)
    return boxes.only(np.array(kept, np.int64))


def _of_action(number: int, label: str, found: ActionBoxes, marked: ActionBoxes) -> ActionMetrics:
    theirs, ours = found.only(found.actions == number), marked.only(marked.actions == number)
    ap = None
    if len(ours):
        right = _right(theirs, ours)[None]
        ap = float(average_precision(Matches(theirs.scores, right, len(ours)))[0])
    return ActionMetrics(number, label, len(ours), len(theirs), ap)


def _right(found: ActionBoxes, marked: ActionBoxes) -> NDArray[np.bool_]:
    """Which of the boxes of one action, by descending score, are right."""
    places: defaultdict[KeyFrame, list[int]] = defaultdict(list)
    for place, frame in enumerate(marked.frames):
        places[frame].append(place)
    taken = np.zeros(len(marked), bool)
    right = np.zeros(len(found), bool)
    for number, frame in enumerate(found.frames):
        if not (here := places.get(frame)):
            continue
        overlap = box_iou(found.boxes[[number]], marked.boxes[here])[0]
        best = here[int(overlap.argmax())]
        right[number] = overlap.max() >= IOU and not taken[best]
        taken[best] |= right[number]
    return right
