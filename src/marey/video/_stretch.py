"""A stretch of live video: frames that follow each other at one rate, read as a video is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Protocol

from marey.types import Frame, Interpolation, Video, Window
from marey.video.decode import Decoded
from marey.video.geometry import Converter, display
from marey.video.prepare import centre_crop
from marey.video.sources import Source

USUAL = Fraction(25)
"""Frames a second where a source does not say."""


class Feeding(Protocol):
    """What a stretch needs of the `LiveReader` that it is a part of."""

    source: Source
    crop: tuple[int, int]
    pixel_aspect: Fraction | None

    @property
    def broken(self) -> bool: ...

    @property
    def as_it_is(self) -> bool: ...

    def next_of_stretch(self) -> Decoded | None: ...


class Stretch:
    """Frames that follow each other; `video` says their rate, and where it begins.

    To be read like a `Reader`, once, by one thread; `end` is known then.
    """

    def __init__(self, reader: Feeding, video: Video, first: Decoded) -> None:
        self.video, self._reader, self._first = video, reader, first
        self.end: float | None = None
        self._lost: Counter[str] = Counter()
        self._converter: tuple[tuple[int, int], Converter] | None = None

    def lose(self, what: str, count: int = 1) -> None:
        self._lost[what] += count

    def frames(
        self,
        *,
        times: Iterable[float],
        size: tuple[int, int] | int | None = None,
        interpolation: Interpolation = "bilinear",
    ) -> Iterator[Frame]:
        """For each of `times`, which never decrease, the frame shown then, as `Reader.frames`.

        Which frame that is shows when the next one comes. Unless all is wanted it is taken for
        known while its own time lasts: to wait would cost the time of a frame.
        """
        now = self._first
        then: Decoded | None = None
        shown: tuple[Decoded, Frame] | None = None
        for time in times:
            while self.end is None:
                lasts = not self._reader.as_it_is and time < float(now.time + now.shown)
                if then is None and lasts:
                    break
                then = then or self._reader.next_of_stretch()
                if then is None:
                    self.end = self._ended(now)
                elif float(then.time) > time:
                    break
                else:
                    now, then = then, None
            if self.end is not None and time >= self.end:
                return
            if shown is None or shown[0] is not now:
                shown = now, self._frame(now, size, interpolation)
            yield shown[1]

    def complete(self, window: Window) -> bool:
        """Whether all of the window was there, as far as is known."""
        little = 0.5 / float(self.video.fps or USUAL)
        return self.end is None or window.end <= self.end + little

    def lost(self) -> list[str]:
        """What its user met, in words with counts."""
        return [f"{what}: {count}" for what, count in self._lost.items()]

    def _ended(self, last: Decoded) -> float:
        end, promised = float(last.time + last.shown), self.video.end
        rounded = promised is not None and promised - end <= 3 * float(last.shown)
        return max(end, promised or end) if rounded and not self._reader.broken else end

    def _frame(
        self, decoded: Decoded, size: tuple[int, int] | int | None, interpolation: Interpolation
    ) -> Frame:
        frame = decoded.frame
        coded = frame.height, frame.width
        if self._converter is None or self._converter[0] != coded:
            shown, _ = display(frame, self._reader.pixel_aspect)
            name = self._reader.source.name
            self._converter = coded, Converter(shown, size, interpolation, self._lost, name)
        image = self._converter[1](frame)
        return Frame(centre_crop(image[None], self._reader.crop)[0], decoded.time)
