"""The video around events, kept as it came: packets are copied, not decoded and encoded again.

The packets of the last seconds are held, from a key frame on, for what turns out later to have been
worth keeping. A file is written while its event lasts, so that memory does not grow with it. What a
camera gives uncompressed is held as JPEG.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from contextlib import ExitStack, suppress
from fractions import Fraction
from functools import partial
from pathlib import Path
from threading import Lock
from typing import NamedTuple

import av
from av.container import OutputContainer
from av.packet import Packet
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from marey.errors import OutputError
from marey.files import make_folder, whole_file

_CLOCK = Fraction(1, 90_000)
_IN_MP4 = frozenset({"h264", "hevc", "av1", "vp9", "mpeg4"})  # all else goes into Matroska
_QUALITY = 3  # of JPEGs, from 1, the best, to 31
_UNCOMPRESSED = frozenset({"rawvideo", "wrapped_avframe"})


class Kept(NamedTuple):
    """A packet: its data; when it is decoded, how much later it is shown, and for how long."""

    data: bytes
    time: float
    lead: float
    lasts: float
    key: bool


class Recorder:
    """Holds the packets of the last `seconds`, at most `most` bytes, and writes clips of them.

    A clip begins at the last key frame that is not after the time asked for, or with the oldest
    packet held. Several may be under way at once. What cannot be written is told, in words, and the
    others go on. Any thread may call. Raises OutputError where `folder` cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        seconds: float,
        *,
        tell: Callable[[str], None],
        most: int = 2**28,
    ) -> None:
        self._folder = make_folder(folder)
        self._seconds, self._most, self._tell = seconds, most, tell
        self._lock = Lock()
        self._held: deque[Kept] = deque()
        self._keys: deque[Kept] = deque()
        self._bytes = 0
        self._full = False
        self._form: _Copied | _Jpeg | None = None
        self._clips: dict[Path, _Clip] = {}

    def connected(self, stream: VideoStream) -> None:
        """Packets are of this stream from now on; clips of what came before end."""
        with self._lock:
            self._finish(list(self._clips))
            self._forget()
            raw = stream.codec_context.codec.canonical_name in _UNCOMPRESSED
            self._form = _Jpeg(stream) if raw else _Copied(stream)

    def packet(self, packet: Packet[VideoStream], time: float) -> None:
        """Hold a packet that is decoded at `time`, and add it to the clips under way."""
        base = packet.time_base or _CLOCK
        lead = 0 if packet.pts is None or packet.dts is None else (packet.pts - packet.dts) * base
        lasts = float((packet.duration or 0) * base)
        with self._lock:
            if self._form is None:
                return
            if not lasts and self._held:
                lasts = time - self._held[-1].time
            if not (data := self._form.data(packet)):
                return
            kept = Kept(data, time, float(lead), lasts, packet.is_keyframe)
            self._hold(kept)
            for path, clip in list(self._clips.items()):
                if clip.until is not None and time > clip.until:
                    self._finish([path])
                else:
                    self._try(path, partial(clip.add, kept))

    def begin(self, name: str, start: float) -> Path | None:
        """Begin a clip at `start`: the path that it will have; None if it cannot be."""
        with self._lock:
            if self._form is None or not self._held:
                return None
            keys = [kept.time for kept in self._keys if kept.time + kept.lead <= start]
            first = max(keys, default=self._held[0].time)
            path = self._free(re.sub(r"[^\w.+-]+", "-", name).strip("-."), self._form.suffix)
            try:
                self._clips[path] = clip = _Clip(path, self._form)
            except (OutputError, av.FFmpegError) as error:
                self._tell(_unwritten(path, error))
                return None
            for kept in self._held:
                if kept.time >= first and path in self._clips:
                    self._try(path, partial(clip.add, kept))
            return path if path in self._clips else None

    def end(self, path: Path, until: float) -> None:
        """The clip ends at `until`, which may be still to come."""
        with self._lock:
            if path in self._clips:
                self._clips[path].until = until

    def cancel(self, path: Path) -> None:
        """The clip is not wanted any more."""
        with self._lock:
            if path in self._clips:
                self._clips.pop(path).drop()

    def close(self) -> None:
        """Clips under way end here; nothing is held any more."""
        with self._lock:
            self._finish(list(self._clips))
            self._forget()
            self._form = None

    def _hold(self, kept: Kept) -> None:
        if not self._held and not kept.key:
            return
        self._held.append(kept)
        self._bytes += len(kept.data)
        if kept.key:
            self._keys.append(kept)
        while len(self._keys) > 1 and (
            self._keys[1].time <= kept.time - self._seconds or self._bytes > self._most
        ):
            self._say_full()
            self._keys.popleft()
            while self._held[0] is not self._keys[0]:
                self._bytes -= len(self._held.popleft().data)
        if self._bytes > self._most:
            self._say_full()
            self._forget()

    def _say_full(self) -> None:
        if self._bytes > self._most and not self._full:
            self._full = True
            self._tell(
                f"{self._most >> 20} MiB of video hold less than {self._seconds:g} s: clips may "
                "begin later than asked"
            )

    def _forget(self) -> None:
        self._held.clear()
        self._keys.clear()
        self._bytes = 0

    def _free(self, name: str, suffix: str) -> Path:
        path, number = self._folder / f"{name}{suffix}", 1
        while path.exists() or path in self._clips:
            number += 1
            path = self._folder / f"{name}-{number}{suffix}"
        return path

    def _finish(self, paths: list[Path]) -> None:
        for path in paths:
            self._try(path, self._clips[path].close)
            self._clips.pop(path, None)

    def _try(self, path: Path, action: Callable[[], None]) -> None:
        try:
            action()
        except (OutputError, OSError, av.FFmpegError) as error:
            self._tell(_unwritten(path, error))
            if clip := self._clips.pop(path, None):
                clip.drop()


