"""Reports written to files and terminals; they know values, not models."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

from marey.errors import OutputError
from marey.files import whole_file
from marey.outputs import text
from marey.outputs.activitynet import write_activitynet
from marey.outputs.mot import unwritten, write_mot
from marey.outputs.parquet import require_pyarrow, write_parquet
from marey.outputs.vtt import write_vtt
from marey.types import Report

Writer = Callable[[Iterable[Report], TextIO], None]

_TEXT: dict[str, Writer] = {
    ".activitynet.json": write_activitynet,
    ".json": text.write_json,
    ".jsonl": text.write_jsonl,
    ".csv": text.write_csv,
    ".vtt": write_vtt,
    ".txt": write_mot,
}
SUFFIXES = (*_TEXT, ".parquet", ".mp4", ".html")
_ONE = (".vtt", ".txt", ".mp4", ".html")  # what holds a single video
_EVENTS = (".vtt", ".activitynet.json")  # what holds nothing but events


def check_output(
    path: str | os.PathLike[str], inputs: int = 1, *, suffixes: Sequence[str] = SUFFIXES
) -> Path:
    """`path`, if a result of so many inputs can go there; else an error, before any work.

    OutputError, or MissingExtraError where the format needs a library that is not installed.
    """
    path = Path(path)
    suffix = suffix_of(path, suffixes)
    if suffix is None:
        known = " ".join(suffixes)
        raise OutputError(
            f"unknown output format {path.suffix!r}", where=path, do=f"Choose one of {known}."
        )
    if suffix in _ONE and inputs > 1:
        raise OutputError(
            f"one {suffix} cannot show {inputs} videos", where=path, do="Write one video at a time."
        )
    if not path.parent.is_dir():
        raise OutputError("its folder does not exist", where=path, do="Create it first.")
    if suffix == ".parquet":
        require_pyarrow()
    return path


def check_sources(path: Path, videos: Iterable[str | os.PathLike[str]]) -> None:
    """OutputError for a result that would take the place of a video that it is about."""
    if any(path.resolve() == Path(video).resolve() for video in videos):
        raise OutputError(
            "is the video itself, which would be lost", where=path, do="Choose another name."
        )


def suffix_of(path: Path, suffixes: Sequence[str] = SUFFIXES) -> str | None:
    """Which of `suffixes` the name ends with, the first if several."""
    return next((suffix for suffix in suffixes if path.name.endswith(suffix)), None)


def write(
    reports: Report | Iterable[Report], path: str | os.PathLike[str], *, embed: bool = False
) -> list[str]:
    """Write reports whole or not at all, as they come; the suffix of `path` chooses the format.

    `.json` holds one object for one report and a list for several, `.jsonl` a report a line, `.csv`
    and `.parquet` a row a label or a box; `.vtt` one video's events and tracks for a player, `.txt`
    its tracks as MOT's text, `.activitynet.json` the events of all for ActivityNet's evaluation;
    `.mp4` is the video with its labels, events and tracks drawn on it, `.html` a page with its
    player, time line and tracks, and the video inside with `embed` (one report each). Returns what
    the format could not hold, in words. Raises `OutputError`.
    """
    rows = [reports] if isinstance(reports, Report) else reports
    path = check_output(path)
    suffix = str(suffix_of(path))
    if suffix in _ONE:
        rows = shown = list(rows)
        check_output(path, len(shown))
        check_sources(path, (report.video.path for report in shown))
    if suffix == ".mp4":
        from marey.outputs.overlay import write_overlay

        return write_overlay(shown[0], path)
    if suffix == ".html":
        from marey.outputs.page import write_page

        return write_page(shown[0], path, embed=embed)
    found = _Counted(rows)
    with whole_file(path) as temporary:
        if suffix == ".parquet":
            write_parquet(found, temporary)
        else:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                _TEXT[suffix](found, file)
    if suffix == ".txt":
        return unwritten(shown[0])
    tracks = suffix == ".vtt" and any(report.tracks for report in shown)
    if found.events or tracks or suffix not in _EVENTS:
        return []
    return ["there were no events to write"]


class _Counted:
    """Reports on their way through, with how many events they held."""

    def __init__(self, reports: Iterable[Report]) -> None:
        self._reports, self.events = reports, 0

    def __iter__(self) -> Iterator[Report]:
        for report in self._reports:
            self.events += len(report.events)
            yield report
