"""From a plan of windows to clips: one pass over the video, each frame converted once."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

import numpy as np

from marey.types import Clip, Frame, Interpolation, Video, Window
from marey.video.windows import Picks

Plan = Iterable[tuple[Window, Picks]]
K = TypeVar("K")


class Shown(Protocol):
    """Video that is shown at times: a `Reader`, or a stretch of a live source."""

    @property
    def video(self) -> Video: ...

    def frames(
        self,
        *,
        times: Iterable[float],
        size: tuple[int, int] | int | None,
        interpolation: Interpolation,
    ) -> Iterator[Frame]: ...

    def lose(self, what: str, count: int = 1) -> None: ...


def clips(
    reader: Shown,
    plan: Plan,
    *,
    size: tuple[int, int] | int | None = None,
    interpolation: Interpolation = "bilinear",
) -> Iterator[Clip]:
    """The clips of a plan, in its order; windows come with start times that do not decrease.

    Overlapping windows share frames, and only windows that overlap are held. The plan is drawn as
    needed and may be endless. Frames that a window is too short to give are repeated, and where the
    video ends before its plan those missing from a clip are filled with its last one; `Clip.padded`
    counts both. Windows without any frame are dropped. All of it stands in the reader's warnings.
    """
    schedule: Schedule[Frame] = Schedule(plan)
    for frame in reader.frames(times=schedule, size=size, interpolation=interpolation):
        schedule.deliver(frame)
        for gathered in schedule.finished():
            if gathered.picks.padded:
                reader.lose("frames repeated for want of others", gathered.picks.padded)
            yield _clip(gathered)
    yield from _rest(schedule, reader)


@dataclass(slots=True)
class Gathered(Generic[K]):
    """A window, and what its moments have got: a slot each, and how many are still to come."""

    window: Window
    picks: Picks
    slots: list[K | None]
    missing: int


class Schedule(Generic[K]):
    """The moments of all windows, merged in order of time; what they get comes in the same order.

    Windows are drawn when their first moment may be the next one, and held until they are full.
    """

    def __init__(self, plan: Plan) -> None:
        self._plan = iter(plan)
        self._ahead = next(self._plan, None)
        self._held: deque[Gathered[K]] = deque()
        self._wanted: list[tuple[float, int, int, Gathered[K]]] = []
        self._asked: deque[tuple[Gathered[K], int]] = deque()
        self._drawn = 0
        self._last = -math.inf

    def __iter__(self) -> Iterator[float]:
        while True:
            # A window that begins later has no moment earlier than its beginning.
            while self._ahead and (not self._wanted or self._ahead[0].start <= self._wanted[0][0]):
                self._draw(*self._ahead)
                self._ahead = next(self._plan, None)
            if not self._wanted:
                return
            time, _, slot, gathered = heapq.heappop(self._wanted)
            self._asked.append((gathered, slot))
            yield time

    def _draw(self, window: Window, picks: Picks) -> None:
        if window.start < self._last:
            raise ValueError(f"a plan must not go back, got {window.start} after {self._last} s")
        self._last = window.start
        gathered: Gathered[K] = Gathered(window, picks, [None] * len(picks.times), len(picks.times))
        self._held.append(gathered)
        self._drawn += 1
        for slot, time in enumerate(picks.times):
            heapq.heappush(self._wanted, (time, self._drawn, slot, gathered))

    @property
    def since(self) -> float:
        """Seconds: no window that is still to come starts earlier."""
        if self._held:
            return self._held[0].window.start
        return self._ahead[0].start if self._ahead else math.inf

    def deliver(self, got: K) -> None:
        """For the earliest moment that has been asked for and got nothing yet."""
        gathered, slot = self._asked.popleft()
        gathered.slots[slot] = got
        gathered.missing -= 1

    def finished(self, by: float = math.inf) -> Iterator[Gathered[K]]:
        """The full windows that come next and end `by` then."""
        while self._held and not self._held[0].missing and self._held[0].window.end <= by:
            yield self._held.popleft()

    def rest(self) -> Iterator[Gathered[K]]:
        """Those that have been begun, as far as they are filled; nothing more is delivered."""
        while self._held:
            yield self._held.popleft()

    def left(self, end: float) -> int:
        """How many windows before `end` have not been begun; they are taken from the plan."""
        count = 0
        while self._ahead and self._ahead[0].start < end:
            count += 1
            self._ahead = next(self._plan, None)
        return count


def _clip(gathered: Gathered[Frame], filled: int = 0) -> Clip:
    frames = [frame for frame in gathered.slots if frame is not None]
    return Clip(
        window=gathered.window,
        frames=np.stack([frame.image for frame in frames]),
        times=tuple(frame.time for frame in frames),
        padded=gathered.picks.padded + filled,
    )


def _rest(schedule: Schedule[Frame], reader: Shown) -> Iterator[Clip]:
    """The clips that the end of the video caught: filled up, or dropped if it has nothing."""
    dropped = 0
    for gathered in schedule.rest():
        if gathered.missing == len(gathered.slots):
            dropped += 1
            continue
        if gathered.missing:
            reader.lose("frames past the end filled with the last one", gathered.missing)
        yield _filled(gathered)
    if reader.video.end is not None:
        dropped += schedule.left(reader.video.end)
    if dropped:
        reader.lose("windows past the end dropped", dropped)


def _filled(gathered: Gathered[Frame]) -> Clip:
    missing = gathered.missing
    last = max((f for f in gathered.slots if f is not None), key=lambda frame: frame.time)
    gathered.slots = [frame or last for frame in gathered.slots]
    return _clip(gathered, filled=missing)
