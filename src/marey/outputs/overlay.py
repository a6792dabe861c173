"""A video with its labels drawn on it."""

from __future__ import annotations

from bisect import bisect_right
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from marey.outputs.table import clock
from marey.types import Image, Ranked, Report
from marey.video.read import open_video
from marey.video.write import VideoWriter

# The smallest width at which the text can be read; a thumbnail of a video is shown enlarged.
MIN_WIDTH = 320


def write_overlay(report: Report, path: Path, *, top: int = 3) -> list[str]:
    """Decode the report's video once more and write it with the labels of each moment drawn on it.

    Returns what the result does not hold. Raises `VideoError` if the video is gone, `OutputError`.
    """
    video = report.video
    scale = max(1, -(-MIN_WIDTH // video.width))
    size = (video.height * scale, video.width * scale)
    starts = [window.start for window in report.windows]
    fps = video.fps or Fraction(25)
    with open_video(video.path) as reader, VideoWriter(path, size[1], size[0], fps) as writer:
        for frame in reader.frames(size=size):
            current = report.windows[max(0, bisect_right(starts, frame.time) - 1)]
            writer.write(draw(frame.image, current, float(frame.time), top=top), frame.time)
    return ["the sound was not copied"] if video.audio else []


def draw(image: Image, window: Ranked, time: float, *, top: int = 3) -> Image:
    """A copy of `image` (H W 3) with the time and the labels of `window` in its lower left corner.

    The bar behind a label is as long as its score.
    """
    height, width = image.shape[:2]
    line = max(12, height // 18)
    font = _font(int(line * 0.8))
    canvas = Picture.fromarray(image).convert("RGBA")
    shade = Picture.new("RGBA", canvas.size)
    pen = ImageDraw.Draw(shade)
    rows = window.top[:top]
    above = height - line * (len(rows) + 1)
    pen.rectangle((0, above, width, height), fill=(0, 0, 0, 140))
    pen.text((line // 3, above), clock(time), font=font, fill=(255, 255, 255, 255))
    for row, score in enumerate(rows, start=1):
        y = above + row * line
        pen.rectangle((0, y, int(width * score.score), y + line - 2), fill=(60, 140, 230, 150))
        text = f"{score.label}  {score.score:.2f}"
        pen.text((line // 3, y), text, font=font, fill=(255, 255, 255, 255))
    return np.asarray(Picture.alpha_composite(canvas, shade).convert("RGB"))


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
