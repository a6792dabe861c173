"""Reports written to files and terminals; they know values, not models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TextIO

from marey.errors import OutputError
from marey.files import whole_file
from marey.outputs import text
from marey.types import Report

Writer = Callable[[Sequence[Report], TextIO], None]

_TEXT: dict[str, Writer] = {
    ".json": text.write_json,
    ".jsonl": text.write_jsonl,
    ".csv": text.write_csv,
}
SUFFIXES = (*_TEXT, ".mp4")


def check_output(path: str | os.PathLike[str], inputs: int = 1) -> Path:
    """`path`, if a result of so many inputs can go there; else `OutputError`, before any work."""
    path = Path(path)
    if path.suffix not in SUFFIXES:
        known = " ".join(SUFFIXES)
        raise OutputError(
            f"unknown output format {path.suffix!r}", where=path, do=f"Choose one of {known}."
        )
    if path.suffix == ".mp4" and inputs > 1:
        raise OutputError(
            f"one .mp4 cannot show {inputs} videos", where=path, do="Write one video at a time."
        )
    if not path.parent.is_dir():
        raise OutputError("its folder does not exist", where=path, do="Create it first.")
    return path


def write(reports: Report | Iterable[Report], path: str | os.PathLike[str]) -> list[str]:
    """Write reports whole or not at all; the suffix of `path` chooses the format.

    `.json` holds one object for one report and a list for several, `.jsonl` a report a line, `.csv`
    a row a label, `.mp4` the video with its labels drawn on it (one report). Returns what the
    format could not hold, in words. Raises `OutputError`.
    """
    rows = [reports] if isinstance(reports, Report) else list(reports)
    path = check_output(path, len(rows))
    if path.suffix == ".mp4":
        from marey.outputs.overlay import write_overlay

        return write_overlay(rows[0], path)
    with whole_file(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        _TEXT[path.suffix](rows, file)
    return []
