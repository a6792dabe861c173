"""Events while they happen: scores go in one by one, events that have ended come out.

What `find_events` finds in all scores at once, but for its `smooth`, which looks ahead.
"""

from __future__ import annotations

import numpy as np

from marey.tasks._curves import Curves, P, middle
from marey.tasks.events import Rules
from marey.types import Event, Scores


class Finder:
    """The events of one source; memory does not grow with them."""

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
        return [*found, *self._corner(middle(scores.window), scores.p)]

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
