"""Actions of people in key frames, as AVA writes them: boxes, excluded times, the list of actions.

Gu et al., "AVA: A Video Dataset of Spatio-temporally Localized Atomic Visual Actions", CVPR 2018,
arXiv 1705.08421. A line is `video,time,x1,y1,x2,y2,action`, without a header: seconds, corners as
shares of the picture's width and height, the number of the action; and, where people have marked
it, an eighth cell with the number of the person, or where a network has found it, its score.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from marey.data.event_files import Problem
from marey.errors import DataError
from marey.models._labels import ava

EVALUATED = (
    *(1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 20, 22, 24, 26, 27, 28, 29, 30, 34),
    *(36, 37, 38, 41, 43, 45, 46, 47, 48, 49, 51, 52, 54, 56, 57, 58, 59, 60, 61, 62, 63, 64),
    *(65, 66, 67, 68, 69, 70, 72, 73, 74, 76, 77, 78, 79, 80),
)
"""The 60 actions that AVA is scored on (its `ava_action_list_v2.2_for_activitynet_2019.pbtxt`)."""

T = TypeVar("T")

_SLACK = 0.5  # of a picture's size, by which a box may reach beyond it; more are pixels


class KeyFrame(NamedTuple):
    """A moment of a video that is judged; whole milliseconds, so that 902 is 902.0."""

    video: str
    milliseconds: int


@dataclass(frozen=True, slots=True, eq=False)
class ActionBoxes:
    """Lines of a file, N: in which of `frames`, where (N 4), which action, how sure, and who.

    `scores` are 1 and `people` numbers where the lines are marked; `people` are -1 elsewhere.
    """

    frames: tuple[KeyFrame, ...]
    boxes: NDArray[np.float64]
    actions: NDArray[np.int64]
    scores: NDArray[np.float64]
    people: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.frames)

    def only(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> ActionBoxes:
        """Those of a mask N, or of places, in their order."""
        places = np.arange(len(self))[which]
        return ActionBoxes(
            tuple(self.frames[place] for place in places),
            self.boxes[places],
            self.actions[places],
            self.scores[places],
            self.people[places],
        )


class AvaFiles:
    """Reads AVA's files one after the other; `check` tells of every line that cannot be used."""

    def __init__(self) -> None:
        self._problems: list[str] = []

    def marked(self, path: Path) -> ActionBoxes:
        """What people have marked: the eighth cell, which may be left out, is the person."""
        return self._boxes(path, lambda cell: (1.0, _number(cell, "person") if cell else -1))

    def found(self, path: Path) -> ActionBoxes:
        """What a network has found: the eighth cell is its score, 1 where it is left out."""
        return self._boxes(path, lambda cell: (_score(cell) if cell else 1.0, -1))

    def excluded(self, path: Path) -> frozenset[KeyFrame]:
        """Key frames that are not judged, `video,time`."""

        def one(cells: Sequence[str]) -> KeyFrame:
            if len(cells) != 2:
                raise _LineError(f"has {len(cells)} cells", "write video,time")
            return _key_frame(*cells)

        return frozenset(self._lines(path, one))

    def actions(self, path: Path) -> dict[int, str]:
        """Names by number from a list of actions, `.pbtxt`: items with `name` and `id`."""
        text = _text(path)
        found = {
            int(number): name
            for item in re.findall(r"(?:item|label)\s*\{(.*?)\}", text, re.DOTALL)
            for name in re.findall(r'\bname:\s*"([^"]*)"', item)
            for number in re.findall(r"\b(?:label_)?id:\s*(\d+)", item)
        }
        if not found:
            self._problems.append(f'{path}: names no action; write item {{ name: "sit" id: 11 }}')
        return found

    def check(self) -> None:
        """DataError, if there was a line that cannot be used."""
        if self._problems:
            told = "\n  ".join(self._problems)
            raise DataError(
                f"{len(self._problems)} lines cannot be used:\n  {told}",
                do="Mend them; nothing was computed.",
            )

    def _boxes(self, path: Path, last: Callable[[str], tuple[float, int]]) -> ActionBoxes:
        def one(cells: Sequence[str]) -> tuple[KeyFrame, list[float], int, float, int]:
            if len(cells) not in (7, 8):
                do = "write video,time,x1,y1,x2,y2,action and person or score"
                raise _LineError(f"has {len(cells)} cells", do)
            frame, box = _key_frame(*cells[:2]), _box(cells[2:6])
            return frame, box, _number(cells[6], "action"), *last(cells[7] if cells[7:] else "")

        rows = list(self._lines(path, one))
        frames, boxes, actions, scores, people = zip(*rows, strict=True) if rows else ((),) * 5
        return ActionBoxes(
            frames,
            np.array(boxes, np.float64).reshape(-1, 4),
            np.array(actions, np.int64),
            np.array(scores, np.float64),
            np.array(people, np.int64),
        )

    def _lines(self, path: Path, one: Callable[[Sequence[str]], T]) -> Iterator[T]:
        for number, line in enumerate(_text(path).splitlines(), 1):
            if not line.strip():
                continue
            try:
                yield one([cell.strip() for cell in next(csv.reader([line]))])
            except (_LineError, csv.Error) as error:
                do = getattr(error, "do", "write plain CSV")
                self._problems.append(f"{path}, {Problem(f'line {number}', str(error), do)}")


def evaluated() -> Mapping[int, str]:
    """The names of the actions that AVA is evaluated on, by their numbers."""
    names = ava()
    return {number: names[number - 1] for number in EVALUATED}


class _LineError(Exception):
    """A line that cannot be used."""

    def __init__(self, what: str, do: str) -> None:
        super().__init__(what)
        self.do = do


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is no text in UTF-8"
        raise DataError(
            f"cannot be read ({why})", where=path, do="Give a file as AVA has it."
        ) from error


def _float(cell: str) -> float:
    try:
        return float(cell)
    except ValueError:
        return math.nan


def _key_frame(video: str, time: str) -> KeyFrame:
    seconds = _float(time)
    if not video or not 0 <= seconds < math.inf:
        raise _LineError(f"the key frame is {video!r} at {time!r}", "name a video, and seconds")
    return KeyFrame(video, round(1000 * seconds))


def _box(cells: Sequence[str]) -> list[float]:
    box = [_float(cell) for cell in cells]
    if not all(-_SLACK <= corner <= 1 + _SLACK for corner in box):
        do = "give x1, y1, x2, y2 as shares of the picture's size, from 0 to 1"
        raise _LineError(f"the box is {', '.join(cells)}", do)
    if not (box[0] < box[2] and box[1] < box[3]):
        raise _LineError(f"the box {', '.join(cells)} has no area", "x1 < x2 and y1 < y2")
    return box


def _number(cell: str, what: str) -> int:
    value = _float(cell)
    if not (value >= (what == "action") and value == int(value)):
        raise _LineError(f"the {what} is {cell!r}", "give its number")
    return int(value)


def _score(cell: str) -> float:
    score = _float(cell)
    if not math.isfinite(score):
        raise _LineError(f"the score is {cell!r}", "give a number")
    return score
