"""The command line as a person uses it: stdout, stderr, and exit codes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from commands import Marey

from marey.console import warn
from marey.errors import MareyError
from marey.testing.videos import make_video
from marey.types import Report
from marey.video.write import VideoWriter

NET = "efficientnet_lite0"
VERBS = [
    "analyze",
    "track",
    "watch",
    "classify",
    "detect",
    "features",
    "check",
    "models",
    "show",
    "train",
    "evaluate",
    "export",
    "bench",
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "noise.mp4"
    rng = np.random.default_rng(0)
    with VideoWriter(path, 64, 48, Fraction(10)) as writer:
        for index in range(30):
            writer.write(rng.integers(0, 256, (48, 64, 3), np.uint8), Fraction(index, 10))
    return path


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(marey: Marey, verb: str) -> None:
    done = marey(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.strip()


def test_reports_are_json_lines_in_a_pipe(marey: Marey, video: Path) -> None:
    done = marey("classify", video, video, "--top", 2)
    assert done.returncode == 0, done.stderr
    first, second = map(json.loads, done.stdout.splitlines())
    assert first == second
    assert first["schema"] == "marey.report/1"
    assert [(w["start"], w["end"]) for w in first["windows"]] == [(0, 2), (1, 3)]
    assert all(len(w["top"]) == 2 for w in first["windows"])


def test_events_go_to_a_pipe_and_to_a_player(marey: Marey, video: Path, tmp_path: Path) -> None:
    arguments = ("detect", video, "-m", NET, "--threshold", 0.01)
    done = marey(*arguments)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert [(w["start"], w["end"]) for w in report["windows"]] == [(0, 2), (1, 3)]
    assert report["events"]
    assert all(0 <= event["start"] < event["end"] <= 3 for event in report["events"])
    assert marey(*arguments, "-o", tmp_path / "out.vtt").stdout == ""
    assert (tmp_path / "out.vtt").read_text().count("-->") == len(report["events"])


def test_one_bad_file_among_good_ones_is_told_and_skipped(
    marey: Marey, video: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    output = tmp_path / "out.jsonl"
    done = marey("classify", tmp_path / "bad.mp4", video, tmp_path / "missing.mp4", "-o", output)
    assert done.returncode == 1
    assert done.stdout == ""
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    assert len(errors) == 2
    assert "bad.mp4" in errors[0]
    assert "missing.mp4" in errors[1]
    assert [json.loads(line)["video"]["path"] for line in output.read_text().splitlines()] == [
        str(video)
    ]


def test_a_stopped_run_over_many_videos_goes_on(
    marey: Marey, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from marey.outputs.part import Part

    videos = [tmp_path / f"{k}.mp4" for k in range(4)]
    for path in videos:
        path.write_bytes(video.read_bytes())
    output, add = tmp_path / "out.jsonl", Part.add

    def stop_at_the_third(part: Part, path: str, report: Report) -> None:
        if path == str(videos[2]):
            raise MareyError("stopped")
        add(part, path, report)

    with monkeypatch.context() as patch:
        patch.setattr(Part, "add", stop_at_the_third)
        assert marey("classify", *videos, "-o", output).returncode == 1
    assert not output.exists()
    done = marey("classify", *videos, "-o", output, "-v")
    assert done.returncode == 0
    assert "2 videos are there from an earlier run" in done.stderr
    assert [str(path) in done.stderr for path in videos] == [False, False, True, True]
    rows = [json.loads(line)["video"]["path"] for line in output.read_text().splitlines()]
    assert rows == [str(path) for path in videos]
    assert not output.with_name("out.jsonl.part").exists()


def test_a_killed_process_goes_on_inside_a_video(tmp_path: Path, marey: Marey) -> None:
    video = make_video(tmp_path / "long.mp4", frames=3000, size=(64, 64), gop=25)
    whole, output = tmp_path / "whole.jsonl", tmp_path / "out.jsonl"
    assert marey("classify", video, "-o", whole).returncode == 0
    command = [sys.executable, "-m", "marey.cli", "classify", str(video), "-o", str(output)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            journals = list(tmp_path.glob("out.jsonl.part-*"))
            if journals and journals[0].read_bytes().count(b"\n") > 5:
                process.kill()
                break
            time.sleep(0.005)
    assert not output.exists()
    done = marey("classify", video, "-o", output, "-v")
    assert "1 videos were begun in an earlier run" in done.stderr
    assert " 60 clips" not in done.stderr
    assert output.read_text() == whole.read_text()
    assert {path.name for path in tmp_path.iterdir()} == {
        video.name,
        whole.name,
        output.name,
    }


def test_verbose_says_what_computes_and_where_time_goes(marey: Marey, video: Path) -> None:
    done = marey("classify", video, "-v", "--decode", "references", "--threads", 1)
    assert done.returncode == 0
    assert "openvino cpu" in done.stderr
    assert re.search(r"\d+ frames decoded .* \d+ skipped", done.stderr)
    assert "not decoded, as asked" in json.loads(done.stdout)["warnings"][0]


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["classify"], 2, "Missing argument"),
        (["classify", "{video}", "--window", "0"], 2, "--window"),
        (["classify", "{video}", "--decode", "some"], 2, "references"),
        (["classify", "{video}", "-m", "eficientnet_lite0"], 1, "efficientnet_lite0"),
        (["classify", "{video}", "-m", "r3d_18"], 1, "r3d_18-b3b3357e.pth"),
        (["classify", "{video}", "-m", "mc2_18"], 1, "weights"),
        (["classify", "{video}", "-o", "out.xyz"], 1, ".jsonl"),
        (["classify", "{video}", "{video}", "-o", "out.mp4"], 1, "one video"),
        (["classify", "{video}", "-m", "{folder}/nothing"], 1, "config.json"),
        (["classify", "{folder}/empty"], 1, "empty"),
        (["detect", "{video}", "-m", NET, "--threshold", "0"], 2, "--threshold"),
        (["detect", "{video}", "-m", NET, "--label-threshold", "tie"], 2, "label=0.4"),
        (["detect", "{video}", "-m", NET, "--label-threshold", "tiger ca=0.4"], 1, "tiger cat"),
        (["detect", "{video}", "{video}", "-m", NET, "-o", "out.vtt"], 1, "one video"),
        (["show", "r3d_81"], 1, "r3d_18"),
        (["models", "transformer*"], 1, "no model matches"),
        (["train", "{folder}/empty", "--recipe", "none.toml"], 1, "none.toml"),
        (["train", "{folder}/empty"], 2, "--recipe"),
        (["train", "{folder}/empty", "--recipe", "none.toml", "--skip"], 2, "--task detect"),
        (["train", "{folder}/empty", "--task", "detect"], 2, "--model"),
        (["evaluate", "{folder}/empty", "-m", NET, "--cache", "c"], 2, "detectors"),
        (["features", "{video}"], 2, "--output"),
        (["features", "{video}", "-o", "out.csv"], 1, ".parquet"),
        (["features", "{video}", "-o", "{folder}/f", "-m", "net.onnx"], 1, "no features"),
        (["evaluate", "{folder}/empty", "-m", "efficientnet_lite0"], 1, "empty"),
        (["evaluate", "{folder}/empty", "-m", "efficientnet_lite0", "--views", "9"], 2, "crops"),
        (["train", "{folder}", "--recipe", "none.toml", "--set", "lr"], 2, "key=value"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_what_is_wrong_is_said(
    marey: Marey, video: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "empty").mkdir()
    done = marey(*(text.format(video=video, folder=tmp_path) for text in arguments))
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_models_and_show_print_what_is_known(marey: Marey) -> None:
    rows = [json.loads(line) for line in marey("models", "r*_18").stdout.splitlines()]
    assert {"r3d_18", "r2plus1d_18", "rmc2_18"} <= {row["name"] for row in rows}
    shown = json.loads(marey("show", "r3d_18.k400").stdout)
    assert shown["params"] == 33_371_472
    assert shown["weights"][0]["licence"]


def test_check_counts_the_frames(marey: Marey, video: Path) -> None:
    row = json.loads(marey("check", video).stdout)
    assert row["frames"] == 30
    assert row["warnings"] == []


def test_version(marey: Marey) -> None:
    from marey import __version__

    assert marey("--version").stdout.strip() == __version__


def test_it_runs_as_a_program(video: Path) -> None:
    command = [sys.executable, "-m", "marey.cli", "check", str(video)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert json.loads(done.stdout)["frames"] == 30
    assert done.stderr == ""


def test_a_warning_names_its_place_once(capsys: pytest.CaptureFixture[str]) -> None:
    warn("r3d_18", ["r3d_18: the head is new", "2 frames were repeated"])
    assert capsys.readouterr().err.splitlines() == [
        "marey: warning: r3d_18: the head is new",
        "marey: warning: r3d_18: 2 frames were repeated",
    ]
