"""Video mAP, by cases that can be worked out by hand."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from commands import Marey

import marey
from marey.data.ava import AvaFiles
from marey.errors import DataError
from marey.outputs.table import tubes as drawn
from marey.training.tube_metrics import (
    IOUS,
    Tube,
    evaluate_tubes,
    in_space,
    marked_tubes,
    measure_tubes,
)
from marey.types import Event, Input, ModelCard, Report, Track, Video

LOOK = Input(1, (8, 8), 8, mean=(0.5,) * 3, std=(0.5,) * 3)
CARD = ModelCard("made", None, 2, "test", "float32", LOOK)
WIDTH, HEIGHT = 200, 100


def tube(
    start: int,
    end: int,
    box: tuple[float, float, float, float] = (0, 0, 1, 1),
    score: float = 1.0,
    label: str = "sit",
) -> Tube:
    """With a box in every frame, of which there is one a second."""
    times = np.arange(start, end, dtype=np.float64)
    return Tube(label, start, end, score, times, np.tile(np.array(box, float), (len(times), 1)))


def reference(a: Tube, b: Tube) -> float:
    """ACT's: frames counted, the mean over those in common."""
    one, other = (dict(zip(t.times.tolist(), t.boxes.tolist(), strict=True)) for t in (a, b))
    common = [frame for frame in one if frame in other]
    if not common:
        return 0.0
    span = max(a.times[-1], b.times[-1]) - min(a.times[0], b.times[0]) + 1
    return float(np.mean([_iou(one[f], other[f]) for f in common])) * len(common) / span


def _iou(a: list[float], b: list[float]) -> float:
    width, height = (max(0, min(a[k + 2], b[k + 2]) - max(a[k], b[k])) for k in (0, 1))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (tube(0, 10), 1),
        (tube(5, 10), 1 / 2),  # half of the time
        (tube(0, 10, (0, 0, 0.5, 1)), 1 / 2),  # half of the space
        (tube(5, 15, (0, 0, 0.5, 1)), 5 / 15 / 2),
        (tube(10, 20), 0),  # begins as the other ends
        (tube(0, 10, (1, 0, 2, 1)), 0),
    ],
)
def test_overlap_is_that_in_time_times_the_mean_in_space(found: Tube, expected: float) -> None:
    assert in_space([tube(0, 10)])(found) == pytest.approx([expected])
    assert reference(found, tube(0, 10)) == pytest.approx(expected)


def test_boxes_that_change_count_moment_by_moment() -> None:
    """IoU 1 for 4 seconds and 0 for 6, as it is elsewhere then."""
    moving = tube(0, 10)
    moving.boxes[4:] += 5
    assert in_space([tube(0, 10)])(moving) == pytest.approx([0.4])


def test_as_the_reference_counts_frames() -> None:
    rng = np.random.default_rng(0)
    tubes = []
    for _ in range(12):
        start, length = rng.integers(0, 20), rng.integers(1, 20)
        one = tube(start, start + length)
        one.boxes[:, :2] += rng.uniform(0, 0.5, (length, 2))
        one.boxes[:, 2:] += rng.uniform(0, 0.5, (length, 2))
        tubes.append(one)
    for one in tubes:
        expected = [reference(one, other) for other in tubes]
        assert in_space(tubes)(one) == pytest.approx(expected)


def test_boxes_between_key_frames_lie_on_straight_lines() -> None:
    """Found: two boxes, four seconds apart; marked: a box a second that goes the same way."""
    marked = tube(0, 5)
    marked.boxes[:] += np.arange(5)[:, None]
    found = Tube("sit", 0, 5, 1, np.array([0.0, 4.0]), marked.boxes[[0, 4]])
    assert in_space([marked])(found) == pytest.approx([1])
    between = Tube("sit", 1.2, 1.8, 1, found.times, found.boxes)  # holds no marked moment
    assert in_space([marked])(between) == pytest.approx([0.6 / 5])


def test_average_precision_by_hand() -> None:
    """By descending score: right, false (taken), right at 0.2 and 0.5 only; of three marked."""
    truth = {"a": [tube(0, 10), tube(20, 30)], "b": [tube(0, 10)]}
    found = {
        "a": [tube(0, 10, score=0.9), tube(0, 9, score=0.8), tube(20, 26, score=0.7)],
        "c": [],
    }
    result = measure_tubes(found, truth)
    assert result.ious == IOUS
    assert result.at(0.2) == pytest.approx(1 / 3 + 2 / 3 / 3)
    assert result.at(0.5) == result.at(0.6) == result.at(0.2)  # 6 of 10 seconds
    assert result.at(0.65) == pytest.approx(1 / 3)
    assert result.strict == pytest.approx((3 * (1 / 3 + 2 / 9) + 7 / 3) / 10)
    assert [one.recall[0] for one in result.labels if one.recall] == [pytest.approx(2 / 3)]
    assert (result.labels[0].events, result.labels[0].detections, result.videos) == (3, 3, 2)


def test_labels_are_measured_apart_and_unmarked_ones_are_not_in_the_mean() -> None:
    truth = {"a": [tube(0, 10), tube(0, 10, label="walk")]}
    found = {"a": [tube(0, 10, label="sit"), tube(0, 10, label="run")]}
    result = measure_tubes(found, truth)
    assert {one.label: one.ap and one.ap[0] for one in result.labels} == {
        "sit": 1,
        "walk": 0,
        "run": None,
    }
    assert result.at(0.5) == 0.5
    with pytest.raises(DataError, match="no tube of these actions is marked"):
        measure_tubes(found, {"a": []})


