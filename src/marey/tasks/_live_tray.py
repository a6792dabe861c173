"""Where a source's clips wait for the network, and what became of every frame."""

from __future__ import annotations

from collections import deque
from fractions import Fraction
from itertools import chain
from threading import Condition, Event
from typing import Literal, NamedTuple

from marey.errors import VideoError
from marey.types import Clip

Policy = Literal["latest", "all", "drop"]
"""When clips come faster than the network looks at them: the newest replaces those that wait, the
source waits, or new ones are left out."""

_POLL = 0.1  # seconds until one who waits looks whether he is still wanted


class Waiting(NamedTuple):
    """A clip, and when on this machine's clock its last frame was due."""

    clip: Clip
    due: float


class Gap:
    """Something of the source is missing here."""


class Over(NamedTuple):
    """The source has ended, well or by an error."""

    error: BaseException | None


class Tray:
    """The clips of one source that wait, at most `most`; `ready` is told of all that happens.

    Every frame that is in a clip ends `used`, if a clip with it was taken, or `dropped`. `waits`
    says whether a source can be held up; `skipped` counts the clips that were not taken.
    """

    def __init__(
        self, policy: Policy, most: int, ready: Condition, stop: Event, *, waits: bool
    ) -> None:
        self.used = self.dropped = self.skipped = 0
        self._policy, self._most, self._waits = policy, most, waits
        self._ready, self._stop = ready, stop
        self._items: deque[Waiting | Gap | Over] = deque()
        self._frames: dict[Fraction, bool] = {}  # by time: was it in a clip that was taken?

    def put(self, clip: Clip, due: float) -> None:
        """Add a clip by the policy.

        Raises VideoError where all are wanted, there is no room, and the source cannot wait.
        """
        with self._ready:
            if self._policy == "all":
                self._wait_for_room()
            for time in clip.times:
                self._frames.setdefault(time, False)
            full = self._count() >= self._most
            if full:
                self.skipped += 1
            if full and self._policy == "latest":
                self._drop_oldest()
            if not full or self._policy == "latest":
                self._items.append(Waiting(clip, due))
            self._settle(clip)
            self._ready.notify_all()

    def leave_out(self, clip: Clip) -> None:
        """Of this clip not all is there: nobody will look at it."""
        with self._ready:
            self.skipped += 1
            for time in clip.times:
                self._frames.setdefault(time, False)
            self._settle(clip)

    def gap(self) -> None:
        """Something is missing between the clips before and those after."""
        with self._ready:
            if not (self._items and isinstance(self._items[-1], Gap)):
                self._items.append(Gap())
            self._ready.notify_all()

    def end(self, error: BaseException | None = None) -> None:
        """No clip will follow."""
        with self._ready:
            self._items.append(Over(error))
            self._ready.notify_all()

    @property
    def waiting(self) -> bool:
        return bool(self._items)

    def take(self, most: int = 1) -> list[Waiting] | Gap | Over | None:
        """Up to `most` clips that follow each other, or what stands before clips, if anything."""
        with self._ready:
            if not self._items or not isinstance(self._items[0], Waiting):
                return self._items.popleft() if self._items else None  # type: ignore[return-value]
            taken: list[Waiting] = []
            while self._items and len(taken) < most and isinstance(self._items[0], Waiting):
                taken.append(self._items.popleft())  # type: ignore[arg-type]
            for time in chain.from_iterable(waiting.clip.times for waiting in taken):
                self._frames[time] = True
            self._ready.notify_all()
            return taken

    def close(self) -> None:
        """Nobody will take anything any more: what still waits is dropped."""
        with self._ready:
            self._items.clear()
            self._settle(None)

    def _wait_for_room(self) -> None:
        """Until there is, or the wish to watch has ended."""
        while self._count() >= self._most and not self._stop.is_set():
            if not self._waits:
                raise VideoError(
                    "more comes than the network can look at, and policy `all` leaves out nothing",
                    do="Take policy `latest`, a longer step or a faster network.",
                )
            self._ready.wait(_POLL)

    def _count(self) -> int:
        return sum(isinstance(item, Waiting) for item in self._items)

    def _drop_oldest(self) -> None:
        for place, item in enumerate(self._items):
            if isinstance(item, Waiting):
                del self._items[place]
                return

    def _settle(self, newest: Clip | None) -> None:
        """Count the frames that no clip holds that waits or comes: all begin after the newest."""
        held = {
            time for item in self._items if isinstance(item, Waiting) for time in item.clip.times
        }
        first = None if newest is None else newest.times[0]
        for time in [t for t in self._frames if (first is None or t < first) and t not in held]:
            if self._frames.pop(time):
                self.used += 1
            else:
                self.dropped += 1
