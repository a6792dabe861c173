"""Reports as JSON, JSON lines and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from itertools import chain
from textwrap import indent
from typing import TextIO

from marey.types import Report, Score

CSV_COLUMNS = ("video", "scope", "start", "end", "rank", "label", "score")
Row = tuple[str, str, float, float | None, int, str, float]


def line(report: Report) -> str:
    """One report as one line of JSON."""
    return json.dumps(report.to_dict(), ensure_ascii=False)


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
    """A row a label, as `rows` gives them."""
    table = csv.writer(file)
    table.writerow(CSV_COLUMNS)
    for report in reports:
        table.writerows((*row, f"{score:.6f}") for *row, score in rows(report))


def rows(report: Report) -> Iterator[Row]:
    """A row a label: `scope` is "video" for the whole of it, "window" for its parts, or "event"."""
    video, windows = report.video, report.windows
    start = windows[0].start if windows else video.start
    end = windows[-1].end if windows else video.end
    spans: list[tuple[str, float, float | None, tuple[Score, ...]]] = [
        ("video", start, end, report.top)
    ]
    spans += [("window", each.start, each.end, each.top) for each in windows]
    spans += [("event", e.start, e.end, (Score(e.label, e.score),)) for e in report.events]
    for scope, start, end, top in spans:
        for rank, score in enumerate(top, start=1):
            yield video.path, scope, start, end, rank, score.label, score.score
