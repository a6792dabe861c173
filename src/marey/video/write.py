"""Videos out: H.264 in mp4, with the times of the source, whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from types import TracebackType
from typing import Literal, Self

import av
import numpy as np
from av.container import OutputContainer
from av.video.stream import VideoStream

from marey.files import whole_file
from marey.types import Image

# Exact for every usual rate (24, 25, 30, 30000/1001, 50, 60) and for times in milliseconds.
_CLOCK = Fraction(1, 90_000)


class VideoWriter:
    """Writes frames of `height` x `width` to an mp4; `fps` is nominal, each frame has its own time.

    Odd sizes grow by one repeated row or column, as the pixel format of every player demands.
    Raises OutputError where the file cannot be written; nothing half-written is left then, nor when
    the block fails.
    """

    def __init__(
        self, path: str | os.PathLike[str], width: int, height: int, fps: Fraction
    ) -> None:
        self._path, self._width, self._height, self._fps = path, width, height, fps
        self._container: OutputContainer
        self._stream: VideoStream
        self._last: int | None = None

    def __enter__(self) -> Self:
        self._context = self._whole()
        self._context.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._context.__exit__(kind, error, traceback)

    def write(self, image: Image, time: Fraction) -> None:
        """Add `image` (H W 3 uint8), shown from `time` on, in seconds; times must increase."""
        if image.shape != (self._height, self._width, 3) or image.dtype != np.uint8:
            raise ValueError(
                f"expected uint8 frames of {(self._height, self._width, 3)},"
                f" got {image.dtype} {image.shape}"
            )
        pts = round(time / _CLOCK)
        if self._last is not None and pts <= self._last:
            raise ValueError(f"times must increase, got {time} s after {self._last * _CLOCK} s")
        self._last = pts
        even = np.pad(image, ((0, self._height % 2), (0, self._width % 2), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_ndarray(even, format="rgb24")
        frame.pts, frame.time_base = pts, _CLOCK
        self._encode(frame)

    @contextmanager
    def _whole(self) -> Iterator[None]:
        with whole_file(self._path) as temporary:
            with _disk_errors():
                self._container = av.open(str(temporary), "w", format="mp4")
            try:
                self._stream = self._add_stream()
                yield
                self._encode(None)
                with _disk_errors():
                    self._container.close()
            finally:
                # Closing writes a trailer: after a failure that may fail again, and says no more.
                with suppress(av.FFmpegError):
                    self._container.close()

    def _add_stream(self) -> VideoStream:
        codec: Literal["libx264", "mpeg4"]
        codec = "libx264" if "libx264" in av.codecs_available else "mpeg4"
        stream = self._container.add_stream(codec, rate=self._fps)
        stream.width = self._width + self._width % 2
        stream.height = self._height + self._height % 2
        stream.pix_fmt = "yuv420p"
        stream.codec_context.time_base = _CLOCK
        return stream

    def _encode(self, frame: av.VideoFrame | None) -> None:
        with _disk_errors():
            self._container.mux(self._stream.encode(frame))


@contextmanager
def _disk_errors() -> Iterator[None]:
    """FFmpeg's errors as the OSError that `whole_file` turns into OutputError."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error
