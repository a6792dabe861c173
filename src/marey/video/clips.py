"""From a plan of windows to clips: one pass over the video, each frame converted once."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from marey.types import Clip, Frame, Interpolation, Video, Window
from marey.video.windows import Picks

Plan = Iterable[tuple[Window, Picks]]


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
    schedule = _Schedule(plan)
    for frame in reader.frames(times=schedule, size=size, interpolation=interpolation):
        schedule.deliver(frame)
        yield from schedule.finished(reader)
    yield from schedule.rest(reader)


@dataclass(slots=True)
class _Pending:
    """A clip being gathered: a slot for each frame, and how many are still to come."""

    window: Window
    picks: Picks
    slots: list[Frame | None]
    missing: int

    def clip(self, filled: int = 0) -> Clip:
        frames = [frame for frame in self.slots if frame is not None]
        return Clip(
            window=self.window,
            frames=np.stack([frame.image for frame in frames]),
            times=tuple(frame.time for frame in frames),
            padded=self.picks.padded + filled,
        )


class _Schedule:
    """The moments of all windows, merged in order of time; frames come back in the same order."""

    def __init__(self, plan: Plan) -> None:
        self._plan = iter(plan)
        self._ahead = next(self._plan, None)
        self._held: deque[_Pending] = deque()
        self._wanted: list[tuple[float, int, int, _Pending]] = []
        self._asked: deque[tuple[_Pending, int]] = deque()
        self._drawn = 0
        self._since = -math.inf

    def __iter__(self) -> Iterator[float]:
        while True:
            # A window that begins later has no moment earlier than its beginning.
            while self._ahead and (not self._wanted or self._ahead[0].start <= self._wanted[0][0]):
                self._draw(*self._ahead)
                self._ahead = next(self._plan, None)
            if not self._wanted:
                return
            time, _, slot, pending = heapq.heappop(self._wanted)
            self._asked.append((pending, slot))
            yield time

    def _draw(self, window: Window, picks: Picks) -> None:
        if window.start < self._since:
            raise ValueError(f"a plan must not go back, got {window.start} after {self._since} s")
        self._since = window.start
        pending = _Pending(window, picks, [None] * len(picks.times), len(picks.times))
        self._held.append(pending)
        self._drawn += 1
        for slot, time in enumerate(picks.times):
            heapq.heappush(self._wanted, (time, self._drawn, slot, pending))

    def deliver(self, frame: Frame) -> None:
        pending, slot = self._asked.popleft()
        pending.slots[slot] = frame
        pending.missing -= 1

    def finished(self, reader: Shown) -> Iterator[Clip]:
        while self._held and self._held[0].missing == 0:
            pending = self._held.popleft()
            if pending.picks.padded:
                reader.lose("frames repeated for want of others", pending.picks.padded)
            yield pending.clip()

    def rest(self, reader: Shown) -> Iterator[Clip]:
        """The clips that the end of the video caught: filled up, or dropped if it has nothing."""
        dropped = 0
        while self._held:
            pending = self._held.popleft()
            if pending.missing == len(pending.slots):
                dropped += 1
                continue
            if pending.missing:
                reader.lose("frames past the end filled with the last one", pending.missing)
            yield _filled(pending)
        end = reader.video.end
        while self._ahead and end is not None and self._ahead[0].start < end:
            dropped += 1
            self._ahead = next(self._plan, None)
        if dropped:
            reader.lose("windows past the end dropped", dropped)


def _filled(pending: _Pending) -> Clip:
    missing = pending.missing
    last = max((f for f in pending.slots if f is not None), key=lambda frame: frame.time)
    pending.slots = [frame or last for frame in pending.slots]
    return pending.clip(filled=missing)
