"""What a file holds, measured: its first frame decoded, its last packets read."""

from __future__ import annotations

from fractions import Fraction

import av
from av.container import InputContainer
from av.stream import Stream
from av.video.stream import VideoStream

from marey.errors import VideoError
from marey.types import Video
from marey.video.container import UNSEEKABLE, open_container, video_streams
from marey.video.decode import Counts, Decoded, Decoder, sane_rate
from marey.video.geometry import Display, display
from marey.video.limits import Limits
from marey.video.losses import Losses

# Containers without a header that states durations; what FFmpeg answers for them is an estimate.
_NO_CLAIMS = ("mpegts", "mpeg")


def probe(path: str, limits: Limits, losses: Losses) -> tuple[Video, Display]:
    """Read the header, decode one frame, find the end; VideoError if there is nothing to show."""
    decoder = Decoder(path, limits, losses, Counts(), threads=1)
    try:
        container, stream = decoder.container, decoder.stream
        size = f"says its frames have {stream.width}x{stream.height} pixels"
        limits.check(path, "pixels", stream.width * stream.height, size)
        first = decoder.read()
        if first is None:
            raise VideoError(
                "holds no frame that can be decoded",
                where=path,
                do="Copy or download it again, or repair it.",
            )
        shown, notes = display(first.frame, stream.sample_aspect_ratio)
        size = f"is displayed at {shown.width}x{shown.height} pixels"
        limits.check(path, "pixels", shown.width * shown.height, size)
        for note in notes:
            losses.note(note)
        end = max(_end(path, container, stream, first.shown, limits), first.time + first.shown)
        duration = end - first.time
        limits.check(path, "seconds", float(duration), f"lasts {float(duration):,.0f} seconds")
        if container.format.name not in _NO_CLAIMS:
            _compare(container, stream, first.time, end, losses)
        video = Video(
            path=path,
            container=container.format.name,
            codec=stream.codec_context.codec.canonical_name,
            width=shown.width,
            height=shown.height,
            fps=_rate(stream, first),
            start=float(first.time),
            end=float(end),
            frames=stream.frames or None,
            rotation=-90 * shown.turns % 360,
            audio=bool(container.streams.audio),
            streams=video_streams(container),
        )
        return video, shown
    finally:
        decoder.close()


def _end(
    path: str, container: InputContainer, stream: VideoStream, shown: Fraction, limits: Limits
) -> Fraction:
    """Seconds at which the last packet ends, by reading from near where the header claims the end.

    A header may claim too much (a file cut short) or name nothing to seek to: then the search goes
    back towards the beginning, at last over all packets. No frame is decoded.
    """
    base = stream.time_base or Fraction(1, 90_000)
    usual = round(shown / base)
    start, claimed = _claimed(container, stream, base)
    span = claimed - start
    seekable = container.format.name not in UNSEEKABLE
    for back in (0, span >> 6, span >> 4, span >> 2) if seekable else ():
        try:
            container.seek(claimed - back, stream=stream)
        except av.FFmpegError:
            break
        if (last := _last_stamp(container, stream, usual)) is not None:
            return last * base
    with open_container(path, limits) as fresh:
        (same,) = fresh.streams.get(stream.index)
        return (_last_stamp(fresh, same, usual) or 0) * base


def _claimed(container: InputContainer, stream: VideoStream, base: Fraction) -> tuple[int, int]:
    start = stream.start_time or 0
    if stream.duration is not None:
        return start, start + stream.duration
    microseconds = container.duration or 0
    return start, start + round(Fraction(microseconds, 1_000_000) / base)


def _last_stamp(container: InputContainer, stream: Stream, usual: int) -> int | None:
    """The latest end of the packets from here to the end of the file; None if there are none.

    A packet that states no duration lasts `usual`.
    """
    last: int | None = None
    try:
        for packet in container.demux(stream):
            stamps = [stamp for stamp in (packet.pts, packet.dts) if stamp is not None]
            if stamps and packet.size and not (packet.is_corrupt or packet.is_discard):
                end = max(stamps) + (packet.duration or usual)
                last = end if last is None else max(last, end)
    except av.FFmpegError:
        pass  # damage: the end is where reading ends; decoding will report it
    return last


def _rate(stream: VideoStream, first: Decoded) -> Fraction | None:
    for rate in (stream.average_rate, stream.guessed_rate, 1 / first.shown):
        if sane_rate(rate):
            return rate
    return None


def _compare(
    container: InputContainer, stream: VideoStream, start: Fraction, end: Fraction, losses: Losses
) -> None:
    """Note where the header claims another duration than was found, in seconds or in frames."""
    rate = sane_rate(stream.average_rate) or Fraction(25)
    claim = max((stream.duration or 0) * (stream.time_base or 0), stream.frames / rate)
    claim = claim or Fraction(container.duration or 0, 1_000_000)
    duration = end - start
    # Some containers count the time before the first frame as well.
    wrong = min(abs(claim - duration), abs(claim - end))
    if claim and wrong > max(2 / rate, duration / 100):
        losses.note(
            f"the header claims {float(claim):.2f} s, the video ends after {float(duration):.2f} s"
        )
