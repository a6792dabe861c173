"""Reports as JSON, JSON lines and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from typing import TextIO

from marey.types import Report

CSV_COLUMNS = ("video", "scope", "start", "end", "rank", "label", "score")


def line(report: Report) -> str:
    """One report as one line of JSON."""
    return json.dumps(report.to_dict(), ensure_ascii=False)


def write_json(reports: Sequence[Report], file: TextIO) -> None:
    rows = [report.to_dict() for report in reports]
    json.dump(rows[0] if len(rows) == 1 else rows, file, ensure_ascii=False, indent=2)
    file.write("\n")


def write_jsonl(reports: Sequence[Report], file: TextIO) -> None:
    file.writelines(line(report) + "\n" for report in reports)


def write_csv(reports: Sequence[Report], file: TextIO) -> None:
    """A row a label: `scope` is "video" for the whole of it, "window" for its parts."""
    table = csv.writer(file)
    table.writerow(CSV_COLUMNS)
    for report in reports:
        whole = (report.windows[0].start, report.windows[-1].end, report.top)
        spans = [("video", *whole)] + [("window", w.start, w.end, w.top) for w in report.windows]
        for scope, start, end, top in spans:
            for rank, score in enumerate(top, start=1):
                path = report.video.path
                table.writerow((path, scope, start, end, rank, score.label, f"{score.score:.6f}"))
