"""Frames as they come: a source read without an end, whatever happens to it.

    for stretch in LiveReader(find_source(0), ...).stretches():
        for frame in stretch.frames(times=...):

A source is cut into stretches: frames that follow each other at one rate with nothing missing. Each
is read as a video is (`video/clips.py` makes its clips); where one ends, something broke off or the
frame rate changed. Times are a file's own; a camera or stream counts seconds from its first frame
on, also through the time that it is away.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from threading import Event
from typing import Protocol

from av.packet import Packet
from av.video.stream import VideoStream

from marey.errors import VideoError
from marey.types import Video
from marey.video._connection import Connection, open_connection
from marey.video._stretch import USUAL, Stretch
from marey.video.clock import Clock, Rate, Timetable
from marey.video.decode import Decoded
from marey.video.limits import Limits
from marey.video.sources import Source

# Seconds behind from which decoding everything is given up: on to the next key frame that is not.
_BEHIND = 2.0
# A hole of this many seconds, and of as many frames, ends a stretch.
_HOLE, _HOLE_FRAMES = 1.0, 8
# Seconds between attempts to connect again: the first of them, and the longest.
_SOON, _SELDOM = 1.0, 30.0


class Tap(Protocol):
    """Who keeps the packets; called by the thread that reads."""

    def connected(self, stream: VideoStream) -> None: ...

    def packet(self, packet: Packet[VideoStream], time: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Manner:
    """How a source is read.

    `fast`: if it is a file, as fast as it is asked for, not in real time. `keep_up`: frames may be
    left out to stay punctual. `patience`: seconds for which a source that is away is tried again.
    """

    fast: bool = False
    keep_up: bool = True
    patience: float = 300.0
    limits: Limits = field(default_factory=Limits)


class LiveReader:
    """Reads `source` until it ends or `stop` is set; `crop` (H W) is cut from the middle of frames.

    `tell` gets, in words, whatever a person should know, when it happens; `gap` is called where
    something is missing. `read` counts frames, those included that were passed over undecoded for
    being late, which are `discarded`. To be read by one thread; any may look at the counts.
    """

    def __init__(
        self,
        source: Source,
        crop: tuple[int, int],
        *,
        manner: Manner,
        clock: Clock,
        stop: Event,
        tell: Callable[[str], None],
        gap: Callable[[], None],
        tap: Tap | None = None,
    ) -> None:
        self.source, self.crop = source, crop
        self.read = self.discarded = self.reconnects = 0
        self.pixel_aspect: Fraction | None = None
        self._manner, self._clock, self._stop = manner, clock, stop
        self._tell, self._gap, self._tap = tell, gap, tap
        self._video: Video
        self._rate = Rate()
        self._began: float | None = None
        self._given_up: VideoError | None = None  # raised when what came before is done with
        self._first: Decoded | None = None
        self._last: Decoded | None = None
        self._coded: tuple[int, int] | None = None
        self._table = Timetable(0.0, clock.now())
        self._broken = self._late = False
        self._paced = self._hurried = False  # by us, in real time; read as fast as asked for
        self._skipped = False  # the decoder may still hold frames from before what was passed over
        self._fresh = True  # nothing has come of this connection yet

    @property
    def fps(self) -> float | None:
        """Frames a second, measured over the last two seconds."""
        return self._rate.fps

    @property
    def broken(self) -> bool:
        """Whether more follows the stretch that has ended."""
        return self._first is not None

    @property
    def as_it_is(self) -> bool:
        """A file of which all is wanted is not cut, as it would not be for `classify`."""
        return self.source.kind == "file" and not self._manner.keep_up

    def due(self, time: float) -> float:
        """When on this machine's clock the frame of `time` should have been here.

        Of a file that is read as fast as asked for, now.
        """
        return self._clock.now() if self._hurried else self._table.due(time)

    def stretches(self) -> Generator[Stretch]:
        """One after another, each to be read before the next; what is left of one is thrown away.

        Raises VideoError if the source cannot be opened, or is lost for good.
        """
        with closing(self._frames()) as self._source:
            self._first = self._next()
            while self._first is not None:
                first, self._first, self._broken = self._first, None, False
                yield Stretch(self, replace(self._video, start=float(first.time)), first)
                while self.next_of_stretch() is not None:
                    pass
        if self._given_up:
            raise self._given_up

    def next_of_stretch(self) -> Decoded | None:
        """The next frame; None where the stretch ends."""
        if self._first is not None:
            return None
        last, decoded = self._last, self._next()
        if decoded is not None and last is not None and self._breaks(last, decoded):
            self._first, decoded = decoded, None
        return decoded

    def _next(self) -> Decoded | None:
        decoded = None if self._stop.is_set() else next(self._source, None)
        if decoded is not None:
            self.read += 1
            self._last = decoded
            self._rate.add(float(decoded.time))
            coded = decoded.frame.height, decoded.frame.width
            if self._coded not in (None, coded):
                self._tell(f"frames are {coded[1]}x{coded[0]} now")
            self._coded = coded
        return decoded

    def _breaks(self, last: Decoded, decoded: Decoded) -> bool:
        if self._broken:
            return True
        if self.as_it_is:
            return False
        rate = self._video.fps or USUAL
        hole = float(decoded.time - last.time)
        if hole > max(_HOLE, _HOLE_FRAMES / float(rate)):
            self._tell(f"nothing came for {hole:.1f} s")
            self._lose_touch()
            return True
        if self._skipped and hole > 1.5 / rate:
            self._skipped = False
            self._rate.clear()
            return True
        measured = self._rate.other_than(rate)
        if measured is None:
            return False
        self._tell(f"{measured:.4g} frames a second now, {float(rate):.4g} before")
        self._video = replace(self._video, fps=Fraction(measured).limit_denominator(1001))
        return True

    def _lose_touch(self) -> None:
        self._broken = True
        self._rate.clear()
        self._gap()

    def _frames(self) -> Generator[Decoded]:
        """All frames of all connections."""
        tries, lost = 0, 0.0
        while not self._stop.is_set():
            try:
                connection = self._connect()
            except VideoError as error:
                if self._began is None:
                    raise
                why = error.what
            else:
                with closing(connection):
                    for decoded in connection.frames():
                        if tries:
                            away = self._clock.now() - lost
                            self._tell(f"is back after {away:.0f} s, at attempt {tries}")
                            tries, self.reconnects = 0, self.reconnects + 1
                        self._pace(float(decoded.time))
                        yield decoded
                    for words in connection.losses():
                        self._tell(words)
                if connection.finite or self._stop.is_set():
                    return
                why = connection.why
            if not tries:
                lost = self._clock.now()
                self._lose_touch()
            if not self._again(why, tries, lost):
                return
            tries += 1

    def _again(self, why: str, tries: int, lost: float) -> bool:
        """Wait for the time of the next attempt to connect; whether it is to be made."""
        delay = min(_SOON * 2**tries, _SELDOM)
        again = self._clock.now() + delay
        if again - lost > self._manner.patience:
            self._given_up = VideoError(
                f"was lost ({why}); gave up after {tries} attempts to connect again",
                where=self.source.name,
                do="Check it, then watch it again.",
            )
            return False
        self._tell(f"was lost ({why}); attempt {tries + 1} to connect again in {delay:g} s")
        self._clock.wait(again, self._stop)
        return True

    def _connect(self) -> Connection:
        manner = self._manner
        connection = open_connection(
            self.source, manner.limits, self._clock, self._see, self._start
        )
        if connection.video.fps is None:
            self._tell(f"states no frame rate; {USUAL} is assumed until it is measured")
        self._video = replace(connection.video, fps=connection.video.fps or USUAL)
        self.pixel_aspect = connection.stream.sample_aspect_ratio
        self._hurried = manner.fast and self.source.kind == "file"
        self._paced = connection.finite and not self._hurried
        self._late, self._fresh = False, True
        if self._tap:
            self._tap.connected(connection.stream)
        return connection

    def _start(self) -> Fraction:
        """Where on the time line of this source a connection begins whose first data is here."""
        now = self._clock.now()
        if self._began is None:
            self._began = now
        start = Fraction(round((now - self._began) * 90_000), 90_000)
        # A stream may have come faster than it was filmed.
        return start if self._last is None else max(start, self._last.time + self._last.shown)

    def _pace(self, time: float) -> None:
        """Hold back a frame that does not come by itself until it is due."""
        if self._paced:
            if self._fresh:
                self._anchor(time)
            self._clock.wait(self.due(time), self._stop)

    def _anchor(self, time: float) -> None:
        self._table = Timetable(time, self._clock.now(), paced=self._paced)
        self._fresh = False

    def _see(self, packet: Packet[VideoStream], exact: Fraction, waited: bool) -> bool:
        """Keep a packet; whether to decode it, which being late forbids."""
        time, now = float(exact), self._clock.now()
        if self._tap:
            self._tap.packet(packet, time)
        if self._fresh and self._paced:
            return True  # its time begins with its first frame
        if self._fresh or (self._late and waited):
            self._anchor(time)  # what was waited for is not late, nor what comes first
        self._table.arrived(time, now)
        late = now - self._table.due(time)
        if late > _BEHIND and self._manner.keep_up and not self._hurried:
            if not self._late:
                self._tell(f"decoding is {late:.1f} s behind; on to the next key frame")
            self._late = self._skipped = True
        elif packet.is_keyframe:
            self._late = False
        self.read += self._late
        self.discarded += self._late
        return not self._late
