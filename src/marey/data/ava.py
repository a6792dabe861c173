"""Actions of people in key frames, as AVA writes them: boxes, excluded times, the list of actions.

Gu et al., "AVA: A Video Dataset of Spatio-temporally Localized Atomic Visual Actions", CVPR 2018,
arXiv 1705.08421. A line is `video,time,x1,y1,x2,y2,action`, without a header: seconds, corners as
shares of the picture's width and height, the number of the action; and, where people have marked
it, an eighth cell with the number of the person, or where a network has found it, its score.

Ours besides: an action may stand there by its name. Files that know no other actions than those of
their own lines have them numbered from 1 on, by their alphabet (`AvaFiles.named`).
"""

from __future__ import annotations

import csv
import math
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from marey.boxes import visible
from marey.data._ava_lines import (
    LineError,
    Problem,
    as_number,
    corners,
    finite,
    moment,
    read_text,
    refuse,
    whole,
)
from marey.errors import MareyError
from marey.files import whole_file
from marey.models._labels import ava
from marey.types import Video

EVALUATED = (
    *(1, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 17, 20, 22, 24, 26, 27, 28, 29, 30, 34),
    *(36, 37, 38, 41, 43, 45, 46, 47, 48, 49, 51, 52, 54, 56, 57, 58, 59, 60, 61, 62, 63, 64),
    *(65, 66, 67, 68, 69, 70, 72, 73, 74, 76, 77, 78, 79, 80),
)
"""The 60 actions that AVA is scored on (its `ava_action_list_v2.2_for_activitynet_2019.pbtxt`)."""

T = TypeVar("T")

NONE: Mapping[int, str] = MappingProxyType({})
"""No names of actions are known."""

_EARLY = 1e-3  # seconds; times of three decimals are not before the frame that they name


class KeyFrame(NamedTuple):
    """A moment of a video that is judged; whole milliseconds, so that 902 is 902.0."""

    video: str
    milliseconds: int

    @property
    def time(self) -> float:
        """Seconds."""
        return self.milliseconds / 1000


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

    def rows(self) -> Iterator[tuple[KeyFrame, list[float], int, int]]:
        """Frame, box, action and person of each."""
        numbers = self.actions.tolist(), self.people.tolist()
        return zip(self.frames, self.boxes.tolist(), *numbers, strict=True)

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


class Known:
    """The videos that lines name, each looked for once by `find`; VideoError for another.

    With `skip`, lines of videos that `find` has not are left out; why stands in `absent`.
    """

    def __init__(self, find: Callable[[str], Video], *, skip: bool = False) -> None:
        self._find, self._skip = find, skip
        self.videos: dict[str, Video] = {}
        self.absent: dict[str, str] = {}

    def __call__(self, frame: KeyFrame) -> bool:
        """Whether its line is to be used; an error of the line if it cannot be."""
        name = frame.video
        if name not in self.videos and name not in self.absent:
            try:
                self.videos[name] = self._find(name)
            except MareyError as error:
                self.absent[name] = error.what if error.where is None else str(error)
        if name in self.absent:
            if self._skip:
                return False
            do = "mend its name or leave it out"
            raise LineError(self.absent[name].rstrip("."), do, of_all=name)
        video = self.videos[name]
        end = math.inf if video.end is None else video.end
        if not video.start - _EARLY <= frame.time < end:
            span = f"the video lasts from {video.start:g} to {end:g} s"
            do = "times are seconds on the video's own clock: mend them"
            raise LineError(f"the key frame at {frame.time:g} s is outside; {span}", do)
        return True


