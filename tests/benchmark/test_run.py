"""`marey bench` and `marey.bench`, whole, with a network that takes a moment."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

import marey
from marey.benchmark.footage import make_footage
from marey.benchmark.result import Bench
from marey.benchmark.run import median_start
from marey.cli import main
from marey.errors import ModelError
from marey.outputs.bench import drawn, markdown, write


@pytest.fixture(scope="module")
def result(tiny: str, video: Path) -> Bench:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("marey.benchmark.run._STARTS", 1)
        return marey.bench(tiny, [video], repeats=1, threads=1)


def test_it_survives_json(result: Bench) -> None:
    assert Bench.from_dict(json.loads(json.dumps(result.to_dict()))) == result
    with pytest.raises(ValueError, match=r"marey\.bench/1"):
        Bench.from_dict({"schema": "marey.bench/9"})


def test_it_says_what_was_measured(result: Bench, tiny: str, video: Path) -> None:
    assert result.model == tiny
    (way,) = result.ways
    assert (way.video, way.frames, way.clips) == (str(video), 40, 10)
    assert [clip.runtime for clip in result.network.clips][:2] == [
        "torch cpu, eager",
        "openvino cpu",
    ]
    assert 0 < result.start.imported < result.start.ready < result.start.labelled


def test_the_page_shows_it(result: Bench, tmp_path: Path) -> None:
    row = result.to_dict()
    page = markdown(row)
    assert f"{result.network.clips[1].ms:.1f}" in page
    assert f"{row['ways'][0]['frames_per_s']:.0f}" in page
    for line in page.splitlines():
        if line.startswith("|"):
            assert line.count("|") in {3, 4, 6, 9}, line
    write(row, tmp_path / "bench.md")
    assert (tmp_path / "bench.md").read_text(encoding="utf-8") == page
    write(row, tmp_path / "bench.json")
    assert Bench.from_dict(json.loads((tmp_path / "bench.json").read_text())) == result


def test_a_terminal_shows_it(result: Bench) -> None:
    from rich.console import Console

    console = Console(width=200, record=True, file=None)
    with console.capture() as shown:
        console.print(drawn(result.to_dict()))
    assert "first label" in shown.get()
    assert "h264" in shown.get()


def test_the_median_of_starts_is_taken_stage_by_stage() -> None:
    starts = [{"imported": a, "ready": b, "labelled": 9.0} for a, b in ((1, 5), (2, 4), (3, 9))]
    found = median_start(starts)
    assert (found.imported, found.ready, found.labelled) == (2, 5, 9)


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["marey", "bench", *map(str, arguments)])
    with pytest.raises(SystemExit) as done:
        main()
    return int(done.value.code or 0)


def test_the_verb_makes_a_video_and_prints_one_line(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tiny_file: str,
) -> None:
    made: list[float] = []

    def smaller(path: Path, seconds: float) -> Path:
        made.append(seconds)
        return make_footage(path, seconds / 4, (64, 96))

    monkeypatch.setattr("marey.benchmark.run.make_footage", smaller)
    assert run(monkeypatch, "-m", tiny_file, "--minutes", 0.1, "--precision", "f32") == 0
    assert made == [6]
    (line,) = capfd.readouterr().out.splitlines()
    found = Bench.from_dict(json.loads(line))
    assert (found.ways[0].video, found.ways[0].frames) == ("made", 38)
    assert [clip.precision for clip in found.network.clips] == ["float32"]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["-m", "x3d_s", "{folder}/none.mp4"], 1, "none.mp4"),
        (["-m", "x3d_s", "-o", "out.csv"], 1, ".json .md"),
        (["-m", "x3d_s", "--minutes", "0"], 2, "--minutes"),
        (["-m", "{folder}/none.onnx"], 1, "is not there"),
        ([], 2, "--model"),
    ],
)
def test_what_is_wrong_is_said(
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    tmp_path: Path,
    arguments: list[str],
    code: int,
    said: str,
) -> None:
    assert run(monkeypatch, *(text.format(folder=tmp_path) for text in arguments)) == code
    out, err = capfd.readouterr()
    assert out == ""
    assert said in err
    assert "Traceback" not in err


def test_errors_of_the_parts_are_the_callers(tiny: str) -> None:
    with pytest.raises(ModelError, match="f64"):
        marey.bench(tiny, precision="f64")
