"""What is seen live: a line a source on a terminal, events in a file as they end."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Self

from rich.markup import escape
from rich.table import Table

from marey.errors import OutputError
from marey.files import unwritable
from marey.outputs import check_output
from marey.outputs.table import clock

EVENT_COLUMNS = ("source", "label", "start", "end", "score", "cut", "at", "clip")
SUFFIXES = (".jsonl", ".csv")

_NUMBERS = {"time": 7, "score": 5, "lag": 6, "fps": 4, "dropped": 7}  # so wide at least


class EventFile:
    """Events of sources, a line each, added to what stands in the file, on disk at once.

    The suffix chooses JSON lines or CSV; the file is opened by `with`. Raises OutputError for
    another suffix or a missing folder, for a CSV with other columns, and where it cannot be
    written.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._path = check_output(path, suffixes=SUFFIXES)

    def _head(self) -> None:
        self._file.seek(0)
        head = self._file.readline().rstrip("\r\n")
        columns = ",".join(EVENT_COLUMNS)
        if not head:
            self._file.write(columns + "\r\n")
        elif head != columns:
            self._file.close()
            raise OutputError(
                f"holds other columns: {head[:80]}", where=self._path, do="Take another file."
            )

    def __enter__(self) -> Self:
        try:
            self._file = self._path.open("a+", encoding="utf-8", newline="")
            if self._path.suffix == ".csv":
                self._head()
        except OSError as error:
            raise unwritable(self._path, error) from error
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()

    def add(self, source: str, events: Iterable[Mapping[str, Any]]) -> None:
        """Write the events of a source that have ended."""
        try:
            for event in events:
                row = {"source": source, **event}
                if self._path.suffix == ".csv":
                    cells = [row[column] for column in EVENT_COLUMNS]
                    csv.writer(self._file).writerow(cells)
                else:
                    self._file.write(json.dumps(row, ensure_ascii=False) + "\n")
            self._file.flush()
        except OSError as error:
            raise unwritable(self._path, error) from error


def happened(source: str, event: Mapping[str, Any]) -> str:
    """An event that has ended, in a line."""
    span = f"{clock(event['start'])} – {clock(event['end'])}"
    when = f"{event['at']}  {span}" if event["at"] else span
    kept = f"  {event['clip']}" if event["clip"] else ""
    cut = "  (cut off)" if event["cut"] else ""
    return escape(f"{when}  {event['label']} {event['score']:.2f}  {source}{kept}{cut}")


def board(moments: Iterable[Mapping[str, Any]]) -> Table:
    """A line a source: its time, what is seen and what happens in it, how it keeps up."""
    table = Table(box=None, pad_edge=False)
    for name in ("source", "time", "seen", "score", "event", "lag", "fps", "dropped"):
        width = _NUMBERS.get(name)
        table.add_column(name, no_wrap=True, justify="right" if width else "left", min_width=width)
    for moment in moments:
        best = moment["top"][0] if moment["top"] else None
        fps = moment["fps"]
        table.add_row(
            moment["source"],
            clock(moment["time"]),
            best["label"] if best else "-",
            f"{best['score']:.2f}" if best else "",
            ", ".join(event["label"] for event in moment["under_way"]),
            "over" if moment["over"] else f"{moment['lag']:.2f} s",
            f"{fps:.1f}" if fps else "-",
            str(moment["counts"]["dropped"]),
        )
    return table
