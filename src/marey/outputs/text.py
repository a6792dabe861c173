"""Reports as JSON, JSON lines and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path
from textwrap import indent
from typing import Any, TextIO

from marey.errors import DataError
from marey.types import CORNERS, Report, Score

CSV_COLUMNS = ("video", "scope", "start", "end", "rank", "label", "score", "id", *CORNERS, "seen")
Row = tuple[Any, ...]
"""A value for each of `CSV_COLUMNS`, None where there is none."""


def line(report: Report) -> str:
    """One report as one line of JSON."""
    return json.dumps(report.to_dict(), ensure_ascii=False)


def read_reports(path: Path) -> list[Report]:
    """The reports in a file that `write_json` wrote; DataError for another."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"))
        return [Report.from_dict(row) for row in (said if isinstance(said, list) else [said])]
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=path) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"is not a report of marey's ({type(error).__name__}: {error})",
            where=path,
            do="Write one with `marey track VIDEO -o FILE.json`.",
        ) from error


def write_json(reports: Iterable[Report], file: TextIO) -> None:
    """One object, or a list of several."""
    rows = (json.dumps(report.to_dict(), ensure_ascii=False, indent=2) for report in reports)
    first, second = next(rows, None), next(rows, None)
    if first is not None and second is None:
        file.write(first + "\n")
        return
    file.write("[")
    for k, row in enumerate(chain(filter(None, (first, second)), rows)):
        file.write(",\n" if k else "\n")
        file.write(indent(row, "  "))
    file.write("\n]\n")


def write_jsonl(reports: Iterable[Report], file: TextIO) -> None:
    file.writelines(line(report) + "\n" for report in reports)


def write_csv(reports: Iterable[Report], file: TextIO) -> None:
    """A row a label or a box, as `rows` gives them."""
    table = csv.writer(file)
    table.writerow(CSV_COLUMNS)
    for report in reports:
        for *row, score, id, x1, y1, x2, y2, seen in rows(report):
            box = [None if x is None else f"{x:.2f}" for x in (x1, y1, x2, y2)]
            table.writerow((*row, f"{score:.6f}", id, *box, None if seen is None else int(seen)))


def rows(report: Report) -> Iterator[Row]:
    """A row a label: `scope` is "video" for the whole of it, "window" for its parts, or "event".

    The `id` of an event is its actor's. Scope "box" is a box of a track, at `start`.
    """
    video, windows, no_box = report.video, report.windows, (None,) * (len(CORNERS) + 1)
    start = windows[0].start if windows else video.start
    end = windows[-1].end if windows else video.end
    spans: list[tuple[str, float, float | None, tuple[Score, ...]]] = [
        ("video", start, end, report.top)
    ]
    spans += [("window", each.start, each.end, each.top) for each in windows]
    for scope, start, end, top in spans:
        for rank, score in enumerate(top, start=1):
            yield video.path, scope, start, end, rank, score.label, score.score, None, *no_box
    for e in report.events:
        yield video.path, "event", e.start, e.end, 1, e.label, e.score, e.actor, *no_box
    for track in report.tracks:
        for time, box, score, seen in zip(
            track.times.tolist(),
            track.boxes.tolist(),
            track.scores.tolist(),
            track.seen.tolist(),
            strict=True,
        ):
            yield video.path, "box", time, None, 1, track.label, score, track.id, *box, seen
