"""`marey watch` as a person uses it: lines, files, signals, and exit codes."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from marey.cli import main
from marey.testing.videos import frame_number, make_video
from marey.types import Input, ModelCard

Run = Callable[..., tuple[int, str, str]]


class Halves:
    """Says "low" of frames numbered below 30, "high" of all others."""

    input = Input(frames=5, size=(32, 48), resize=(32, 48), mean=(0,) * 3, std=(1,) * 3)
    labels = ("low", "high")
    multilabel = False
    warnings: tuple[str, ...] = ()

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        high = np.array([frame_number(clip[2]) >= 30 for clip in clips])
        return np.where(high[:, None], (-9, 9), (9, -9)).astype(np.float32)

    def card(self) -> ModelCard:
        return ModelCard("halves", None, 2, "test", "float32", self.input)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Run:
    """Runs `marey watch` in this process by the network above: exit code, stdout, stderr."""
    monkeypatch.setattr("marey.runtime.live.compile_live", lambda model, **how: Halves())

    def command(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["marey", "watch", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            main()
        return int(done.value.code or 0), *capfd.readouterr()

    return command


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("videos") / "a.mp4", frames=60)


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    threads = threading.active_count()
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    yield
    assert threading.active_count() == threads
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == handlers


def rows(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_moments_are_json_lines_in_a_pipe(run: Run, video: Path) -> None:
    code, out, err = run(video, "--fast", "--step", 0.2, "--top", 1)
    assert (code, err) == (0, "")
    moments = rows(out)
    assert [round(m["end"], 2) for m in moments[:-1]] == [round(0.2 * k, 2) for k in range(1, 13)]
    assert [len(m["top"]) for m in moments] == [1] * 13
    assert [e["label"] for m in moments for e in m["events"]] == ["low", "high"]
    assert moments[-1]["over"]
    assert moments[-1]["counts"]["read"] == 60


def test_events_are_added_to_a_file_as_they_end(run: Run, video: Path, tmp_path: Path) -> None:
    for name in ("events.jsonl", "events.csv"):
        for _ in range(2):  # what stands there stays
            assert run(video, "--fast", "--step", 0.2, "-o", tmp_path / name) == (0, "", "")
    events = rows((tmp_path / "events.jsonl").read_text())
    assert [(event["source"], event["label"]) for event in events] == [
        (str(video), "low"),
        (str(video), "high"),
    ] * 2
    with (tmp_path / "events.csv").open(newline="") as file:
        table = list(csv.DictReader(file))
    assert [(row["label"], row["cut"]) for row in table] == [
        ("low", "False"),
        ("high", "False"),
    ] * 2
    assert [float(row["start"]) for row in table] == [event["start"] for event in events]


def test_on_a_terminal_a_line_a_source_and_the_events(
    run: Run, video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "200")
    code, out, _ = run(video, video, "--fast", "--step", 0.2)
    assert code == 0
    out = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", out)
    assert out.count("low 1.00") == 2  # an event of each
    last = sorted(line.split() for line in out.rstrip().splitlines()[-2:])
    assert last == [
        [str(video), "#2", "0:02.4", "high", "1.00", "over", "25.0", "0"],
        [str(video), "0:02.4", "high", "1.00", "over", "25.0", "0"],
    ]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_with_all_written(
    run: Run, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    seen: list[float] = []

    def ask(screen: object, row: dict[str, Any]) -> None:
        seen.append(row["end"])
        if len(seen) == 3:
            os.kill(os.getpid(), number)

    monkeypatch.setattr("marey.console.Screen.show", ask)
    output, clips = tmp_path / "events.jsonl", tmp_path / "clips"
    code, _, err = run(
        video, "--fast", "--policy", "all", "--step", 0.04, "-o", output, "--save-clips", clips
    )
    assert (code, err) == (0, "")
    assert len(seen) < 50
    (event,) = rows(output.read_text())
    assert (event["label"], event["cut"]) == ("low", True)
    assert [str(path) for path in clips.iterdir()] == [event["clip"]]


def test_a_second_signal_does_not_wait() -> None:
    from marey.console import until_signalled

    def twice() -> None:
        with until_signalled() as asked:
            os.kill(os.getpid(), signal.SIGINT)
            assert asked.wait(10)
            os.kill(os.getpid(), signal.SIGINT)
            asked.wait(0)

    with pytest.raises(KeyboardInterrupt):
        twice()


def test_one_that_fails_is_told_and_the_others_go_on(run: Run, video: Path, tmp_path: Path) -> None:
    code, out, err = run(tmp_path / "none.mp4", video, "--fast", "--step", 0.2)
    assert code == 1
    assert [m["source"] for m in rows(out) if m["over"] and not m["error"]] == [str(video)]
    assert "none.mp4: given up: cannot be opened" in err
    assert err.count("error: ") == 1
    assert "Traceback" not in err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ([], 2, "Missing argument"),
        (["{video}", "--policy", "some"], 2, "--policy"),
        (["{video}", "-o", "events.vtt"], 1, ".jsonl .csv"),
        (["{video}", "-o", "{folder}/none/events.csv"], 1, "folder does not exist"),
        (["{video}", "-o", "{folder}/other.csv"], 1, "other columns"),
        (["ftp://a/b"], 1, "rtsp://"),
        (["{video}", "--label-threshold", "hihg=0.4"], 1, "hihg"),
    ],
)
def test_what_is_wrong_is_said(
    run: Run, video: Path, tmp_path: Path, arguments: list[str], code: int, said: str
) -> None:
    (tmp_path / "other.csv").write_text("a,b\n1,2\n")
    done = run(*(text.format(video=video, folder=tmp_path) for text in arguments))
    assert done[:2] == (code, "")
    assert said in done[2]
    assert (tmp_path / "other.csv").read_text() == "a,b\n1,2\n"


def test_there_is_help(run: Run) -> None:
    code, out, _ = run("--help")
    assert code == 0
    assert "--save-clips" in out