LINES = """
a,0001,0,0,0.5,1,sit,0
a,0002,0,0,0.5,1,sit,0
a,0003,0,0,0.5,1,sit,0
a,0003,0,0,0.5,1,talk,0
a,0005,0,0,0.5,1,sit,0
a,0002,0.5,0,1,1,sit,1
a,0004,0.5,0,1,1,lie,1
""".strip()


def write(folder: Path, text: str = LINES) -> Path:
    path = folder / "marked.csv"
    path.write_text(text)
    return path


def tubes(path: Path) -> list[tuple[str, float, float, int]]:
    files = AvaFiles()
    names = files.named(path)
    found = marked_tubes(files.marked(path, names), names)
    files.check()
    return sorted((t.label, t.start, t.end, len(t.times)) for t in found["a"])


def test_a_persons_lines_are_a_tube_while_they_go_on(tmp_path: Path) -> None:
    """Key frames a second apart; at 4 s the first person does not sit."""
    assert tubes(write(tmp_path)) == [
        ("lie", 4, 5, 1),
        ("sit", 1, 4, 3),
        ("sit", 2, 3, 1),
        ("sit", 5, 6, 1),
        ("talk", 3, 4, 1),
    ]
    frames = [f"a,{k / 25:.3f},0,0,1,1,sit,0" for k in range(50) if k != 30]
    parts = [("sit", 0, pytest.approx(1.2), 30), ("sit", pytest.approx(1.24), 2, 19)]
    assert tubes(write(tmp_path, "\n".join(frames))) == parts


def test_lines_that_make_no_tube_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="1 lines name no person, the first a at 9 s"):
        tubes(write(tmp_path, f"{LINES}\na,0009,0,0,0.5,1,sit,"))
    with pytest.raises(DataError, match="person 0 does 'sit' twice in a at 2 s"):
        tubes(write(tmp_path, f"{LINES}\na,0002,0,0,0.6,1,sit,0"))


def report(events: list[Event], path: str = "videos/a.mp4") -> Report:
    video = Video(path, "mp4", "h264", WIDTH, HEIGHT, Fraction(10), 0.0, 10.0, 100)
    times = np.arange(100) / 10
    ones = np.ones(100, np.float32)
    left, right = (
        Track(id, "person", times, np.tile(np.array(box, np.float32), (100, 1)), ones, ones > 0)
        for id, box in ((1, (0, 0, 100, 100)), (2, (100, 0, 200, 100)))
    )
    return Report(video, CARD, (), (), (), tuple(events), (left, right))


EVENTS = [
    Event("sit", 1, 4, 0.9, actor=1),
    Event("sit", 5, 6, 0.8, actor=1),
    Event("sit", 2, 3, 0.7, actor=1),  # it was the other one
    Event("talk", 3, 4, 0.9, actor=1),
    Event("lie", 4, 5, 0.9, actor=2),
]


def test_reports_are_measured_against_lines(tmp_path: Path) -> None:
    path = write(tmp_path)
    result = evaluate_tubes([report(EVENTS)], path)
    ap = {one.label: one.ap and one.ap[0] for one in result.labels}
    assert ap == {"lie": 1, "sit": pytest.approx(2 / 3), "talk": 1}
    assert (result.videos, result.warnings) == (1, ())
    found = tmp_path / "found.json"
    marey.write(report(EVENTS), found)
    assert evaluate_tubes(found, path) == result
    table = drawn(result.to_dict())
    assert list(table.columns[0].cells) == ["lie", "talk", "sit", "mean"]
    assert list(table.columns[3].cells) == ["100.0 %", "100.0 %", "66.7 %", "88.9 %"]
    other = replace(EVENTS[0], label="fly"), replace(EVENTS[0], actor=None)
    told = evaluate_tubes(
        [report([*EVENTS, *other]), report([], "b.mp4")],
        write(tmp_path, f"{LINES}\nc,1,0,0,1,1,sit,0"),
    )
    assert set(told.warnings) == {
        "tubes found of other actions, left out: 1",
        "events of nobody who is followed, left out: 1",
        "reports of videos in which nothing is marked, left out: 1",
        "marked videos without a report, in which nothing is found: 1",
    }
    assert {one.label: one.events for one in told.labels}["sit"] == 4


def test_reports_of_other_videos_are_refused(tmp_path: Path) -> None:
    path = write(tmp_path)
    with pytest.raises(DataError, match="no report is of a marked video"):
        evaluate_tubes([report([], "b.mp4")], path)
    with pytest.raises(DataError, match="two reports are of 'a'"):
        evaluate_tubes([report([]), report([], "a.mkv")], path)


def test_the_command_gives_it_too(tmp_path: Path, marey: Marey) -> None:
    from marey import write as write_report

    path, found = write(tmp_path), tmp_path / "found.json"
    write_report(report(EVENTS), found)
    given = [path, "--task", "actions", "--tracks", found]
    done = marey("evaluate", *given)
    assert done.returncode == 0, done.stderr
    expected = evaluate_tubes(found, path).to_dict()
    assert json.loads(done.stdout) == json.loads(json.dumps(expected))
    assert marey("evaluate", *given, "-m", "r3d_18").returncode == 2
    assert marey("evaluate", path, "-m", "r3d_18", "--tracks", found).returncode == 2
