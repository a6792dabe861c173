"""Reports of many boxes: the same text as ever, and little memory besides the arrays."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from test_outputs import make_report
from test_track_outputs import report, track

from marey.console import emit_text
from marey.outputs import text, write
from marey.outputs.part import Part
from marey.outputs.text import pieces, read_reports
from marey.types import Report, Track

SMALL = [report(), report(tracks=()), make_report(), report(tracks=(track(None, np.arange(3.0)),))]


@pytest.fixture(params=[1, 3, 1000])
def boxes_at_once(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(text, "_BOXES", request.param)


@pytest.mark.usefixtures("boxes_at_once")
@pytest.mark.parametrize("one", SMALL)
def test_pieces_are_the_report(one: Report) -> None:
    assert "".join(pieces(one)) == json.dumps(one.to_dict(), ensure_ascii=False)
    assert json.loads("".join(pieces(one, margin="    "))) == json.loads("".join(pieces(one)))


@pytest.mark.usefixtures("boxes_at_once")
def test_indented_a_box_is_a_line(tmp_path: Path) -> None:
    for count in (1, 2):
        write([report()] * count, tmp_path / "out.json")
        lines = (tmp_path / "out.json").read_text(encoding="utf-8").splitlines()
        boxes = [line for line in lines if '"x1"' in line]
        assert len(boxes) == 14 * count
        margins = {len(line) - len(line.lstrip()) for line in boxes}
        assert margins == {4 + 2 * count}
        assert lines[-1] == "}" if count == 1 else "]"
    assert [one.to_dict() for one in read_reports(tmp_path / "out.json")] == [
        report().to_dict()
    ] * 2


def test_what_is_kept_beside_an_output_is_exact(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    odd = Track(
        7,
        "naïve \"'",
        np.sort(rng.random(50)),
        rng.normal(0, 1e3, (50, 4)).astype(np.float32),
        rng.random(50, np.float32),
        rng.random(50) < 0.5,
    )
    loose = replace(odd, id=None)
    with Part(tmp_path / "out.csv", {}) as part:
        for number, tracks in enumerate([(odd, loose), (), (odd.only(slice(0)),)]):
            video = tmp_path / f"{number}.mp4"
            video.touch()
            part.add(video, report(tracks=tracks))
            (again,) = part.reports([video])
            assert replace(again, tracks=()) == report(tracks=())
            for one, other in zip(again.tracks, tracks, strict=True):
                for field in fields(Track):
                    here, there = getattr(one, field.name), getattr(other, field.name)
                    assert np.array_equal(here, there)
                    assert getattr(here, "dtype", None) == getattr(there, "dtype", None)


def long(people: int = 8, frames: int = 10_000) -> Report:
    times = np.arange(frames) / 25
    return report(tracks=tuple(track(id + 1, times) for id in range(people)))


def held(do: Callable[[], object]) -> int:
    """The most bytes that Python and numpy held at once more than before."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        do()
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_memory_is_a_small_multiple_of_the_arrays(tmp_path: Path) -> None:
    found, video = long(), tmp_path / "a.mp4"
    video.touch()
    arrays = 8 * 10_000 * 29
    with Part(tmp_path / "out.json", {}) as part:
        assert held(lambda: part.add(video, found)) < arrays
        assert held(lambda: list(part.reports([video]))) < 5 * arrays
    for suffix in (".json", ".jsonl", ".csv"):
        assert held(lambda suffix=suffix: write(found, tmp_path / f"out{suffix}")) < 1.5 * arrays  # type: ignore[misc]
    path = tmp_path / "out.json"
    dictionaries = held(lambda: json.loads(path.read_text(encoding="utf-8")))
    assert held(lambda: read_reports(path)) < dictionaries / 2
    assert sum(map(len, pieces(found))) > 30 * arrays / 10  # or nothing is shown


def test_a_pipe_gets_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(2):
        emit_text([*pieces(report()), "\n"], lambda: "")
    one, other = capsys.readouterr().out.splitlines()
    assert one == other == json.dumps(report().to_dict(), ensure_ascii=False)
