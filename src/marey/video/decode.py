"""One pass over a video stream: packets in, frames with exact times out, whatever the damage."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from heapq import heappop, heappush
from typing import Literal, NamedTuple

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from marey.video.container import UNSEEKABLE, choose_stream, open_container
from marey.video.limits import Limits
from marey.video.losses import Losses

# A seek empties the decoder's pipeline of threads and reordered frames, and decodes a key frame. It
# must spare at least this many frames to pay.
_SEEK_SPARES = 16
# Without an index the next key frame may be anywhere: seconds ahead from which to jump blindly.
_BLIND_JUMP = 4.0
# Seconds without a frame, unannounced by the frame before, that look like a loss.
_HOLE = 1

Decode = Literal["all", "references", "keys"]
"""Which frames are decoded: all, those that others are predicted from, those that stand alone."""

_SKIP: dict[Decode, Literal["DEFAULT", "NONREF", "NONKEY"]] = {
    "all": "DEFAULT",
    "references": "NONREF",
    "keys": "NONKEY",
}


@dataclass(slots=True)
class Counts:
    """What reading a video has cost so far, over all passes; `skipped` was passed over as asked."""

    decoded: int = 0
    converted: int = 0
    seeks: int = 0
    skipped: int = 0


class Decoded(NamedTuple):
    """A frame as the decoder left it: shown from `time` on, for `shown` seconds if none follows."""

    frame: VideoFrame
    time: Fraction
    shown: Fraction


class Decoder:
    """The frames of one video stream in presentation order, their times strictly increasing.

    Damage costs the frames it hits and is counted in `losses`; a limit exceeded raises VideoError.
    `whole`: no frame is passed over on purpose.
    """

    def __init__(
        self,
        path: str,
        limits: Limits,
        losses: Losses,
        counts: Counts,
        *,
        start: float | None = None,
        threads: int = 0,
        decode: Decode = "all",
    ) -> None:
        self._skip, self.whole = _SKIP[decode], decode == "all"
        self._path, self._limits, self._losses = path, limits, losses
        self._counts, self._start, self._threads = counts, start, threads
        self.lost = losses.begin()
        self.sought = self.closed = False
        self._blind = _BLIND_JUMP
        self._open()
        self._seekable = self.container.format.name not in UNSEEKABLE

    def _open(self) -> None:
        self.container = open_container(self._path, self._limits)
        try:
            self.stream: VideoStream = choose_stream(self._path, self.container, self._losses)
            context = self.stream.codec_context
            context.options = self._limits.decoder_options
            context.thread_type = "AUTO"
            context.thread_count = self._threads
            context.skip_frame = self._skip
        except BaseException:
            self.container.close()
            raise
        self.base = self.stream.time_base or Fraction(1, 90_000)
        # AVI holds no presentation times. What FFmpeg guesses runs back and forth with B-frames;
        # the time of the packet that pushed a frame out of the decoder is exact and regular.
        self._by_dts = self.container.format.name == "avi"
        self._step = 1 / (sane_rate(self.stream.average_rate) or Fraction(25))
        self.given = 0
        self._begin(landing=False)

    def _begin(self, *, landing: bool) -> None:
        self._fed: Fraction | None = None
        self._last: Fraction | None = None
        self._expected: Fraction | None = None
        self._key: Fraction | None = None
        self._due: list[int] = []
        self._frames = self._accepted(self._pictures(self._packets(landing)), landing)

    def close(self) -> None:
        """Give the file back; reading ends."""
        self.closed = True
        self._frames = iter(())
        self.container.close()

    def read(self) -> Decoded | None:
        """The next frame, None at the end."""
        return next(self._frames, None)

    def pays(self, time: float) -> bool:
        """Whether `seek(time)` spares decoding: by the container's index, or by a guess without."""
        index = self.stream.index_entries
        first = index[0].timestamp * self.base if len(index) else Fraction(0)
        fed = first if self._fed is None else self._fed
        spared = _SEEK_SPARES * self._step
        if not self._seekable or time - fed <= spared:
            return False
        wanted = math.floor(time / self.base)
        found = index.search_timestamp(wanted)
        if found >= 0 and index[found].timestamp * self.base - fed > spared:
            return True
        reaches = len(index) > 0 and index[len(index) - 1].timestamp >= wanted
        return not reaches and time - fed > self._blind

    def seek(self, time: float) -> Decoded | None:
        """Go on at a key frame before `time`: the frame there, never one shown only after `time`.

        Containers find key frames by decoding time, or land anywhere: where the first frame is too
        late, try further back, and where that fails, from the beginning.
        """
        start = float((self.stream.start_time or 0) * self.base)
        fed, back = self._fed, 0.0
        self.sought = True
        while self._seekable and time - back > start:
            self._counts.seeks += 1
            frame = self._land(time - back)
            if frame is not None and float(frame.time) <= time:
                if fed is not None and self._key is not None and self._key <= fed:
                    self._blind *= 2  # decoded twice what was behind us already: jump less readily
                return frame
            back = max(1.0, 2 * back)
        self._seekable = False
        self.container.close()
        self._open()
        return self.read()

    def _land(self, time: float) -> Decoded | None:
        try:
            self.container.seek(math.floor(time / self.base), stream=self.stream)
        except av.FFmpegError:
            return None
        self._begin(landing=True)
        return self.read()

    def _packets(self, landing: bool) -> Iterator[Packet[VideoStream]]:
        """The stream's packets, after a seek from the first key frame on; reads on past damage."""
        moved = True
        while moved:
            moved = False
            try:
                for packet in self.container.demux(self.stream):
                    if packet.size == 0 and packet.dts is None:
                        # The mark of the end; _pictures flushes. What PyAV does next would fail
                        # where damage has made a stream appear that was not there at first.
                        return
                    if packet.size == 0:
                        continue
                    moved = True
                    stamp = packet.pts if packet.dts is None or landing else packet.dts
                    if landing:
                        if not packet.is_keyframe:
                            continue
                        landing = False
                        self._key = None if stamp is None else stamp * self.base
                    if stamp is not None:
                        self._fed = stamp * self.base
                        if not self.whole:
                            heappush(self._due, stamp if packet.pts is None else packet.pts)
                    yield packet
                return
            except av.FFmpegError:
                self.lost["places where the file could not be read"] += 1

    def _pictures(self, packets: Iterator[Packet[VideoStream]]) -> Iterator[VideoFrame]:
        """Whatever the decoder makes of the packets, then what it still holds."""
        for packet in packets:
            yield from self._decode(packet)
        yield from self._decode(None)

    def _decode(self, packet: Packet[VideoStream] | None) -> list[VideoFrame]:
        try:
            return self.stream.codec_context.decode(packet)
        except av.FFmpegError:
            self.lost["packets that could not be decoded"] += 1
            return []

    def _accepted(self, frames: Iterator[VideoFrame], landing: bool) -> Iterator[Decoded]:
        """The frames fit for use, with their times."""
        for frame in frames:
            self._counts.decoded += 1
            self.given += 1
            time = self._time(frame)
            self._check(frame, time)
            if landing and not frame.key_frame:
                # Frames shown before the key frame may refer to frames never decoded. Where the
                # packet promised a key frame and none comes (intra refresh), none can be trusted.
                if self._key is not None and time >= self._key:
                    self._seekable = False
                    return
                continue
            if frame.is_corrupt:
                self.lost["damaged frames skipped"] += 1
                continue
            if self._last is not None and time <= self._last:
                self.lost["frames skipped because their time runs backwards"] += 1
                continue
            shown = self._shown(frame)
            self._count_skipped(time)
            if self.whole and self._expected is not None and time - self._expected > _HOLE:
                self._losses.gap(float(self._expected), float(time), self.lost)
            landing = False
            self._last, self._expected = time, time + shown
            yield Decoded(frame, time, shown)
        self._counts.skipped += len(self._due)
        self._due.clear()

    def _count_skipped(self, time: Fraction) -> None:
        """Of the packets due by now one became this frame, all others were passed over."""
        due = 0
        while self._due and self._due[0] * self.base <= time:
            heappop(self._due)
            due += 1
        self._counts.skipped += max(0, due - 1)

    def _time(self, frame: VideoFrame) -> Fraction:
        first, second = (frame.dts, frame.pts) if self._by_dts else (frame.pts, frame.dts)
        stamp = second if first is None and self._last is None else first
        if stamp is not None:
            return stamp * self.base
        if not self._by_dts:  # AVI names no time for the frames left at the end, and is regular
            self.lost["frames without a time, placed one interval after the frame before"] += 1
        return Fraction(0) if self._last is None else self._last + self._shown(frame)

    def _shown(self, frame: VideoFrame) -> Fraction:
        return frame.duration * self.base if frame.duration > 0 else self._step

    def _check(self, frame: VideoFrame, time: Fraction) -> None:
        check, path = self._limits.check, self._path
        size = f"has a frame of {frame.width}x{frame.height} pixels"
        check(path, "pixels", frame.width * frame.height, size)
        check(path, "frames", self.given, f"has {self.given:,} frames or more")
        if self._start is not None:
            late = float(time) - self._start
            check(path, "seconds", late, f"has a frame {late:,.0f} seconds after the first")


def sane_rate(rate: Fraction | None) -> Fraction | None:
    """The frame rate if a camera or an animator could have meant it, else None."""
    return rate if rate is not None and Fraction(1, 100) <= rate <= 1000 else None
