"""`marey track` and `marey evaluate --task track` as a person uses them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from commands import Marey
from moving import Eye, straight

from marey.boxes import Detections
from marey.testing.videos import make_video

FRAMES = 30


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "street.mp4", frames=FRAMES, fps=Fraction(10))


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    """Two squares that pass each other; frame 15 lacks both."""
    lines = [
        f"{k + 1},-1,{x},{y},20,20,0.9,-1,-1,-1\n"
        for k in range(FRAMES)
        if k != 14
        for x, y in ((2 + k, 5), (70 - k, 40))
    ]
    path = tmp_path / "det.txt"
    path.write_text("".join(lines))
    return path


def test_a_pipe_has_a_report_a_line(marey: Marey, video: Path, boxes: Path) -> None:
    done = marey("track", video, "--detector", boxes)
    assert done.returncode == 0
    report = json.loads(done.stdout)
    assert [track["id"] for track in report["tracks"]] == [1, 2]
    assert [len(track["boxes"]) for track in report["tracks"]] == [FRAMES, FRAMES]
    assert [row["seen"] for row in report["tracks"][0]["boxes"]].count(False) == 1
    assert report["model"]["name"] == str(boxes)
    assert report["model"]["input"] is None
    how = {"every": 1, "threshold": 0.5, "labels": None}
    waits = {"patience": 1.0, "smooth": 0.5}
    assert report["tracking"] == {"tracker": "cbiou", **how, **waits}
    done = marey("track", video, "--detector", boxes, "--tracker", "none", "--every", "3")
    told = json.loads(done.stdout)["tracking"]
    assert told == {"tracker": "none", **how, "every": 3, **dict.fromkeys(waits)}


def test_what_is_written_is_measured_as_right(
    marey: Marey, video: Path, boxes: Path, tmp_path: Path
) -> None:
    truth = tmp_path / "gt.txt"
    for output in (tmp_path / "found.txt", tmp_path / "found.json"):
        assert marey("track", video, "--detector", boxes, "-o", output).returncode == 0
        if output.suffix == ".txt":
            truth.write_text(output.read_text())
        done = marey("evaluate", truth, "--task", "track", "--tracks", output)
        metrics = json.loads(done.stdout)["metrics"]
        assert (metrics["mota"], metrics["idf1"], metrics["switches"]) == (1, 1, 0)
        assert metrics["hota"] == pytest.approx(1)


def test_a_file_of_boxes_is_of_one_video(marey: Marey, video: Path, boxes: Path) -> None:
    done = marey("track", video, video, "--detector", boxes)
    assert done.returncode == 2
    assert "a file of boxes is of one" in done.stderr


def test_several_videos_are_done_and_gone_on_with(
    marey: Marey, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    eye = Eye([("person", straight(2, 5, 1))])
    monkeypatch.setattr("marey.tasks.track.make_detector", lambda name, **how: eye)
    other = make_video(tmp_path / "b.mp4", frames=8, fps=Fraction(10), first=10)
    (tmp_path / "broken.mp4").write_bytes(b"nothing")
    output = tmp_path / "out.jsonl"
    done = marey("track", video, tmp_path / "broken.mp4", other, "-o", output)
    assert done.returncode == 1
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [len(row["tracks"][0]["boxes"]) for row in rows] == [FRAMES, 8]
    assert sorted(eye.asked) == sorted([*range(FRAMES), *range(10, 18)])


def test_a_run_that_was_stopped_inside_a_video_goes_on_there(
    marey: Marey, video: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stopped(Eye):
        def __call__(self, frames: np.ndarray, /) -> list[Detections]:
            if len(self.asked) == 20:
                raise MemoryError
            return super().__call__(frames)

    things = [("person", straight(2, 5, 1))]
    eyes = [Stopped(things), Eye(things), Eye(things)]
    left = iter(eyes)
    monkeypatch.setattr("marey.tasks.track.make_detector", lambda name, **how: next(left))
    with pytest.raises(MemoryError):
        marey("track", video, "-o", tmp_path / "a.json")
    done = marey("track", video, "-o", tmp_path / "a.json")
    assert "1 videos were begun in an earlier run" in done.stderr
    assert marey("track", video, "-o", tmp_path / "b.json").returncode == 0
    assert [len(eye.asked) for eye in eyes] == [20, FRAMES - 20, FRAMES]
    assert (tmp_path / "a.json").read_text() == (tmp_path / "b.json").read_text()
    assert not list(tmp_path.glob("*.part*"))


@pytest.mark.parametrize("suffix", ["json", "jsonl", "csv", "parquet", "vtt", "txt", "mp4", "html"])
def test_nothing_to_follow_is_no_failure(
    marey: Marey, video: Path, tmp_path: Path, suffix: str
) -> None:
    (tmp_path / "det.txt").touch()
    output = tmp_path / f"out.{suffix}"
    assert marey("track", video, "--detector", tmp_path / "det.txt", "-o", output).returncode == 0
    assert output.exists()


def test_ids_and_lines_of_a_file_of_boxes_may_jump(
    marey: Marey, video: Path, boxes: Path, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.txt"
    lines = [line.split(",") for line in boxes.read_text().splitlines()]
    jumping = [",".join((line[0], str(-(10**k % 977)), *line[2:])) for k, line in enumerate(lines)]
    odd.write_text("\n".join(jumping[::2] + jumping[::-2]) + "\n")
    found = [json.loads(marey("track", video, "--detector", path).stdout) for path in (boxes, odd)]
    assert found[0]["tracks"] == found[1]["tracks"]


def test_labels_and_cuts(marey: Marey, video: Path, tmp_path: Path) -> None:
    detector = tmp_path / "det.csv"
    rows = (f"{k / 10},{x},5,{x + 9},30,{label}\n" for k in range(30) for x, label in AT)
    detector.write_text("time,x1,y1,x2,y2,label\n" + "".join(rows))
    report = json.loads(marey("track", video, "--detector", detector, "--labels", "dog").stdout)
    assert [track["label"] for track in report["tracks"]] == ["dog"]
    report["events"] = [{"label": "cut", "start": 1.5, "end": 1.6, "score": 1.0, "actor": None}]
    shots = tmp_path / "shots.json"
    shots.write_text(json.dumps(report))
    done = marey("track", video, "--detector", detector, "--labels", "dog", "--cuts", shots)
    assert [track["boxes"][0]["time"] for track in json.loads(done.stdout)["tracks"]] == [0, 1.5]


AT = ((5, "dog"), (60, "cat"))


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("--tracker", "magic"), 1, "no tracker is called 'magic'"),
        (("--detector", "magic"), 1, "no detector is called 'magic'"),
        (("--detector", "none.txt"), 1, "none.txt: cannot be read"),
        (("-o", "out.xyz"), 1, "unknown output format"),
        (("--smooth", "3"), 1, "do not go together"),
        (("--every", "0"), 2, "greater than or equal to 1"),
    ],
)
def test_wrong_usage_is_told(
    marey: Marey, video: Path, boxes: Path, arguments: tuple[str, ...], code: int, words: str
) -> None:
    given = () if "--detector" in arguments else ("--detector", boxes)
    done = marey("track", video, *given, *arguments)
    assert done.returncode == code
    assert words in done.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--task", "track"), "--tracks"),
        (("--task", "track", "--tracks", "a.txt", "-m", "r3d_18"), "--model"),
        (("--tracks", "a.txt", "-m", "r3d_18"), "--tracks"),
        ((), "--model"),
    ],
)
def test_options_of_evaluate_that_belong_elsewhere(
    marey: Marey, boxes: Path, arguments: tuple[str, ...], words: str
) -> None:
    done = marey("evaluate", boxes, *arguments)
    assert done.returncode == 2
    assert words in done.stderr
