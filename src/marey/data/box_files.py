"""Boxes from files, in place of a detector: MOT's text, COCO's JSON, or CSV.

MOT (motchallenge.net): a line a box, `frame,id,left,top,width,height,score,…`, no head; frames
count from 1. COCO (cocodataset.org): `annotations`, or a bare list of results, whose `bbox` is
left, top, width, height; the digits at the end of an image's `file_name` number its frame, else its
id does. CSV: columns `x1,y1,x2,y2`, and `frame`, from 1 on, or `time` in seconds; `score` and
`label` may be there. A table that marey wrote is read too: its rows of scope `box`.
"""

from __future__ import annotations

import csv
import json
import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from marey.boxes import NOTHING, Detections
from marey.errors import DataError
from marey.types import CORNERS, ModelCard

PERSON = "person"
"""What is in a file that does not say: MOT's are of people."""

_TOLERANCE = 5e-4  # seconds: times in files are rounded


class Row(NamedTuple):
    """One box of a file; `frame` counts from 1, or is None where `time`, in seconds, says when.

    `id` is -1 where the file knows none. `judged`: MOT's truth leaves some boxes out of account.
    """

    frame: int | None
    time: float | None
    box: tuple[float, float, float, float]
    score: float = 1.0
    label: str = PERSON
    id: int = -1
    judged: bool = True


class BoxFile:
    """The boxes of a file, to be had frame by frame, like a detector's."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        rows = read_boxes(path)
        self.labels = tuple(dict.fromkeys(row.label for row in rows))
        self._by_frame, self._count = _grouped(rows, lambda row: row.frame), len(rows)
        by_time = _grouped(rows, lambda row: row.time)
        self._times = np.array(sorted(by_time), np.float64)
        self._at = [by_time[time] for time in self._times.tolist()]

    def __len__(self) -> int:
        return self._count

    @property
    def warnings(self) -> tuple[str, ...]:
        return ()

    def at(self, number: int, before: float, time: float) -> Detections:
        """What is in frame `number`, at `time`; boxes since the frame `before` are this one's."""
        found = self._by_frame.get(number, NOTHING)
        first, last = np.searchsorted(
            self._times, np.array((before, time)) + _TOLERANCE, side="right"
        ).tolist()
        return _joined([found, *self._at[first:last]])

    def card(self) -> ModelCard:
        """Of no network: nothing looks at anything."""
        return ModelCard(str(self.path), None, len(self.labels), "file", "file", input=None)


def _grouped(
    rows: Iterable[Row], key: Callable[[Row], int | float | None]
) -> dict[Any, Detections]:
    groups: dict[int | float, list[Row]] = {}
    for row in rows:
        place = key(row)
        if place is not None:
            groups.setdefault(place, []).append(row)
    return {place: _detections(group) for place, group in groups.items()}


def _detections(rows: Sequence[Row]) -> Detections:
    with np.errstate(over="ignore"):  # what is too large for float32 is nowhere, as infinity is
        boxes = np.array([row.box for row in rows], np.float32)
    scores = np.array([row.score for row in rows], np.float32)
    return Detections(boxes, scores, tuple(row.label for row in rows))


def _joined(parts: Sequence[Detections]) -> Detections:
    if len(parts) == 1:
        return parts[0]
    return Detections(
        np.concatenate([part.boxes for part in parts]),
        np.concatenate([part.scores for part in parts]),
        sum((part.labels for part in parts), ()),
    )


def read_boxes(path: str | os.PathLike[str]) -> list[Row]:
    """The boxes in a `.txt`, `.json` or `.csv`; DataError, with the line, for another."""
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"boxes are not read from {path.suffix!r}",
            where=path,
            do=f"Give one of {' '.join(READERS)}.",
        )
    try:
        rows = list(reader(path))
    except (OSError, UnicodeDecodeError) as error:
        why = getattr(error, "strerror", None) or "is not text"
        raise DataError(f"cannot be read ({why})", where=path) from error
    odd = [row for row in rows if not 0 <= row.score <= 1]
    if odd:
        raise DataError(
            f"{len(odd)} scores are not in [0, 1], such as {odd[0].score:g}",
            where=path,
            do="Bring them there: they are compared with thresholds.",
        )
    return rows


