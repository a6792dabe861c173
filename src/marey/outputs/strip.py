"""The time line under a video: a lane a label, its events as blocks, and where the video is now."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image as Picture
from PIL import ImageDraw, ImageFont

from marey.outputs.table import clock
from marey.types import Event, Image

COLOURS = (
    (86, 180, 233),
    (230, 159, 0),
    (0, 190, 140),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
)
"""A lane each; after Okabe and Ito, so that people who see colours differently tell them apart."""

_GROUND, _LANE, _TEXT = (24, 24, 24), (44, 44, 44), (235, 235, 235)


class Strip:
    """A picture `width` pixels wide of the events from `start` to `end`; a lane is `line` high.

    The labels that take the most time have lanes of their own, others share the last one.
    """

    def __init__(
        self, events: Sequence[Event], start: float, end: float, width: int, line: int
    ) -> None:
        names, self._lane_of = _lanes(events)
        self.height = line * (len(names) + 1)
        self._start, self._span = start, max(end - start, 1e-9)
        self._left, self._right = round(width * 0.24), width - line // 3
        self._thick = max(1, line // 10)
        picture = Picture.new("RGB", (width, self.height), _GROUND)
        pen = ImageDraw.Draw(picture)
        font = ImageFont.load_default(line * 0.7)
        for lane, name in enumerate(names):
            self._block(pen, lane, line, self._left, self._right, _LANE)
            text = _fitted(name, font, self._left - line // 2)
            pen.text((line // 3, lane * line), text, _TEXT, font)
        for event in events:
            lane, left, right = self._lane_of[event.label], self._x(event.start), self._x(event.end)
            self._block(pen, lane, line, left, max(left + 1, right - 1), COLOURS[lane])
        y = self.height - line
        pen.text((self._left, y), clock(start), _TEXT, font)
        pen.text((self._right, y), clock(end), _TEXT, font, anchor="ra")
        self._picture = np.asarray(picture)

    def at(self, time: float) -> Image:
        """The strip (H W 3) with its cursor at `time`."""
        picture = self._picture.copy()
        x = min(max(self._x(time), self._left), self._right)
        picture[:, x - self._thick : x + self._thick] = 255
        return picture

    def colour(self, label: str) -> tuple[int, int, int]:
        """The colour of a label's lane."""
        return COLOURS[self._lane_of[label]]

    def _x(self, time: float) -> int:
        return round(self._left + (time - self._start) / self._span * (self._right - self._left))

    @staticmethod
    def _block(
        pen: ImageDraw.ImageDraw,
        lane: int,
        line: int,
        left: int,
        right: int,
        colour: tuple[int, int, int],
    ) -> None:
        pen.rectangle((left, lane * line + 2, right, (lane + 1) * line - 2), fill=colour)


def _lanes(events: Sequence[Event]) -> tuple[list[str], dict[str, int]]:
    """What the lanes are called, and the lane of each label; they come in order of appearance."""
    taken: dict[str, float] = {}
    for event in events:
        taken[event.label] = taken.get(event.label, 0) + event.end - event.start
    most = len(COLOURS)
    own = sorted(taken, key=lambda label: -taken[label])[: most if len(taken) <= most else most - 1]
    names = [label for label in taken if label in own]
    others = len(taken) - len(names)
    lane_of = {label: names.index(label) if label in own else most - 1 for label in taken}
    return names + [f"{others} others"] * bool(others), lane_of


def _fitted(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """As much of `text` as `width` pixels hold."""
    shown = text
    while shown and font.getlength(shown) > width:
        text = text[:-1]
        shown = text + "…"
    return shown
