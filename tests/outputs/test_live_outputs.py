"""Events in files as they end, and a line a source."""

from __future__ import annotations

import json
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from marey.errors import OutputError
from marey.outputs.live import EVENT_COLUMNS, EventFile, board, happened

EVENT: dict[str, Any] = {
    "label": "a, b",
    "start": 1.5,
    "end": 62.0,
    "score": 0.75,
    "cut": False,
    "at": "2025-01-02T03:04:05.678Z",
    "clip": None,
}


def test_each_event_is_on_disk_at_once(tmp_path: Path) -> None:
    for name in ("a.jsonl", "a.csv"):
        with EventFile(tmp_path / name) as file:
            for count in range(1, 4):
                file.add("cam", [EVENT])
                lines = (tmp_path / name).read_text().splitlines()
                assert len(lines) == count + (name == "a.csv")
    assert json.loads(lines[0]) if name == "a.jsonl" else lines[0] == ",".join(EVENT_COLUMNS)
    assert lines[1] == 'cam,"a, b",1.5,62.0,0.75,False,2025-01-02T03:04:05.678Z,'
    assert json.loads((tmp_path / "a.jsonl").read_text().splitlines()[0]) == {
        "source": "cam",
        **EVENT,
    }


def test_what_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(OutputError, match="cannot be written"):
        EventFile(tmp_path / "folder.csv").__enter__()


def test_an_event_is_told_in_a_line() -> None:
    cut = {**EVENT, "cut": True, "at": None, "clip": "x/[a].mp4"}
    assert happened("cam", EVENT) == "2025-01-02T03:04:05.678Z  0:01.5 – 1:02.0  a, b 0.75  cam"
    assert happened("cam", cut).endswith(r"cam  x/\[a].mp4  (cut off)")


def test_a_source_without_a_frame_yet_has_a_line_too() -> None:
    row = {
        "source": "cam",
        "time": 0.0,
        "top": (),
        "under_way": (EVENT,),
        "fps": None,
        "lag": 0.25,
        "over": False,
        "counts": {"dropped": 7},
    }
    text = StringIO()
    Console(file=text, width=100).print(board([row]))
    assert text.getvalue().split() == [
        *("source", "time", "seen", "score", "event", "lag", "fps", "dropped"),
        *("cam", "0:00.0", "-", "a,", "b", "0.25", "s", "-", "7"),
    ]