def _mot(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        for number, cells in enumerate(csv.reader(file), start=1):
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) == 1:
                cells = cells[0].split()  # spaces do, too
            frame, id, left, top, width, height, *more = _numbers(path, number, cells, least=6)
            score = more[0] if more else 1.0
            yield Row(
                frame=_whole(path, number, "frame", frame),
                time=None,
                box=(left, top, left + width, top + height),
                # -1 says that there is none.
                score=1.0 if score == -1 else score,
                id=_whole(path, number, "id", id),
                judged=score != 0,
            )


def _csv(path: Path) -> Iterator[Row]:
    with path.open(newline="", encoding="utf-8") as file:
        table = csv.DictReader(file)
        head = table.fieldnames or ()
        ours = "scope" in head
        when = "start" if ours else "frame" if "frame" in head else "time"
        if missing := [name for name in (when, *CORNERS) if name not in head]:
            raise DataError(
                f"has no column {missing[0]!r}",
                where=path,
                do="Boxes need x1,y1,x2,y2 and frame or time; score and label may be there.",
            )
        for number, cells in enumerate(table, start=2):
            if ours and cells["scope"] != "box":
                continue
            moment, *corners = _numbers(path, number, [cells[name] for name in (when, *CORNERS)])
            (score,) = _numbers(path, number, [cells.get("score") or "1"])
            (id,) = _numbers(path, number, [cells.get("id") or "-1"])
            yield Row(
                frame=_whole(path, number, "frame", moment) if when == "frame" else None,
                time=None if when == "frame" else moment,
                box=(corners[0], corners[1], corners[2], corners[3]),
                score=score,
                label=cells.get("label") or PERSON,
                id=_whole(path, number, "id", id),
            )


def _coco(path: Path) -> Iterator[Row]:
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        about: Mapping[str, Any] = {"annotations": said} if isinstance(said, list) else said
        names = {one["id"]: str(one["name"]) for one in about.get("categories", ())}
        frames = {
            one["id"]: _frame_of(one.get("file_name", ""), one["id"])
            for one in about.get("images", ())
        }
        for one in about["annotations"]:
            left, top, width, height = map(float, one["bbox"])
            image, category = one["image_id"], one.get("category_id")
            yield Row(
                frame=int(frames.get(image, image)),
                time=None,
                box=(left, top, left + width, top + height),
                score=float(one.get("score", 1.0)),
                label=names.get(category, PERSON if category is None else f"class {category}"),
                id=int(one.get("track_id", -1)),
            )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"is not COCO's JSON ({type(error).__name__}: {error})",
            where=path,
            do="It holds `annotations` with `image_id` and `bbox`, and `images`, `categories`.",
        ) from error


READERS: dict[str, Callable[[Path], Iterator[Row]]] = {".txt": _mot, ".json": _coco, ".csv": _csv}
"""Files of boxes, by suffix."""


def is_box_file(name: str | os.PathLike[str]) -> bool:
    """Whether a detector is named that is a file of boxes."""
    return Path(name).suffix.lower() in READERS


def _frame_of(name: str, id: int) -> int:
    digits = re.search(r"(\d+)\D*$", Path(name).stem)
    return int(digits[1]) if digits else int(id)


def _numbers(path: Path, line: int, cells: Sequence[str | None], least: int = 0) -> list[float]:
    try:
        found = [float(cell) for cell in cells if cell is not None]
    except ValueError as error:
        raise DataError(f"line {line}: {error}", where=path) from error
    if len(found) < max(least, len(cells)):
        raise DataError(f"line {line}: has {len(found)} columns, {least} are needed", where=path)
    return found


def _whole(path: Path, line: int, what: str, number: float) -> int:
    if not math.isfinite(number) or number != int(number):
        raise DataError(f"line {line}: the {what} is {number:g}, not a whole number", where=path)
    return int(number)
