"""Where one thing was seen, and where it is at any time between: a line fitted to what is near.

Detections jitter from frame to frame, by parts of a box; things move steadily. Weighted linear
regression around each moment (Cleveland 1979, "Robust locally weighted regression") takes the
jitter out and leaves no lag behind, at the ends neither.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray


class Trail:
    """Boxes of one thing in order of time."""

    def __init__(self, label: str) -> None:
        self.label, self.end = label, 0.0
        self._times: deque[float] = deque()
        self._rows: deque[NDArray[np.float64]] = deque()

    def add(self, time: float, box: NDArray[np.float32], score: float) -> None:
        """It was seen at `time`, later than before: x1 y1 x2 y2."""
        self._times.append(time)
        self._rows.append(np.array((*box, score), np.float64))
        self.end = time

    def at(self, time: float, smooth: float, keep: float) -> tuple[NDArray[np.float64], float]:
        """The box and the score at `time`, which never decreases.

        Boxes up to `smooth` seconds away count, the less the further away they are; where the
        next ones on both sides are further, twice as far as they, up to `keep` seconds back.
        """
        while len(self._times) > 2 and self._times[0] < time - 2 * keep and self._times[1] <= time:
            self._times.popleft()
            self._rows.popleft()
        times = np.array(self._times)
        rows = np.array(self._rows)
        after = int(np.searchsorted(times, time))
        if times[min(after, len(times) - 1)] == time:
            plain, reach = rows[after], smooth
        else:
            before, wide = after - 1, times[after] - times[after - 1]
            part = (time - times[before]) / wide
            plain = rows[before] + part * (rows[after] - rows[before])
            furthest = max(time - times[before], times[after] - time)
            reach = max(smooth, 2 * furthest) if smooth else 0.0
        box = _fitted(times - time, rows[:, :4], reach) if reach else plain[:4]
        if not (box[2:] > box[:2]).all():
            box = plain[:4]
        return box, float(plain[4])


def _fitted(
    away: NDArray[np.float64], rows: NDArray[np.float64], reach: float
) -> NDArray[np.float64]:
    """The value here of the line through `rows` N D, which lie so far `away` N."""
    weights = np.clip(1 - np.abs(away) / reach, 0, None)
    total, first = weights.sum(), weights @ away
    spread = weights @ away**2 - first**2 / total
    mean = weights @ rows / total
    if spread <= 1e-9 * reach**2:
        return np.asarray(mean)
    slope = (weights * (away - first / total)) @ rows / spread
    return np.asarray(mean - slope * first / total)
