"""One connection to a source: its packets, and the frames that they become, until it breaks off."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Protocol

import av
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from marey.types import Video
from marey.video.clock import Clock
from marey.video.container import choose_stream
from marey.video.decode import Counts, Decoded, Decoder, sane_rate
from marey.video.limits import Limits
from marey.video.losses import Losses
from marey.video.probe import probe
from marey.video.sources import SILENT_SECONDS, Source, connect

# Of streams in these containers only the arrival tells when a frame was taken.
_BY_ARRIVAL = ("mpjpeg",)
# A clock that leaps further than this was set anew, or belongs to another recording.
_LEAP = 5.0
_TICK = Fraction(1, 90_000)


class See(Protocol):
    """Is shown each packet, its time, and whether it was waited for: then none waits behind it.

    Says whether it is to be decoded.
    """

    def __call__(self, packet: Packet[VideoStream], time: Fraction, waited: bool, /) -> bool: ...


class Connection(Protocol):
    """`stream` and `video` say what comes; `finite` that it has an end, which is no loss.

    `why` is set where `frames` end: what broke off.
    """

    video: Video
    stream: VideoStream
    finite: bool
    why: str

    def frames(self) -> Iterator[Decoded]: ...

    def losses(self) -> list[str]:
        """What is odd or was lost, in words."""
        ...

    def close(self) -> None: ...


def open_connection(
    source: Source, limits: Limits, clock: Clock, see: See, start: Callable[[], Fraction]
) -> Connection:
    """Connect; VideoError where that fails.

    The times of a camera or stream go on from what `start` says when the first packet comes.
    """
    if source.kind == "file":
        return FileConnection(source, limits, see)
    return LiveConnection(source, limits, clock, see, start)


class FileConnection(Decoder):
    """A file, decoded as everywhere in marey, its packets shown."""

    finite = True
    why = ""

    def __init__(self, source: Source, limits: Limits, see: See) -> None:
        self._see = see
        self._ledger = Losses()
        self.video, _ = probe(source.address, limits, self._ledger)
        super().__init__(
            source.address, limits, self._ledger, Counts(), start=self.video.start, threads=0
        )

    def frames(self) -> Iterator[Decoded]:
        return iter(self.read, None)

    def losses(self) -> list[str]:
        return self._ledger.words()

    def _packets(self, landing: bool) -> Iterator[Packet[VideoStream]]:
        for packet in super()._packets(landing):
            stamp = packet.pts if packet.dts is None else packet.dts
            if stamp is None or self._see(packet, stamp * self.base, False):
                yield packet


class LiveConnection:
    """A camera or a stream; frames come when they come, and are given without delay."""

    def __init__(
        self,
        source: Source,
        limits: Limits,
        clock: Clock,
        see: See,
        start: Callable[[], Fraction],
    ) -> None:
        self._limits, self._clock, self._see, self._start = limits, clock, see, start
        self._name, self._ledger, self.why = source.name, Losses(), ""
        self._lost = self._ledger.begin()
        self._container = connect(source, limits)
        try:
            self.stream = choose_stream(source.name, self._container, self._ledger)
        except BaseException:
            self._container.close()
            raise
        context = self.stream.codec_context
        context.options = limits.decoder_options
        context.thread_type = "SLICE"  # threads that share out frames hold as many of them back
        self._base = self.stream.time_base or _TICK
        stated = sane_rate(self.stream.average_rate) or sane_rate(self.stream.guessed_rate)
        self._step = 1 / (stated or Fraction(25))
        self.finite = source.kind == "http" and (self._container.duration or 0) > 0
        self._by_arrival = self._container.format.name in _BY_ARRIVAL
        self._shift: Fraction | None = None  # from the stream's own times to ours
        self._before: tuple[Fraction, float] | None = None
        self._last: Fraction | None = None
        self.video = Video(
            path=source.name,
            container=self._container.format.name,
            codec=context.codec.canonical_name,
            width=self.stream.width,
            height=self.stream.height,
            fps=stated,
            start=0.0,
            end=None,
            frames=None,
        )

    def losses(self) -> list[str]:
        return self._ledger.words()

    def close(self) -> None:
        self._container.close()

    def frames(self) -> Iterator[Decoded]:
        for packet, waited in self._packets():
            now = self._clock.now()
            time = self._stamped(packet, now)
            if time is None:
                yield from self._decoded(packet)
                continue
            if self._leaps(time, now):
                self.why = "its clock leapt"
                return
            if self._see(packet, time, waited):
                yield from self._decoded(packet)
        yield from self._decoded(None)

    def _packets(self) -> Iterator[tuple[Packet[VideoStream], bool]]:
        """All packets, and whether each was waited for; reads on past damage while any come."""
        moved = True
        while moved:
            moved = False
            asked = self._clock.now()
            try:
                for packet in self._container.demux(self.stream):
                    if not packet.size and packet.dts is None:
                        break  # the mark of the end; what PyAV does next fails for new streams
                    if packet.size:
                        moved = True
                        yield packet, self._clock.now() - asked > self._step / 2
                    asked = self._clock.now()
                self.why = "it ended"
                return
            except av.error.ExitError:
                self.why = f"nothing came for {SILENT_SECONDS:g} s"
                return
            except av.error.InvalidDataError:
                self._lost["places that could not be read"] += 1
            except av.FFmpegError as error:
                self.why = error.strerror or "it broke off"
                return
        self.why = "nothing in it can be read"

    def _stamped(self, packet: Packet[VideoStream], now: float) -> Fraction | None:
        """The packet's time on our own time line, None if nothing tells."""
        stamp = packet.pts if packet.dts is None else packet.dts
        if self._by_arrival:
            stamp = round(Fraction(now) / self._base)
        if stamp is None:
            return None
        if self._shift is None:
            first = stamp if packet.pts is None or self._by_arrival else packet.pts
            self._shift = self._start() - first * self._base
        return stamp * self._base + self._shift

    def _leaps(self, time: Fraction, now: float) -> bool:
        """Whether `time` runs back, or further ahead than time has passed."""
        before, self._before = self._before, (time, now)
        if before is None or self.finite:
            return False
        ahead = float(time - before[0])
        return ahead < -_LEAP or ahead > now - before[1] + _LEAP

    def _decoded(self, packet: Packet[VideoStream] | None) -> Iterator[Decoded]:
        try:
            frames = self.stream.codec_context.decode(packet)
        except av.FFmpegError:
            self._lost["packets that could not be decoded"] += 1
            return
        for frame in frames:
            pixels = f"has a frame of {frame.width}x{frame.height} pixels"
            self._limits.check(self._name, "pixels", frame.width * frame.height, pixels)
            if frame.is_corrupt:
                self._lost["damaged frames skipped"] += 1
                continue
            time, shown = self._time(frame), frame.duration * self._base or self._step
            if self._last is not None and time <= self._last:
                self._lost["frames skipped because their time runs backwards"] += 1
                continue
            self._last = time
            yield Decoded(frame, time, shown)

    def _time(self, frame: VideoFrame) -> Fraction:
        if self._by_arrival and self._before is not None:
            arrived = self._before[0]
            return arrived if self._last is None else max(arrived, self._last + _TICK)
        stamp = frame.dts if frame.pts is None else frame.pts
        if stamp is not None and self._shift is not None:
            return stamp * self._base + self._shift
        return self._start() if self._last is None else self._last + self._step
