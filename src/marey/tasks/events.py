"""Window scores in, events out: smoothing, threshold with hysteresis, merge, suppression.

An event of a label is a stretch in which its curve over time (`tasks/_curves.py`) never falls
below `leave` and somewhere reaches `threshold`. So boundaries lie between the middles of windows
too, move little when scores move little, and are clipped by the video's own start and end.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np

from marey.errors import ModelError
from marey.spans import distinct
from marey.tasks._curves import SLACK, Curves, P, Stretch, smoothed
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
    finder = Finder(rules)
    for each in smoothed(scores, smooth):
        yield from finder.feed(each)
    over, cut = finder.close()
    yield from sorted((*over, *cut), key=lambda event: event.end)


class Finder:
    """Events while they happen: scores go in one by one, events that have ended come out.

    What is held does not grow with them.
    """

    def __init__(self, rules: Rules) -> None:
        self._rules = rules
        self._last: Scores | None = None
        self._curves = Curves(rules.enter, rules.stay, rules.gap)

    def feed(self, scores: Scores) -> list[Event]:
        """The events that are over for certain, by the scores of the next window."""
        found: list[Event] = []
        if self._last is None:
            found += self._corner(scores.window.start, np.full_like(scores.p, -1))
            found += self._corner(scores.window.start, scores.p)
        self._last = scores
        return [*found, *self._corner(scores.window.middle, scores.p)]

    def under_way(self) -> list[Event]:
        """Those that are not over, as far as they have come."""
        return list(self._rules.events(self._curves.under_way()))

    def close(self) -> tuple[list[Event], list[Event]]:
        """No window follows these: the events that were over, and those that the end cuts off."""
        last, self._last = self._last, None
        if last is None:
            return [], []
        over = self._corner(last.window.end, last.p)
        cut = self._curves.high()
        rest = self._corner(last.window.end, np.full_like(last.p, -1))
        rest += self._rules.events(self._curves.under_way())
        self._curves = Curves(self._rules.enter, self._rules.stay, self._rules.gap)
        labels = {self._rules.labels[k] for k in cut}
        over += [event for event in rest if event.label not in labels]
        return over, [event for event in rest if event.label in labels]

    def _corner(self, time: float, p: P) -> list[Event]:
        return list(self._rules.events(self._curves.corner(time, p)))


def suppress(events: Iterable[Event], overlap: float, *, across: bool = False) -> list[Event]:
    """Non-maximum suppression: no two events of a label overlap more; in order of their starts.

    `marey.spans.distinct` says which are kept. With `across`, labels do not matter.
    """
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault("" if across else event.label, []).append(event)
    kept = []
    for group in groups.values():
        spans = np.array([(event.start, event.end) for event in group])
        scores = np.array([event.score for event in group])
        kept += [group[k] for k in distinct(spans, scores, overlap)]
    return sorted(kept, key=lambda event: (event.start, event.end, event.label))
