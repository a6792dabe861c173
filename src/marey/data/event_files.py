"""Lines that mark events in videos, as people keep them: a CSV table, or ActivityNet's JSON.

Lines are read as they stand; `marey.data.event_checks` says what is wrong with them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from marey.data.formats import table_rows
from marey.errors import DataError

_REQUIRED = ("video", "start", "end", "label")
# ActivityNet's names of the splits; THUMOS14 in the same layout writes them with capitals.
_SUBSETS = {"training": "train", "validation": "val", "testing": "test"}


@dataclass(frozen=True, slots=True)
class Line:
    """One event as it was written; with neither label nor times, a video in which none is.

    `where` is the place in the file. `start` and `end` are whatever stands there; "" where nothing
    does.
    """

    where: str
    video: str
    label: str = ""
    start: Any = ""
    end: Any = ""
    split: str = ""
    group: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a line, and what to do about it."""

    where: str
    what: str
    do: str

    def __str__(self) -> str:
        return f"{self.where}: {self.what}; {self.do}"


def read_lines(path: Path) -> list[Line | Problem]:
    """Every line of a `.json` or CSV file; DataError for a file that is neither."""
    if not path.is_file():
        raise DataError("no such file", where=path, do="Give a CSV table, or ActivityNet's JSON.")
    lines = list(_json(path) if path.suffix.lower() == ".json" else _csv(path))
    if not lines:
        raise DataError("names no video", where=path, do="Annotate at least one.")
    return lines


def _csv(path: Path) -> Iterator[Line | Problem]:
    for number, row in table_rows(path, _REQUIRED):
        where = f"line {number}"
        if None in row or None in row.values():
            what = "has more or fewer cells than the header"
            yield Problem(where, what, "quote cells that hold a comma")
        else:
            yield Line(where, **{name: cell.strip() for name, cell in row.items()})


def _json(path: Path) -> Iterator[Line | Problem]:
    try:
        database = json.loads(path.read_text(encoding="utf-8"))["database"]
        videos = database.items()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            "is not JSON in ActivityNet's layout",
            where=path,
            do='Write {"database": {VIDEO: {"subset": "training", "annotations": [...]}}}.',
        ) from error
    for name, video in videos:
        try:
            subset, notes = str(video.get("subset", "")).lower(), list(video["annotations"])
        except (KeyError, TypeError, AttributeError):
            yield Problem(name, "has no list of annotations", 'write "annotations": []')
            continue
        split = _SUBSETS.get(subset, subset)
        if not notes:
            yield Line(name, name, split=split)
        for number, note in enumerate(notes, 1):
            yield _note(f"{name}, annotation {number}", name, note, split)


def _note(where: str, name: str, note: Any, split: str) -> Line | Problem:
    try:
        start, end = note["segment"]
        return Line(where, name, str(note["label"]).strip(), start, end, split)
    except (KeyError, TypeError, ValueError):
        do = 'write {"segment": [START, END], "label": LABEL}'
        return Problem(where, "is no event", do)
