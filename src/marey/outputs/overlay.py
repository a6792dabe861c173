"""A video with its labels, events and tracks drawn on it, and its time line under it."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from marey.outputs.drawn import Drawn
from marey.outputs.strip import Strip
from marey.outputs.table import clock
from marey.types import Event, Image, Report, Score
from marey.video.read import open_video
from marey.video.write import VideoWriter

# The smallest width at which the text can be read; a thumbnail of a video is shown enlarged.
MIN_WIDTH = 320

_BLUE = (60, 140, 230)
_SEEN = 0.5  # seconds that an event is shown at least: a cut lasts no time
_MOST = 8  # events shown at once


def write_overlay(report: Report, path: Path, *, top: int = 3) -> list[str]:
    """Decode the report's video once more and write it with what happens in it drawn on it.

    A report with events shows those of each moment, and under the picture a time line of all; one
    without shows the labels of each window. Tracks are boxes with trails. Returns what the result
    does not hold. Raises `VideoError` if the video is gone, `OutputError`, or `MissingExtraError`
    for tracks where nothing can draw them.
    """
    video = report.video
    scale = max(1, -(-MIN_WIDTH // video.width))
    height, width = video.height * scale, video.width * scale
    strip = _strip(report, width, line_of(height)) if report.events else None
    full = height + (strip.height if strip else 0)
    rows_at = _events_at(report.events) if strip else _labels_at(report, top)
    colour = strip.colour if strip else lambda label: _BLUE
    tracks = Drawn(report, scale, height) if report.tracks else None
    fps = video.fps or Fraction(25)
    with open_video(video.path) as reader, VideoWriter(path, width, full, fps) as writer:
        for frame in reader.frames(size=(height, width)):
            time = float(frame.time)
            shown = tracks.on(frame.image, time) if tracks else frame.image
            image = draw(shown, rows_at(time), time, colour)
            writer.write(np.vstack([image, strip.at(time)]) if strip else image, frame.time)
    return ["the sound was not copied"] if video.audio else []


def line_of(height: int) -> int:
    """Pixels from one line of text to the next on a picture so high."""
    return max(12, height // 18)


def _strip(report: Report, width: int, line: int) -> Strip:
    video, events = report.video, report.events
    end = max(event.end for event in events) if video.end is None else video.end
    return Strip(events, video.start, end, width, line)


def _labels_at(report: Report, top: int) -> Callable[[float], Sequence[Score]]:
    """The best labels of the window that a moment is in."""
    starts = [window.start for window in report.windows]
    if not starts:
        return lambda time: ()
    return lambda time: report.windows[max(0, bisect_right(starts, time) - 1)].top[:top]


def _events_at(events: Sequence[Event]) -> Callable[[float], Sequence[Score]]:
    """The events of a moment, those that have just begun last; moments come in order of time."""
    coming = sorted(events, key=lambda event: event.start, reverse=True)
    current: list[Event] = []

    def at(time: float) -> Sequence[Score]:
        while coming and coming[-1].start <= time:
            current.append(coming.pop())
        current[:] = [e for e in current if time < max(e.end, e.start + _SEEN)]
        return [Score(event.label, event.score) for event in current[-_MOST:]]

    return at


def draw(
    image: Image,
    scores: Sequence[Score],
    time: float,
    colour: Callable[[str], tuple[int, int, int]] = lambda label: _BLUE,
) -> Image:
    """A copy of `image` (H W 3) with the time and labels in its lower left corner.

    The bar behind a label is as long as its score.
    """
    height, width = image.shape[:2]
    line = line_of(height)
    font = _font(int(line * 0.8))
    above = max(0, height - line * (len(scores) + 1))
    canvas = Picture.fromarray(image[above:]).convert("RGBA")
    shade = Picture.new("RGBA", canvas.size, (0, 0, 0, 140))
    pen = ImageDraw.Draw(shade)
    white, black = (255, 255, 255, 255), (0, 0, 0, 255)
    pen.text((line // 3, 0), clock(time), white, font)
    for row, score in enumerate(scores, start=1):
        bar = (0, row * line, int(width * score.score), (row + 1) * line - 2)
        pen.rectangle(bar, fill=(*colour(score.label), 150))
        text = f"{score.label}  {score.score:.2f}"
        pen.text((line // 3, row * line), text, white, font, stroke_width=1, stroke_fill=black)
    drawn = Picture.alpha_composite(canvas, shade).convert("RGB")
    return np.concatenate([image[:above], np.asarray(drawn)])


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)
