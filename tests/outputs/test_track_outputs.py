"""Tracks in every format, and drawn."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import jsonschema
import numpy as np
import pyarrow.parquet
import pytest
from rich.console import Console
from test_outputs import make_report, schema

from marey.data.box_files import BoxFile, read_boxes
from marey.errors import MissingExtraError, OutputError, VideoError
from marey.outputs import check_output, write
from marey.outputs.mot import frame_numbers
from marey.outputs.table import tracks as drawn
from marey.outputs.text import read_reports
from marey.testing.videos import make_video
from marey.types import Event, Report, Track, Tracking
from marey.video.read import open_video


def track(id: int | None, times: np.ndarray, x: float = 4, label: str = "person") -> Track:
    count = len(times)
    left = x + np.arange(count)
    boxes = np.stack([left, np.full(count, 5), left + 20, np.full(count, 45)], 1)
    seen = np.arange(count) % 3 != 1
    scores = np.linspace(0.5, 0.9, count)
    return Track(id, label, times, boxes.astype(np.float32), scores.astype(np.float32), seen)


def report(path: str = "a.mp4", tracks: tuple[Track, ...] | None = None) -> Report:
    made = replace(make_report(path), windows=(), top=(), events=())
    video = replace(made.video, width=96, height=64, fps=Fraction(10), start=2.0, end=3.0)
    if tracks is None:
        times = 2 + np.arange(10) / 10
        tracks = (track(1, times), track(2, times[4:8], 60, "dog"))
    how = Tracking("cbiou", 2, 0.5, 1.0, 0.25, ("person", "dog"))
    return replace(made, video=video, tracks=tracks, tracking=how)


def same(one: Report, other: Report) -> bool:
    return one.to_dict() == other.to_dict()


def test_the_documented_schema_holds_tracks_and_gives_them_back(tmp_path: Path) -> None:
    write(report(), tmp_path / "out.json")
    jsonschema.validate(json.loads((tmp_path / "out.json").read_text()), schema())
    (again,) = read_reports(tmp_path / "out.json")
    assert same(again, report())
    assert again.tracking == report().tracking
    assert again.tracks[1].seen.tolist() == [True, False, True, True]


def test_a_report_of_an_earlier_version_says_nothing_of_tracking() -> None:
    data = report().to_dict()
    del data["tracking"]
    assert Report.from_dict(data).tracking is None


@pytest.mark.parametrize("text", ["", "1,-1,2,3,4,5,0.9\n"])
def test_a_file_of_boxes_is_told_as_what_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "det.txt"
    path.write_text(text)
    card = BoxFile(path).card()
    assert (card.classes, card.input) == (len(text) > 0, None)
    told = replace(report(), model=card, tracking=Tracking("none", 1, 0.5, None, None)).to_dict()
    jsonschema.validate(json.loads(json.dumps(told)), schema())
    assert Report.from_dict(told).model == card


def test_csv_and_parquet_have_a_row_a_box(tmp_path: Path) -> None:
    found = replace(report(), events=(Event("walk", 2.0, 2.5, 0.75, actor=1),))
    write(found, tmp_path / "out.csv")
    write(found, tmp_path / "out.parquet")
    with (tmp_path / "out.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = pyarrow.parquet.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["scope"] for row in rows] == ["event", *["box"] * 14]
    assert (rows[0]["id"], rows[0]["x1"]) == ("1", "")
    box = rows[2]
    assert (box["start"], box["label"], box["id"], box["seen"]) == ("2.1", "person", "1", "0")
    assert [box[name] for name in ("x1", "y1", "x2", "y2")] == ["5.00", "5.00", "25.00", "45.00"]
    for row, typed in zip(rows, table, strict=True):
        assert float(row["start"]) == typed["start"]
        assert (row["x1"] and float(row["x1"])) == (typed["x1"] or "")
        assert row["seen"] == ("" if typed["seen"] is None else str(int(typed["seen"])))


def test_a_written_table_is_read_as_boxes(tmp_path: Path) -> None:
    write(report(), tmp_path / "out.csv")
    rows = read_boxes(tmp_path / "out.csv")
    assert len(rows) == 14
    assert (rows[-1].label, rows[-1].id) == ("dog", 2)
    assert rows[0].time == 2.0


def test_mot_counts_frames_and_ids_from_one(tmp_path: Path) -> None:
    assert write(report(), tmp_path / "out.txt") == ["the labels are not in it: person, dog"]
    lines = (tmp_path / "out.txt").read_text().splitlines()
    assert lines[0] == "1,1,4.00,5.00,20.00,40.00,0.5000,-1,-1,-1"
    assert [line.split(",")[:2] for line in lines[4:6]] == [["5", "1"], ["5", "2"]]
    assert len(lines) == 14
    rows = read_boxes(tmp_path / "out.txt")
    assert rows[0].box == (4, 5, 24, 45)


def test_mot_without_a_tracker_has_no_ids(tmp_path: Path) -> None:
    found = report(tracks=(track(None, 2 + np.arange(3) / 10),))
    assert write(found, tmp_path / "out.txt") == []
    assert {row.id for row in read_boxes(tmp_path / "out.txt")} == {-1}


def test_frames_at_uneven_times_are_numbered_by_the_video(tmp_path: Path) -> None:
    times = [Fraction(k * k, 50) for k in range(10)]
    path = make_video(tmp_path / "a.mp4", frames=10, times=times)
    with open_video(path) as reader:
        video = reader.video
        exact = np.array([float(frame.time) for frame in reader.frames(size=(16, 16))])
    found = replace(report(str(path), (track(1, exact[3:7]),)), video=video)
    numbers = frame_numbers(found)
    assert [numbers[time] for time in exact[3:7].tolist()] == [4, 5, 6, 7]
    path.unlink()
    with pytest.raises(VideoError):
        write(found, tmp_path / "out.txt")
    assert not (tmp_path / "out.txt").exists()


def test_vtt_has_a_cue_a_track(tmp_path: Path) -> None:
    assert write(report(), tmp_path / "out.vtt") == []
    text = (tmp_path / "out.vtt").read_text()
    assert "00:00:00.000 --> 00:00:00.900\nperson 1 0.70" in text
    assert "00:00:00.400 --> 00:00:00.700\ndog 2 0.70" in text
    found = replace(report(tracks=()), events=(Event("walk", 2.0, 2.5, 0.75, actor=1),))
    write(found, tmp_path / "out.vtt")
    assert "walk 1 0.75" in (tmp_path / "out.vtt").read_text()


@pytest.mark.parametrize(("suffix", "words"), [(".txt", "no tracks"), (".vtt", "no events")])
def test_nothing_to_write_is_told(tmp_path: Path, suffix: str, words: str) -> None:
    (said,) = write(report(tracks=()), tmp_path / f"out{suffix}")
    assert words in said


def test_mots_text_is_of_one_video(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"one \.txt cannot show 2 videos"):
        check_output(tmp_path / "out.txt", 2)


def test_the_overlay_shows_boxes_where_they_are(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=10, fps=Fraction(10), size=(240, 320))
    with open_video(path) as reader:
        video = reader.video
    still = Track(
        1,
        "person",
        np.arange(5) / 10,
        np.tile(np.array([100, 100, 180, 200], np.float32), (5, 1)),
        np.ones(5, np.float32),
        np.ones(5, bool),
    )
    plain, boxed = tmp_path / "plain.mp4", tmp_path / "boxed.mp4"
    empty = replace(report(str(path), ()), video=video)
    write(empty, plain)
    write(replace(empty, tracks=(still,)), boxed)
    for number, (one, other) in enumerate(zip(pictures(plain), pictures(boxed), strict=True)):
        differs = np.abs(one.astype(int) - other).max(-1) > 60
        side, away = differs[100:200, 178:183].any(1).mean(), differs[:60].mean()
        assert (side > 0.5) == (number < 5), (number, side)
        assert away < 0.01
        assert differs[110:190, 110:170].mean() < 0.5


@pytest.mark.parametrize("far", [600.0, 1e6, 3e9, 1e30])
def test_boxes_far_outside_of_the_picture_are_drawn(tmp_path: Path, far: float) -> None:
    path = make_video(tmp_path / "a.mp4", frames=3, fps=Fraction(10), size=(240, 320))
    with open_video(path) as reader:
        video = reader.video
    boxes = [[100, -far, far, 200], [-far, -far, far, far], [-far, -far, 100, 150]]
    times = np.zeros(1)
    tracks = tuple(
        replace(track(k, times), boxes=np.array([box], np.float32)) for k, box in enumerate(boxes)
    )
    plain, boxed = tmp_path / "plain.mp4", tmp_path / "boxed.mp4"
    empty = replace(report(str(path), ()), video=video)
    write(empty, plain)
    write(replace(empty, tracks=tracks), boxed)
    one, other = pictures(plain)[0], pictures(boxed)[0]
    differs = np.abs(one.astype(int) - other).max(-1) > 60
    assert differs[20:140, 98:103].any(1).mean() > 0.5


def test_hundreds_of_things_are_in_every_format(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=4, fps=Fraction(10), size=(240, 320))
    with open_video(path) as reader:
        video = reader.video
        times = np.array([float(frame.time) for frame in reader.frames(size=(16, 16))])
    crowd = tuple(track(7 * k + 1, times, x=k % 300) for k in range(400))
    found = replace(report(str(path), crowd), video=video)
    for suffix in (".json", ".jsonl", ".csv", ".parquet", ".txt", ".vtt", ".html", ".mp4"):
        assert write(found, tmp_path / f"out{suffix}") == []
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 1 + 1600
    lines = [line.split(",") for line in (tmp_path / "out.txt").read_text().splitlines()]
    rows = [(int(line[0]), int(line[1])) for line in lines]
    assert rows == [(frame + 1, 7 * k + 1) for frame in range(4) for k in range(400)]
    assert (tmp_path / "out.vtt").read_text().count("-->") == 400
    (again,) = read_reports(tmp_path / "out.json")
    assert same(again, found)


def pictures(path: Path) -> list[np.ndarray]:
    with open_video(path) as reader:
        return [frame.image for frame in reader.frames()]


def test_drawing_without_supervision_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = make_video(tmp_path / "a.mp4", frames=3)
    monkeypatch.setattr("marey.opencv.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"supervision.*marey\[track\]"):
        write(report(str(path)), tmp_path / "out.mp4")
    assert not (tmp_path / "out.mp4").exists()


def test_the_table_has_a_row_a_track() -> None:
    console = Console(width=120, record=True, file=io.StringIO())
    console.print(drawn(report()))
    text = console.export_text()
    assert "net.tag, cbiou · 2 tracks" in text
    assert "dog" in text
    assert "0:02.4 – 0:02.7" in text
