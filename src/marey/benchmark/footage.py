"""A video to measure with: nearer to a camera's than a test picture, and as long as is wanted.

Six seconds are drawn and encoded, and repeated: the decoder cannot tell.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from marey.types import Image

FPS = 25
GOP = 2 * FPS  # a key frame every two seconds
LOOP = 6  # seconds
_BITS = 3e6 / (1280 * 720)  # a second and pixel: 3 Mbit/s at 720p
_GRAIN = 3  # the noise of the sensor, standard deviation of 255


def make_footage(
    path: str | os.PathLike[str], seconds: float, size: tuple[int, int] = (720, 1280)
) -> Path:
    """Write `seconds` of H.264 of `size` (H W), even numbers, 25 frames a second, as .mp4.

    A picture with detail at every scale, seen by an unsteady hand; things move through it; grain.
    3 Mbit/s at 720p, in proportion at other sizes.
    """
    path = Path(path)
    loops = math.ceil(seconds / LOOP)
    once = make_loop(path.with_stem(f"{path.stem}-once"), seconds / loops, size)
    repeat(once, path, loops)
    once.unlink()
    return path


def make_loop(path: Path, seconds: float = LOOP, size: tuple[int, int] = (720, 1280)) -> Path:
    """Write what `make_footage` repeats."""
    height, width = size
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast"})
        stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
        stream.codec_context.gop_size = GOP
        stream.codec_context.bit_rate = round(_BITS * height * width)
        for picture in scene(max(1, round(seconds * FPS)), size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def repeat(once: Path, path: Path, times: int) -> Path:
    """Write the packets of a video so many times, one after another."""
    with av.open(str(path), "w") as output:
        for k in range(times):
            with av.open(str(once)) as source:
                video = source.streams.video[0]
                copy = output.streams.video[0] if k else output.add_stream_from_template(video)
                offset = k * (video.duration or 0)
                for packet in source.demux(video):
                    if packet.dts is None or packet.pts is None:
                        continue  # the mark of the end
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = copy
                    output.mux(packet)
    return path


def scene(frames: int, size: tuple[int, int]) -> Iterator[Image]:
    """The pictures, H W 3."""
    rng = np.random.default_rng(0)
    height, width = size
    wide = _texture((height * 5 // 4, width * 5 // 4), rng)
    things = [_texture((height // 4, height // 4), rng) for _ in range(3)]
    grain = rng.normal(0, _GRAIN, (height + 64, width + 64, 1)).round().astype(np.int16)
    for k in range(frames):
        picture = np.asarray(_seen(wide, k, size)).astype(np.int16)
        for number, thing in enumerate(things):
            top = int(height * (0.1 + 0.25 * number))
            left = int((k * (3 + 2 * number) * width / 1280) % (width - height // 4))
            picture[top : top + height // 4, left : left + height // 4] = thing
        y, x = rng.integers(0, 64, 2)
        picture += grain[y : y + height, x : x + width]
        yield np.clip(picture, 0, 255).astype(np.uint8)


def _texture(size: tuple[int, int], rng: np.random.Generator) -> Image:
    """Noise of every scale, the coarse the stronger, as in photographs; H W 3."""
    height, width = size
    total: NDArray[np.float32] = np.zeros((height, width, 3), np.float32)
    for octave in range(2, 10):
        cells = (2**octave, 2**octave, 3)
        coarse = Picture.fromarray(rng.integers(0, 256, cells, np.uint8))
        total += np.asarray(coarse.resize((width, height), Picture.Resampling.BICUBIC)) / octave**2
    low, high = total.min(), total.max()
    return np.asarray(255 * (total - low) / (high - low), np.uint8)


def _seen(wide: Image, k: int, size: tuple[int, int]) -> Picture.Image:
    """The wide picture through a camera held by hand: it turns, nears and sways a little."""
    height, width = size
    angle, zoom = 0.01 * math.sin(k / 17), 1 + 0.03 * math.sin(k / 29)
    a, b = math.cos(angle) * zoom, math.sin(angle) * zoom
    x = width / 8 * (1 + 0.6 * math.sin(k / 23))
    y = height / 8 * (1 + 0.6 * math.cos(k / 19))
    affine = (a, b, x, -b, a, y)
    how = (Picture.Transform.AFFINE, affine, Picture.Resampling.BILINEAR)
    return Picture.fromarray(wide).transform((width, height), *how)
