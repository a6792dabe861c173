"""How well events that were found agree with those that people marked: ActivityNet's protocol.

Of one label, detections of all videos are taken by descending score. Each is matched with that
event of its video, among those still free, with which it overlaps most, if their temporal
intersection over union (tIoU) reaches the threshold; otherwise it is false. Average precision is
the area under the precision, made to never rise with recall (as in PASCAL VOC since 2010); its mean
is over the labels that have events.

Caba Heilbron et al. 2015, "ActivityNet"; activitynet/ActivityNet@2795199,
Evaluation/eval_detection.py. Deviations: scores that tie are ordered by video and time, where the
reference leaves it to the sorting algorithm; a label without an event has no average precision,
where the reference does not know it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from marey.errors import DataError
from marey.spans import temporal_iou
from marey.types import Event

LOOSE = (0.3, 0.4, 0.5, 0.6, 0.7)
"""The thresholds of THUMOS14."""
STRICT = (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95)
"""The thresholds of ActivityNet."""
TIOUS = tuple(sorted({*LOOSE, *STRICT}))

Events = Mapping[str, Iterable[Event]]
"""Events by the name of their video."""


class Lasting(Protocol):
    """What lasts for a time, has a label and a score: an event, or a tube."""

    @property
    def label(self) -> str: ...
    @property
    def start(self) -> float: ...
    @property
    def end(self) -> float: ...
    @property
    def score(self) -> float: ...


L = TypeVar("L", bound=Lasting)
Overlap = Callable[[L], NDArray[np.float64]]
"""In [0, 1], with each of some others of its video."""


@dataclass(frozen=True, slots=True)
class LabelMetrics:
    """One label: average precision and recall at each of `tious`, None if it has no event.

    Recall is the share of events that any detection has found, whatever its score.
    """

    label: str
    events: int
    detections: int
    ap: tuple[float, ...] | None
    recall: tuple[float, ...] | None


@dataclass(frozen=True, slots=True)
class EventMetrics:
    """Agreement at each of `tious`, in [0, 1]: `mean_ap` and `recall` are means over labels.

    `loose` is the mean of `mean_ap` over tIoU 0.3 to 0.7 in steps of 0.1, `strict` over 0.5 to 0.95
    in steps of 0.05.
    """

    tious: tuple[float, ...]
    mean_ap: tuple[float, ...]
    recall: tuple[float, ...]
    loose: float
    strict: float
    labels: tuple[LabelMetrics, ...]

    def at(self, tiou: float) -> float:
        """The mean average precision at one of `tious`."""
        return self.mean_ap[self.tious.index(tiou)]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Matches:
    """Detections of one label by descending score: `scores` D, and whether each is right, I D.

    I counts the thresholds of tIoU; `events` is how many there are to find.
    """

    scores: NDArray[np.float64]
    right: NDArray[np.bool_]
    events: int


def measure_events(detections: Events, truth: Events) -> EventMetrics:
    """Metrics of `detections` against `truth`, both by video; DataError if there is no event.

    Labels are those of either side.
    """
    found, marked = by_label(detections), by_label(truth)
    if not marked:
        raise DataError("there is no event to compare with", do="Take videos that have some.")
    labels = tuple(
        label_metrics(label, match(found.get(label, []), marked.get(label, []), TIOUS, in_time))
        for label in sorted({*found, *marked})
    )
    mean_ap = mean_of(one.ap for one in labels)
    return EventMetrics(
        tious=TIOUS,
        mean_ap=mean_ap,
        recall=mean_of(one.recall for one in labels),
        loose=float(np.mean([mean_ap[TIOUS.index(tiou)] for tiou in LOOSE])),
        strict=float(np.mean([mean_ap[TIOUS.index(tiou)] for tiou in STRICT])),
        labels=labels,
    )


def by_label(events: Mapping[str, Iterable[L]]) -> dict[str, list[tuple[str, L]]]:
    """The events of each label with the names of their videos."""
    found = defaultdict(list)
    for video, members in events.items():
        for event in members:
            found[event.label].append((video, event))
    return dict(found)


def in_time(marked: Sequence[Lasting]) -> Overlap[Lasting]:
    """The tIoU with each of `marked`."""
    spans = np.array([(event.start, event.end) for event in marked])
    return lambda event: temporal_iou(np.array((event.start, event.end)), spans)


def match(
    found: Sequence[tuple[str, L]],
    marked: Sequence[tuple[str, L]],
    limits: Sequence[float],
    against: Callable[[Sequence[L]], Overlap[L]],
) -> Matches:
    """Which detections of one label are right, at each of `limits`, the thresholds of overlap."""
    overlaps: dict[str, Overlap[L]] = {}
    taken: dict[str, NDArray[np.bool_]] = {}
    for video in {video for video, _ in marked}:
        own = [event for name, event in marked if name == video]
        overlaps[video] = against(sorted(own, key=lambda event: (event.start, event.end)))
        taken[video] = np.zeros((len(limits), len(own)), bool)
    least = np.array(limits)
    ordered = sorted(found, key=lambda one: (-one[1].score, one[0], one[1].start, one[1].end))
    right = np.zeros((len(limits), len(ordered)), bool)
    for number, (video, event) in enumerate(ordered):
        if video not in overlaps:
            continue
        overlap = overlaps[video](event)
        for place in np.argsort(-overlap, kind="stable"):
            if overlap[place] < least.min():
                break
            wins = (overlap[place] >= least) & ~taken[video][:, place] & ~right[:, number]
            right[wins, number] = taken[video][wins, place] = True
    return Matches(np.array([event.score for _, event in ordered]), right, len(marked))


def average_precision(matches: Matches) -> NDArray[np.float64]:
    """The area under the interpolated precision, for each threshold."""
    right = matches.right
    precision = right.cumsum(1) / np.arange(1, right.shape[1] + 1)
    best_after = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    # Recall rises by one event's share at every detection that is right, and nowhere else.
    return np.asarray((best_after * right).sum(1) / matches.events)


def label_metrics(label: str, matches: Matches) -> LabelMetrics:
    """What the matches of a label say."""
    ap = recall = None
    if matches.events:
        ap = tuple(average_precision(matches).tolist())
        recall = tuple((matches.right.sum(1) / matches.events).tolist())
    return LabelMetrics(label, matches.events, len(matches.scores), ap, recall)


def mean_of(rows: Iterable[tuple[float, ...] | None]) -> tuple[float, ...]:
    """The means over labels that have some."""
    return tuple(np.mean([row for row in rows if row is not None], axis=0).tolist())
