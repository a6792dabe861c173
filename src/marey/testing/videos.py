"""Videos made on the spot, for tests and docs: every frame carries its number in its pixels.

path = make_video(folder / "a.mp4", frames=90, fps=Fraction(30000, 1001), b_frames=3)
frame_number(image)   # 0 … 89, at any size and after any codec
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream

from marey.types import Image

_BITS = 16
_CLOCK = Fraction(1, 90_000)


def make_video(
    path: str | os.PathLike[str],
    *,
    frames: int = 30,
    size: tuple[int, int] = (64, 96),
    fps: Fraction = Fraction(25),
    times: Sequence[Fraction] | None = None,
    start: Fraction = Fraction(0),
    first: int = 0,
    codec: str = "libx264",
    gop: int = 12,
    b_frames: int = 2,
    pixel_aspect: Fraction | None = None,
    rotation: int = 0,
    mirror: bool = False,
    audio: bool = False,
    format: str | None = None,
    options: dict[str, str] | None = None,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Write a video of numbered frames, coded at `size` (H W); the suffix chooses the container.

    `times` replace the regular ones of `fps`, `start` is added to either; numbers begin at `first`.
    With `rotation` (degrees that a player turns left, before it mirrors) the coded frames lie such
    that they come upright when both are honoured. `options` go to the encoder, `container_options`
    to the muxer.
    """
    path = Path(path)
    moments = times or [index / fps for index in range(frames)]
    with av.open(str(path), "w", format=format, container_options=container_options) as container:
        video = _video_stream(container, codec, fps, size, options or {})
        video.codec_context.gop_size = gop
        video.codec_context.max_b_frames = b_frames
        video.codec_context.thread_count = 1  # frames this small are not worth a thread
        if pixel_aspect is not None:
            video.codec_context.sample_aspect_ratio = pixel_aspect
        if rotation or mirror:
            video.set_display_rotation(rotation, hflip=mirror)
        sound = container.add_stream("aac", rate=48_000, layout="mono") if audio else None
        for index, moment in enumerate(moments, first):
            image = numbered(index, _upright(size, rotation))
            image = np.rot90(np.fliplr(image) if mirror else image, -rotation // 90)
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
            frame.pts, frame.time_base = round((start + moment) / _CLOCK), _CLOCK
            frame = frame.reformat(format=video.pix_fmt)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if isinstance(sound, AudioStream):
            _silence(container, sound, float(moments[-1]))
    return path


def numbered(index: int, size: tuple[int, int] = (64, 96)) -> Image:
    """An image H W 3 with `index` as a bar of black and white cells on top of a moving pattern."""
    height, width = size
    y, x = np.mgrid[:height, :width]
    image = np.empty((height, width, 3), np.uint8)
    image[..., 0] = (x * 255 // max(1, width - 1) + 8 * index) % 256
    image[..., 1] = y * 255 // max(1, height - 1)
    image[..., 2] = 128 + 100 * (((x + 2 * index) // 8 + y // 8) % 2)
    cells = x[0] * _BITS // width
    image[: height // 4] = np.where(index >> cells & 1, 235, 20)[None, :, None]
    return image


def frame_number(image: Image) -> int:
    """The number that `numbered` put into the image, read back at any size from 32 pixels wide."""
    height, width = image.shape[:2]
    bar = image[: max(1, height // 6)].mean(axis=(0, 2))
    middles = (np.arange(_BITS) * 2 + 1) * width // (2 * _BITS)
    return int(((bar[middles] > 128) << np.arange(_BITS)).sum())


def _upright(size: tuple[int, int], rotation: int) -> tuple[int, int]:
    return size if rotation % 180 == 0 else (size[1], size[0])


def _video_stream(
    container: OutputContainer,
    codec: str,
    fps: Fraction,
    size: tuple[int, int],
    options: dict[str, str],
) -> VideoStream:
    stream = cast(VideoStream, container.add_stream(codec, rate=fps, options=options))
    stream.height, stream.width = size
    formats = [str(f.name) for f in stream.codec_context.codec.video_formats or ()]
    stream.pix_fmt = "yuv420p" if "yuv420p" in formats or not formats else formats[0]
    # Older codecs and AVI count frames, and have no finer clock than their rate.
    fine = codec in ("libx264", "libvpx", "libvpx-vp9", "libx265")
    if fine and container.format.name != "avi":
        stream.codec_context.time_base = _CLOCK
    return stream


def _silence(container: OutputContainer, stream: AudioStream, seconds: float) -> None:
    step, rate = 1024, 48_000
    for start in range(0, round(seconds * rate) + step, step):
        frame = av.AudioFrame.from_ndarray(
            np.zeros((1, step), np.float32), format="fltp", layout="mono"
        )
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
