"""Window scores as curves over time, a curve a label, and the stretches in which they are high.

What a window says holds at its middle; between two middles a curve is a straight line, and before
the first and after the last it is level, out to where the first window starts and the last one
ends.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from marey.types import Scores

P = NDArray[np.float32]

Stretch = tuple[int, float, float, float]
"""Label, start, end, highest score."""

SLACK = 1e-9
"""Seconds by which sums of floats that should be equal may differ."""


def smoothed(scores: Iterable[Scores], seconds: float) -> Iterator[Scores]:
    """Each window's scores averaged with its neighbours', by how far apart their middles are.

    The weight falls in a straight line from one to nothing at `seconds`.
    """
    if not seconds:
        yield from scores
        return
    near: deque[Scores] = deque()
    place = 0  # in `near`, of the next window to be averaged
    for last in chain(scores, (None,)):
        if last is not None:
            near.append(last)
        reach = np.inf if last is None else last.window.middle - seconds
        while place < len(near) and near[place].window.middle <= reach:
            window = near[place].window
            while near[0].window.middle <= window.middle - seconds:
                near.popleft()
                place -= 1
            yield Scores(window, _weighted(near, window.middle, seconds))
            place += 1


def _weighted(near: Iterable[Scores], centre: float, seconds: float) -> P:
    apart = np.array([abs(scores.window.middle - centre) for scores in near])
    weights = np.maximum(0, 1 - apart / seconds)
    p = np.stack([scores.p for scores in near])
    return np.asarray(weights @ p / weights.sum(), np.float32)


class Curves:
    """The stretches of K curves at or above `stay` that reach `enter`, corner by corner.

    Those of a label no more than `gap` seconds apart are one.
    """

    def __init__(self, enter: P, stay: P, gap: float) -> None:
        labels = len(enter)
        self._enter, self._stay, self._gap = enter, stay, gap
        self._begun, self._top = np.zeros(labels), np.zeros(labels, np.float32)
        self._was = np.zeros(labels, bool)
        # Those over, which wait for another to follow within `gap`.
        self._start, self._end = np.zeros(labels), np.zeros(labels)
        self._best = np.zeros(labels, np.float32)
        self._waiting = np.zeros(labels, bool)
        self._before: float = 0.0
        self._p_before: P = np.zeros(labels, np.float32)

    def corner(self, time: float, p: P) -> list[Stretch]:
        """The curves go straight to `p` (K) at `time`: the stretches that are certain by then."""
        over = p >= self._stay
        crossing = self._crossing(time, p)
        begun = np.where(over & ~self._was, crossing, self._begun)
        top = np.where(self._was, self._top, -1)
        top = np.where(over, np.maximum(top, p), top)
        done = self._was & ~over & (top >= self._enter)
        pause = np.where(over | done, begun, time) - self._end
        certain = self._waiting & (pause > self._gap + SLACK)
        found = self._held(certain)
        waiting = self._waiting & ~certain
        self._start = np.where(done & ~waiting, begun, self._start)
        best = np.where(waiting, np.maximum(self._best, top), top)
        self._best = np.where(done, best, self._best)
        self._end = np.where(done, crossing, self._end)
        self._waiting = waiting | done
        self._begun, self._top = begun, top
        self._before, self._p_before, self._was = time, p, over
        return found

    def under_way(self) -> list[Stretch]:
        """Those that are not certain yet, up to the last corner."""
        found = {stretch[0]: stretch for stretch in self._held(self._waiting)}
        for k in self.high():
            start, best = (found[k][1], found[k][3]) if k in found else (self._begun[k], -1)
            found[k] = (k, float(start), self._before, float(max(best, self._top[k])))
        return list(found.values())

    def high(self) -> list[int]:
        """The labels whose curves are in a stretch that has reached `enter`."""
        return [int(k) for k in np.flatnonzero(self._was & (self._top >= self._enter))]

    def _held(self, which: NDArray[np.bool_]) -> list[Stretch]:
        return [
            (int(k), float(self._start[k]), float(self._end[k]), float(self._best[k]))
            for k in np.flatnonzero(which)
        ]

    def _crossing(self, time: float, p: P) -> NDArray[np.float64]:
        """When the lines from the last corner to this one are at `stay`, where they cross it."""
        low = self._p_before.astype(np.float64)  # float32 is too coarse for times
        with np.errstate(divide="ignore", invalid="ignore"):
            share = (self._stay - low) / (p - low)
            return np.asarray(self._before + (time - self._before) * share)
