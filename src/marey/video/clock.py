"""The time of a source laid on the time of this machine: when was a frame due, how many come?"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from threading import Event

# Two clocks drift apart by seconds a day: what a source's time means here is learnt anew in spans
# of so many seconds.
_MEMORY = 60.0


class Clock:
    """The time of this machine; tests put another in its place."""

    def now(self) -> float:
        """Seconds that never run backwards."""
        return time.monotonic()

    def wall(self) -> float:
        """Seconds since 1970, for a person's calendar."""
        return time.time()

    def wait(self, until: float, stop: Event) -> None:
        """Sleep until `now` is `until`, or `stop` is set."""
        if (seconds := until - self.now()) > 0:
            stop.wait(seconds)


class Timetable:
    """When each moment of a source was due on this machine, from what `arrived` says.

    A source whose frames come by themselves is as punctual as its promptest data of the last minute
    or two: what comes later than that would have it has waited somewhere. One that is `paced` by
    this machine is as punctual as its first frame.
    """

    def __init__(self, time: float, now: float, *, paced: bool = False) -> None:
        self._paced = paced
        self._since, self._before, self._offset = now, math.inf, now - time

    def arrived(self, time: float, now: float) -> None:
        """Data of the source's `time` came in at `now`."""
        if self._paced:
            return
        if now - self._since > _MEMORY:
            self._since, self._before, self._offset = now, self._offset, now - time
        self._offset = min(self._offset, now - time)

    def due(self, time: float) -> float:
        """The `now` at which the frame of `time` should have been here."""
        return time + min(self._offset, self._before)


class Rate:
    """Frames a second, measured by the times of the frames of the last `seconds`."""

    def __init__(self, seconds: float = 2.0, least: int = 8) -> None:
        self._seconds, self._least = seconds, least
        self._times: deque[float] = deque(maxlen=1000)

    def add(self, time: float) -> None:
        self._times.append(time)
        while len(self._times) > self._least and time - self._times[0] > self._seconds:
            self._times.popleft()

    def clear(self) -> None:
        self._times.clear()

    @property
    def fps(self) -> float | None:
        """None until there are frames enough."""
        return _mean(self._times) if len(self._times) >= self._least else None

    def other_than(self, fps: Fraction, tolerance: float = 0.2) -> float | None:
        """The measured rate if it is a steady one that differs from `fps` by more than a part."""
        measured = self.fps
        if measured is None or abs(measured / float(fps) - 1) <= tolerance:
            return None
        times = list(self._times)
        half = len(times) // 2
        before, after = _mean(times[: half + 1]), _mean(times[half:])
        long = times[-1] - times[0] > 0.9 * self._seconds or len(times) == self._times.maxlen
        steady = before and after and abs(before / after - 1) <= tolerance / 2
        return measured if long and steady else None


def _mean(times: Sequence[float]) -> float | None:
    span = times[-1] - times[0]
    return (len(times) - 1) / span if span > 0 else None
