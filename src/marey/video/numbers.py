"""Frame numbers, for formats that know nothing of time: 1 is the first frame."""

from __future__ import annotations

from collections.abc import Iterable

from marey.types import Video

_NEAR = 0.25  # of a frame's time: so far a time may lie from its place at a constant rate


class Numbers:
    """Tells the number of each frame of a video, in their order.

    While all frames so far lie where a constant rate has them, a number is a place at that rate, so
    that lost frames are counted; from the first one on that does not, frames are counted as they
    come.
    """

    def __init__(self, video: Video) -> None:
        self._start, self._fps = video.start, video.fps
        self._last = 0

    def next(self, time: float) -> int:
        """The number of the frame at `time`."""
        place = self._place(time)
        if place is None or place <= self._last:
            self._fps = None
            place = self._last + 1
        self._last = place
        return place

    def all(self, times: Iterable[float]) -> list[int] | None:
        """The numbers of some of the frames; None if only all of them could tell."""
        places = [self._place(time) for time in times]
        found = [place for place in places if place is not None]
        return found if len(set(found)) == len(places) else None

    def _place(self, time: float) -> int | None:
        if self._fps is None:
            return None
        exact = (time - self._start) * float(self._fps)
        place = round(exact)
        return place + 1 if abs(exact - place) <= _NEAR else None
