"""Which frame is shown at a time: the decoder is led forwards, by decoding on or by a seek.

Times asked for are floats and compared with frame times as floats, so that `float(frame.time)` asks
for that very frame.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Protocol

from marey.types import Video
from marey.video.decode import Decoded
from marey.video.losses import Losses


class Source(Protocol):
    """What a cursor moves over: a `Decoder`, or a branch of one."""

    @property
    def whole(self) -> bool: ...
    @property
    def given(self) -> int: ...
    @property
    def sought(self) -> bool: ...
    @property
    def closed(self) -> bool: ...

    def read(self) -> Decoded | None: ...
    def pays(self, time: float) -> bool: ...
    def seek(self, time: float) -> Decoded | None: ...


class Cursor:
    """A place in the video that moves forwards: the frame shown there and the one after."""

    def __init__(self, decoder: Source, video: Video, losses: Losses) -> None:
        self._decoder, self._video, self._losses = decoder, video, losses
        self._now: Decoded | None = None
        self._then: Decoded | None = None
        self._end: Fraction | None = None

    def next(self) -> Decoded | None:
        """The next frame, None at the end."""
        decoded, self._then = self._then or self._decoder.read(), None
        if decoded is None:
            self._finish()
        self._now = decoded or self._now
        return decoded

    def at(self, time: float) -> Decoded | None:
        """The frame shown at `time`, None past the end; `time` must not decrease."""
        if self._end is None and (self._then is None or float(self._then.time) <= time):
            self._move(time)
        return None if self._end is not None and time >= float(self._end) else self._now

    def _move(self, time: float) -> None:
        """Decode until the frame held next is one shown only after `time`, or there is none."""
        if self._decoder.pays(time):
            self._then = self._decoder.seek(time)
        elif self._then is None:
            self._then = self._decoder.read()
        while self._then is not None and (self._now is None or float(self._then.time) <= time):
            self._now, self._then = self._then, self._decoder.read()
        if self._then is None:
            self._finish()

    def _finish(self) -> None:
        """Decoding is over: where the last frame's time ends, and what the file promised beyond."""
        decoder, video = self._decoder, self._video
        if self._now is None or decoder.closed:
            self._end = Fraction(video.start)
            return
        self._end = self._now.time + self._now.shown
        promised = Fraction(video.end or 0)
        missing = promised - self._end
        if not decoder.whole:
            self._end = max(self._end, promised)
            return
        if missing > 3 * self._now.shown:
            self._losses.note(
                f"decoding ended at {float(self._end):.2f} s, {float(missing):.2f} s before the end"
            )
        else:
            self._end = max(self._end, promised)  # roundings of the container
        if video.frames not in (None, decoder.given) and not decoder.sought:
            self._losses.note(
                f"the header claims {video.frames} frames, {decoder.given} were decoded"
            )