class AvaFiles:
    """Reads AVA's files one after the other; `check` tells of every line that cannot be used."""

    def __init__(self) -> None:
        self._problems: list[Problem] = []

    def marked(
        self, path: Path, actions: Mapping[int, str] = NONE, known: Known | None = None
    ) -> ActionBoxes:
        """What people have marked: the eighth cell, which may be left out, is the person.

        Actions may be told by their names in `actions`. With `known`, lines are of its videos.
        """

        def person(cell: str) -> tuple[float, int]:
            return 1.0, whole(cell, "person") if cell else -1

        return self._boxes(path, person, actions, known)

    def found(self, path: Path, actions: Mapping[int, str] = NONE) -> ActionBoxes:
        """What a network has found: the eighth cell is its score, 1 where it is left out."""
        return self._boxes(path, lambda cell: (finite(cell) if cell else 1.0, -1), actions)

    def named(self, path: Path) -> dict[int, str]:
        """The actions that stand in a file by their names, numbered; none if one has a number."""
        rows = AvaFiles()._lines(path, lambda cells: cells)  # others tell what is wrong with them
        cells = {row[6] for row in rows if len(row) > 6 and row[6]}
        if any(not math.isnan(as_number(cell)) for cell in cells):
            return {}
        return dict(enumerate(sorted(cells), 1))

    def excluded(self, path: Path) -> frozenset[KeyFrame]:
        """Key frames that are not judged, `video,time`."""

        def one(cells: Sequence[str]) -> KeyFrame:
            if len(cells) != 2:
                raise LineError(f"has {len(cells)} cells", "write video,time")
            return KeyFrame(*moment(*cells))

        return frozenset(self._lines(path, one))

    def actions(self, path: Path) -> dict[int, str]:
        """Names by number from a list of actions, `.pbtxt`: items with `name` and `id`."""
        text = read_text(path)
        found = {
            int(number): name
            for item in re.findall(r"(?:item|label)\s*\{(.*?)\}", text, re.DOTALL)
            for name in re.findall(r'\bname:\s*"([^"]*)"', item)
            for number in re.findall(r"\b(?:label_)?id:\s*(\d+)", item)
        }
        if not found:
            do = 'write item { name: "sit" id: 11 }'
            self._problems.append(Problem(str(path), "names no action", do))
        return found

    def check(self) -> None:
        """DataError, if there was a line that cannot be used."""
        refuse(self._problems)

    def _boxes(
        self,
        path: Path,
        last: Callable[[str], tuple[float, int]],
        actions: Mapping[int, str],
        known: Known | None = None,
    ) -> ActionBoxes:
        numbers = {name: number for number, name in actions.items()}

        def one(cells: Sequence[str]) -> tuple[KeyFrame, list[float], int, float, int] | None:
            if len(cells) not in (7, 8):
                do = "write video,time,x1,y1,x2,y2,action and person or score"
                raise LineError(f"has {len(cells)} cells", do)
            frame, box = KeyFrame(*moment(*cells[:2])), corners(cells[2:6])
            action = numbers.get(cells[6]) or whole(cells[6], "action")
            row = frame, box, action, *last(cells[7] if cells[7:] else "")
            if known is None:
                return row
            if not visible(np.array([box]), 1, 1).all():
                what = f"the box {', '.join(cells[2:6])} has nothing of the picture"
                raise LineError(what, "give shares of its size, from 0 to 1")
            return row if known(frame) else None

        rows = [row for row in self._lines(path, one) if row is not None]
        frames, boxes, found, scores, people = zip(*rows, strict=True) if rows else ((),) * 5
        return ActionBoxes(
            frames,
            np.array(boxes, np.float64).reshape(-1, 4),
            np.array(found, np.int64),
            np.array(scores, np.float64),
            np.array(people, np.int64),
        )

    def _lines(self, path: Path, one: Callable[[Sequence[str]], T]) -> Iterator[T]:
        missing: dict[str, Problem] = {}
        for number, line in enumerate(read_text(path).splitlines(), 1):
            if not line.strip():
                continue
            try:
                yield one([cell.strip() for cell in next(csv.reader([line]))])
            except (LineError, csv.Error) as error:
                do, video = getattr(error, "do", "write plain CSV"), getattr(error, "of_all", "")
                if video in missing:
                    missing[video].lines += 1
                    continue
                problem = Problem(f"{path}, line {number}", str(error), do)
                self._problems.append(problem)
                if video:
                    missing[video] = problem


def write_boxes(
    boxes: ActionBoxes,
    path: str | os.PathLike[str],
    names: Mapping[int, str] = NONE,
    *,
    found: bool,
) -> None:
    """Write the lines that `AvaFiles` reads, with scores or with people; actions by `names`."""
    with whole_file(path) as temporary, temporary.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file, lineterminator="\n")
        for k, (video, milliseconds) in enumerate(boxes.frames):
            seconds, rest = divmod(milliseconds, 1000)
            time = f"{seconds:04d}" if rest == 0 else f"{milliseconds / 1000:.3f}"
            action: Any = boxes.actions[k].item()
            person = boxes.people[k] if boxes.people[k] >= 0 else ""
            last = f"{boxes.scores[k]:.6g}" if found else person
            box = (f"{corner:.6g}" for corner in boxes.boxes[k])
            table.writerow((video, time, *box, names.get(action, action), last))


def evaluated() -> Mapping[int, str]:
    """The names of the actions that AVA is evaluated on, by their numbers."""
    names = ava()
    return {number: names[number - 1] for number in EVALUATED}
