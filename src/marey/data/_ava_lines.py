"""Cells of lines that mark boxes, and what is wrong with a line."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from marey.errors import DataError

_SLACK = 0.5  # of a picture's size, by which a box may reach beyond it; more are pixels


class LineError(Exception):
    """A line that cannot be used; `of_all` is the video whose lines all cannot be, or none."""

    def __init__(self, what: str, do: str, of_all: str = "") -> None:
        super().__init__(what)
        self.do, self.of_all = do, of_all


@dataclass(slots=True)
class Problem:
    """What is wrong in a place of a file, with so many lines, and what to do about it."""

    where: str
    what: str
    do: str
    lines: int = 1

    def __str__(self) -> str:
        more = f" (and {self.lines - 1} more of this video)" if self.lines > 1 else ""
        return f"{self.where}{more}: {self.what}; {self.do}"


def refuse(problems: Sequence[Problem]) -> None:
    """DataError, if there was a line that cannot be used."""
    if problems:
        told = "\n  ".join(map(str, problems))
        lines = sum(problem.lines for problem in problems)
        raise DataError(
            f"{lines} lines cannot be used:\n  {told}", do="Mend them; nothing was computed."
        )


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is no text in UTF-8"
        raise DataError(
            f"cannot be read ({why})", where=path, do="Give a file as AVA has it."
        ) from error


def as_number(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def moment(video: str, time: str) -> tuple[str, int]:
    seconds = as_number(time)
    if not video or not 0 <= seconds < math.inf:
        raise LineError(f"the key frame is {video!r} at {time!r}", "name a video, and seconds")
    return video, round(1000 * seconds)


def corners(cells: Sequence[str]) -> list[float]:
    box = [as_number(cell) for cell in cells]
    if not all(-_SLACK <= corner <= 1 + _SLACK for corner in box):
        do = "give x1, y1, x2, y2 as shares of the picture's size, from 0 to 1"
        raise LineError(f"the box is {', '.join(cells)}", do)
    if not (box[0] < box[2] and box[1] < box[3]):
        raise LineError(f"the box {', '.join(cells)} has no area", "x1 < x2 and y1 < y2")
    return box


def whole(cell: str, what: str) -> int:
    value = as_number(cell)
    if not (math.isfinite(value) and value >= (what == "action") and value == int(value)):
        do = "give its number" + (", or a name that is known" if what == "action" else "")
        raise LineError(f"the {what} is {cell!r}", do)
    return int(value)


def finite(cell: str) -> float:
    score = as_number(cell)
    if not math.isfinite(score):
        raise LineError(f"the score is {cell!r}", "give a number")
    return score