def _unwritten(path: Path, error: Exception) -> str:
    return f"{path} is not written: {getattr(error, 'strerror', None) or error}"


class _Copied:
    """Packets as they are."""

    def __init__(self, stream: VideoStream) -> None:
        self._stream = stream
        codec = stream.codec_context.codec.canonical_name
        self.suffix = ".mp4" if codec in _IN_MP4 else ".mkv"

    def data(self, packet: Packet[VideoStream]) -> bytes:
        return bytes(packet)

    def add_to(self, container: OutputContainer) -> VideoStream:
        return container.add_stream_from_template(self._stream)


class _Jpeg:
    """Pictures without a codec, each as a JPEG."""

    suffix = ".mkv"

    def __init__(self, stream: VideoStream) -> None:
        self._decoder = stream.codec_context
        self._encoder = VideoCodecContext.create("mjpeg", "w")
        self._set(self._encoder)
        self._encoder.qmin = self._encoder.qmax = _QUALITY

    def _set(self, context: VideoCodecContext) -> None:
        context.width, context.height = self._decoder.width, self._decoder.height
        context.pix_fmt, context.time_base = "yuvj420p", _CLOCK

    def data(self, packet: Packet[VideoStream]) -> bytes:
        width, height = self._decoder.width, self._decoder.height
        coded = b""
        with suppress(av.FFmpegError):  # a damaged picture is left out
            for frame in self._decoder.decode(packet):
                for jpeg in self._encoder.encode(frame.reformat(width, height, "yuvj420p")):
                    coded += bytes(jpeg)
        return coded

    def add_to(self, container: OutputContainer) -> VideoStream:
        stream = container.add_stream("mjpeg")
        self._set(stream.codec_context)
        return stream


class _Clip:
    """A file being written; nothing of it is seen before it is whole."""

    def __init__(self, path: Path, form: _Copied | _Jpeg) -> None:
        self.until: float | None = None
        self._first: float | None = None
        self._last = -1
        with ExitStack() as stack:
            temporary = stack.enter_context(whole_file(path))
            self._container = stack.enter_context(av.open(str(temporary), "w"))
            self._stream = form.add_to(self._container)
            self._stack = stack.pop_all()

    def add(self, kept: Kept) -> None:
        if self._first is None:
            self._first = kept.time
        packet = Packet(kept.data)
        # Rounded times must still increase.
        dts = max(round((kept.time - self._first) / _CLOCK), self._last + 1)
        packet.dts, packet.pts = dts, dts + round(kept.lead / _CLOCK)
        packet.duration = round(kept.lasts / _CLOCK)
        packet.time_base, packet.is_keyframe, packet.stream = _CLOCK, kept.key, self._stream
        self._last = dts
        self._container.mux(packet)

    def close(self) -> None:
        self._stack.close()

    def drop(self) -> None:
        """Leave nothing behind."""
        error = OSError("dropped")
        with suppress(OutputError, OSError, av.FFmpegError):
            self._stack.__exit__(OSError, error, None)
