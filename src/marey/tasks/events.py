"""Window scores in, events out: smoothing, threshold with hysteresis, merge, suppression.

An event of a label is a stretch in which its curve over time (`tasks/_curves.py`) never falls
below `leave` and somewhere reaches `threshold`. So boundaries lie between the middles of windows
too, move little when scores move little, and are clipped by the video's own start and end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from marey.errors import ModelError
from marey.tasks._curves import SLACK, Curves, P, Stretch, corners, smoothed
from marey.types import Event, Scores

BACKGROUND = frozenset(
    {"background", "none", "nothing", "other", "no action", "no gesture", "doing other things"}
)
"""Labels known to mean that nothing happens, whatever their case, with spaces for `_` and `-`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What makes an event of the scores of K `labels`; `enter` and `stay` are K."""

    labels: Sequence[str]
    enter: P
    stay: P
    gap: float
    shortest: float

    @classmethod
    def of(
        cls,
        labels: Sequence[str],
        *,
        threshold: float = 0.5,
        thresholds: Mapping[str, float] | None = None,
        leave: float | None = None,
        gap: float = 0.0,
        shortest: float = 0.0,
        background: Collection[str] | None = None,
    ) -> Rules:
        """`thresholds` holds those of labels that have their own, `leave` is never above them.

        `leave` is by default half of a label's threshold. `gap` and `shortest` are seconds: up to
        how far apart two events of a label become one, and the shortest event. Labels of
        `background` (None: those that `BACKGROUND` knows) make none. Raises ModelError for a label
        that `labels` does not have, ValueError for values out of range.
        """
        for name, value in (("leave", leave), ("gap", gap), ("shortest", shortest)):
            if value is not None and not value >= 0:
                raise ValueError(f"{name} must not be negative, got {value}")
        enter = levels(labels, threshold, thresholds or {}, background)
        stay = enter / 2 if leave is None else np.minimum(enter, leave)
        return cls(labels, enter, np.asarray(stay, np.float32), gap, shortest)

    def events(self, stretches: Iterable[Stretch]) -> Iterator[Event]:
        """Those that are long enough."""
        for k, start, end, best in stretches:
            if start < end and end - start >= self.shortest - SLACK:
                yield Event(self.labels[k], start, end, best)


def levels(
    labels: Sequence[str],
    threshold: float,
    thresholds: Mapping[str, float],
    background: Collection[str] | None,
) -> P:
    """K, the score that each label must reach; infinite for those of the background."""
    for value in (threshold, *thresholds.values()):
        if not 0 < value <= 1:
            raise ValueError(f"a threshold must be above 0 and at most 1, got {value}")
    for label in (*thresholds, *(background or ())):
        if label not in labels:
            close = get_close_matches(label, labels) or list(labels)[:10]
            raise ModelError(
                f"the network has no label {label!r}", do=f"Some that it has: {', '.join(close)}."
            )
    nothing = background_of(labels) if background is None else background
    wanted = (np.inf if label in nothing else thresholds.get(label, threshold) for label in labels)
    return np.fromiter(wanted, np.float32, len(labels))


def background_of(labels: Iterable[str]) -> set[str]:
    """Those of `labels` that `BACKGROUND` knows."""
    plain = str.maketrans("_-", "  ")
    return {label for label in labels if label.translate(plain).casefold().strip() in BACKGROUND}


def find_events(scores: Iterable[Scores], rules: Rules, *, smooth: float = 0.0) -> Iterator[Event]:
    """The events of all labels, each as soon as it is certain, so in order of their ends.

    `scores` are of windows in order of time, and averaged with those less than `smooth` seconds
    away, which are all that is held. An event's score is the highest that its curve reaches.
    """
    if not smooth >= 0:
        raise ValueError(f"smooth must not be negative, got {smooth}")
    curves = Curves(rules.enter, rules.stay, rules.gap)
    found = (curves.corner(time, p) for time, p in corners(smoothed(scores, smooth)))
    yield from rules.events(chain.from_iterable(found))
    yield from rules.events(curves.under_way())


def suppress(events: Iterable[Event], overlap: float, *, across: bool = False) -> list[Event]:
    """Non-maximum suppression: no two events of a label overlap more; in order of their starts.

    The surest is kept and those with which its `temporal_iou` is above `overlap` are dropped, then
    the surest of the rest, and so on. With `across`, labels do not matter.
    """
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault("" if across else event.label, []).append(event)
    kept = chain.from_iterable(_suppress(group, overlap) for group in groups.values())
    return sorted(kept, key=lambda event: (event.start, event.end, event.label))


def _suppress(events: Sequence[Event], overlap: float) -> Iterator[Event]:
    spans = np.array([(event.start, event.end) for event in events])
    left = np.full(len(events), True)
    for best in np.argsort([-event.score for event in events], kind="stable"):
        if left[best]:
            yield events[best]
            left &= temporal_iou(events[best], spans) <= overlap


def temporal_iou(event: Event, spans: NDArray[np.float64]) -> NDArray[np.float64]:
    """Intersection over union in time of an event with each of `spans`, N 2 (start, end)."""
    start, end = spans.T
    common = np.clip(np.minimum(event.end, end) - np.maximum(event.start, start), 0, None)
    return np.asarray(common / (end - start + event.end - event.start - common))
