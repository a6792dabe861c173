"""Reports as JSON, JSON lines and CSV."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import Any, TextIO

from marey.errors import DataError
from marey.types import CORNERS, Report, Score, Track

CSV_COLUMNS = ("video", "scope", "start", "end", "rank", "label", "score", "id", *CORNERS, "seen")
Row = tuple[Any, ...]
"""A value for each of `CSV_COLUMNS`, None where there is none."""

_BOXES = 1000  # that are text at once


def pieces(report: Report, margin: str | None = None) -> Iterator[str]:
    """The JSON of a report, a little at a time: one line, or lines behind a `margin`, a box each.

    However long a video is, its boxes are never all dictionaries, or text, at once.
    """
    gap = "" if margin is None else f"\n{margin}  "
    comma, indent = (", ", None) if margin is None else ("," + gap, 2)
    yield "{" + gap
    for k, (key, value) in enumerate(replace(report, tracks=()).to_dict().items()):
        yield f'{comma if k else ""}"{key}": '
        if key == "tracks":
            yield from _tracks(report.tracks, gap)
        else:
            yield json.dumps(value, ensure_ascii=False, indent=indent).replace("\n", gap)
    yield "}" if margin is None else f"\n{margin}}}"


def _tracks(tracks: Iterable[Track], gap: str) -> Iterator[str]:
    """A list of them; every one, and every box, behind `gap` and two or four spaces, if it is."""
    yield "["
    comma, one, box = (",", gap + "  ", gap + "    ") if gap else (", ", "", "")
    for number, track in enumerate(tracks):
        about = json.dumps({"id": track.id, "label": track.label}, ensure_ascii=False)
        yield f'{comma if number else ""}{one}{about[:-1]}, "boxes": ['
        for first in range(0, len(track.times), _BOXES):
            some = track.only(slice(first, first + _BOXES)).to_dict()["boxes"]
            yield (comma if first else "") + box
            yield json.dumps(some)[1:-1].replace("}, {", "}" + comma + box + "{")
        yield "]}"
    yield "]"


def read_reports(path: Path) -> list[Report]:
    """The reports in a file that `write_json` wrote; DataError for another."""
    try:
        said = json.loads(path.read_text(encoding="utf-8"), object_hook=_as_it_comes)
        return [Report.from_dict(row) for row in (said if isinstance(said, list) else [said])]
    except OSError as error:
        raise DataError(f"cannot be read ({error.strerror or error})", where=path) from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"is not a report of marey's ({type(error).__name__}: {error})",
            where=path,
            do="Write one with `marey track VIDEO -o FILE.json`.",
        ) from error


def _as_it_comes(data: dict[str, Any]) -> dict[str, Any] | Track:
    """A track as soon as it is read, so that only its own boxes are dictionaries."""
    return Track.from_dict(data) if "boxes" in data else data


def write_json(reports: Iterable[Report], file: TextIO) -> None:
    """One object, or a list of several."""
    rows = iter(reports)
    first, second = next(rows, None), next(rows, None)
    if first is not None and second is None:
        file.writelines(pieces(first, margin=""))
        file.write("\n")
        return
    file.write("[")
    for k, row in enumerate(chain(filter(None, (first, second)), rows)):
        file.write(",\n  " if k else "\n  ")
        file.writelines(pieces(row, margin="  "))
    file.write("\n]\n")


def write_jsonl(reports: Iterable[Report], file: TextIO) -> None:
    for report in reports:
        file.writelines(pieces(report))
        file.write("\n")


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
