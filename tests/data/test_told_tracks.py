"""What is told of tracks, as boxes in key frames."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from marey.data.key_frames import MarkedActions
from marey.data.told_tracks import marked_by_tracks
from marey.errors import DataError
from marey.testing.videos import make_video
from marey.types import Input, ModelCard, Report, Track
from marey.video.read import open_video

CARD = ModelCard("d", None, 1, "openvino cpu", "float32", Input(1, (9, 9), 9, (0.5,), (0.5,)))
FPS = 25


def track(id: int, first: int, last: int, left: float) -> Track:
    """In the frames from `first` to `last`, 24 pixels wide and as high as the picture."""
    times = np.arange(first, last + 1) / FPS
    boxes = np.tile(np.array([left, 0, left + 24, 64], np.float32), (len(times), 1))
    sure, seen = np.ones(len(times), np.float32), np.ones(len(times), bool)
    return Track(id, "person", times, boxes, sure, seen)


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """3 s of 64x96: number 1 at the left all the time, number 2 at the right from 1 to 2 s."""
    path = make_video(tmp_path_factory.mktemp("videos") / "match.v1.mp4", frames=75, fps=FPS)
    with open_video(path) as reader:
        video = reader.video
    tracks = (track(1, 0, 74, 0), track(2, 25, 50, 84))
    return Report(video, CARD, (), (), tracks=tracks)


def told(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "told.csv"
    path.write_text(text)
    return path


def test_it_is_what_the_same_lines_say(report: Report, tmp_path: Path) -> None:
    table = told(tmp_path, "id,label,start,end\n1,serve,0.5,2\n1,shout,1,\n2,wait,,\n")
    marked = marked_by_tracks(table, [report], step=1)
    lines = tmp_path / "lines.csv"
    left, right = "0,0,0.25,1", "0.875,0,1,1"  # of the right one, what is in the picture
    lines.write_text(
        f"match.v1,0,{left},4,1\n"
        f"match.v1,1,{left},serve,1\nmatch.v1,1,{left},shout,1\nmatch.v1,1,{right},wait,2\n"
        f"match.v1,2,{left},shout,1\nmatch.v1,2,{right},wait,2\n"
    )
    folder = Path(report.video.path).parent
    names = {1: "serve", 2: "shout", 3: "wait"}
    same = MarkedActions.read(lines, folder=folder, classes=names)
    assert marked.data_hash() == same.data_hash()
    assert (marked.labels, marked.videos) == (same.labels, same.videos)
    assert marked.warnings == ("boxes of which no action is told, learnt as none: 1",)
    clips = marked.clips(marked.labels)
    assert [clip.frame.time for clip in clips] == [0, 1, 2]
    assert [clip.targets.astype(int).tolist() for clip in clips] == [
        [[0, 0, 0]],
        [[1, 1, 0], [0, 0, 1]],
        [[0, 1, 0], [0, 0, 1]],
    ]


def test_what_a_run_writes_can_be_read(report: Report, tmp_path: Path) -> None:
    marked = marked_by_tracks(told(tmp_path, "id,label\n2,wait\n"), [report])
    marked.write(tmp_path / "val.csv")
    folder = Path(report.video.path).parent
    again = MarkedActions.read(tmp_path / "val.csv", folder=folder, classes=marked.actions)
    assert again.data_hash() == marked.data_hash()


@pytest.mark.parametrize(("step", "count"), [(1.0, 3), (0.2, 15), (0.04, 75), (9.0, 1)])
def test_key_frames_are_a_step_apart(
    report: Report, tmp_path: Path, step: float, count: int
) -> None:
    marked = marked_by_tracks(told(tmp_path, "id,label\n1,serve\n"), [report], step=step)
    assert len(set(marked.boxes.frames)) == count


def test_boxes_outside_of_the_picture_are_left_out_and_counted(
    report: Report, tmp_path: Path
) -> None:
    outside = replace(report, tracks=(*report.tracks, track(3, 0, 74, 96)))
    table = told(tmp_path, "id,label\n1,serve\n2,wait\n3,hide\n")
    marked = marked_by_tracks(table, [outside])
    assert marked.warnings == ("boxes with nothing of the picture, left out: 3",)
    assert set(marked.boxes.people.tolist()) == {1, 2}


def test_a_video_of_which_nothing_is_told_is_none_of_it(report: Report, tmp_path: Path) -> None:
    other = replace(report, video=replace(report.video, path="elsewhere/other.mp4"))
    table = told(tmp_path, "video,id,label\nmatch.v1.mp4,1,serve\nmatch.v1,2,wait\n")
    marked = marked_by_tracks(table, [other, report])
    assert {frame.video for frame in marked.boxes.frames} == {"match.v1"}


BAD = """video,id,label,start,end
match.v1,1,serve,0,1
gone,1,serve,0,1
match.v1,3,serve,0,1
match.v1,one,serve,0,1
match.v1,1,,0,1
match.v1,2,serve,2.5,3
match.v1,1,serve,soon,3
match.v1,1,serve,2,1
match.v1,1"""
REASONS = (
    "no report is of the video 'gone'",
    "has the id '3'; there are 1, 2",
    "has the id 'one'",
    "says nothing of what is done",
    "from 2.5 to 3 s there is no 2; it is there from 1 to 2 s",
    "the start is 'soon'",
    "from 2 to 1 s there is no 1",
    "fewer cells than the header",
)


def test_every_bad_line_is_told_at_once(report: Report, tmp_path: Path) -> None:
    with pytest.raises(DataError) as error:
        marked_by_tracks(told(tmp_path, BAD), [report])
    head, *lines = str(error.value).splitlines()
    assert head == "8 lines cannot be used:"
    for number, line, reason in zip(range(3, 11), lines, REASONS, strict=True):
        assert f"line {number}: " in line
        assert reason in line


def test_reports_that_cannot_be_told_apart(report: Report, tmp_path: Path) -> None:
    table = told(tmp_path, "id,label\n1,serve\n")
    with pytest.raises(DataError, match=r"two reports are of 'match.v1'"):
        marked_by_tracks(table, [report, report])
    with pytest.raises(DataError, match="means nothing"):
        marked_by_tracks(table, [report], step=0)
