"""Boxes from files: three layouts, one meaning, and a word on every line that is not so."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from marey.boxes import visible
from marey.data.box_files import BoxFile, Row, is_box_file, read_boxes
from marey.errors import DataError

MOT = "1,-1,10,20,30,40,0.9,-1,-1,-1\n1,-1,50,20,5,40,0.5,-1,-1,-1\n3,7,11,20,30,40,-1,-1,-1,-1\n"


def write(folder: Path, name: str, text: str) -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_mot(tmp_path: Path) -> None:
    assert read_boxes(write(tmp_path, "a.txt", MOT)) == [
        Row(1, None, (10, 20, 40, 60), 0.9),
        Row(1, None, (50, 20, 55, 60), 0.5),
        Row(3, None, (11, 20, 41, 60), 1.0, id=7),
    ]


def test_mot_of_six_columns_and_with_spaces(tmp_path: Path) -> None:
    for text in ("1,9,499,158,31.03,75.17\n\n", "1 9 499 158 31.03 75.17\n"):
        (row,) = read_boxes(write(tmp_path, "a.txt", text))
        assert (row.frame, row.id, row.score, row.judged) == (1, 9, 1.0, True)


def test_a_truth_marked_zero_is_not_judged(tmp_path: Path) -> None:
    (row,) = read_boxes(write(tmp_path, "a.txt", "1,9,499,158,31,75,0,1,0.5\n"))
    assert not row.judged


def test_coco(tmp_path: Path) -> None:
    said = {
        "images": [
            {"id": 90, "file_name": "shot/frame_000007.jpg"},
            {"id": 4, "file_name": "x.jpg"},
        ],
        "categories": [{"id": 3, "name": "car"}],
        "annotations": [
            {"image_id": 90, "bbox": [10, 20, 30, 40], "category_id": 3, "score": 0.25},
            {"image_id": 4, "bbox": [1, 2, 3, 4], "category_id": 5},
        ],
    }
    assert read_boxes(write(tmp_path, "a.json", json.dumps(said))) == [
        Row(7, None, (10, 20, 40, 60), 0.25, "car"),
        Row(4, None, (1, 2, 4, 6), 1.0, "class 5"),
    ]
    results = [{"image_id": 12, "bbox": [0, 0, 1, 1], "score": 0.5}]
    (row,) = read_boxes(write(tmp_path, "b.json", json.dumps(results)))
    assert (row.frame, row.label) == (12, "person")


def test_csv_by_frame_and_by_time(tmp_path: Path) -> None:
    by_frame = "frame,x1,y1,x2,y2,label\n2,1,2,3,4,dog\n"
    assert read_boxes(write(tmp_path, "a.csv", by_frame)) == [
        Row(2, None, (1, 2, 3, 4), label="dog")
    ]
    by_time = "time,score,x1,y1,x2,y2\n0.5,0.75,1,2,3,4\n"
    assert read_boxes(write(tmp_path, "b.csv", by_time)) == [Row(None, 0.5, (1, 2, 3, 4), 0.75)]


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("a.txt", "1,-1,10,20,30\n", "line 1: has 5 columns, 6 are needed"),
        ("a.txt", MOT + "x,-1,1,2,3,4\n", "line 4: could not convert"),
        ("a.txt", "1.5,-1,1,2,3,4\n", r"line 1: the frame is 1\.5, not a whole number"),
        ("a.txt", "nan,-1,1,2,3,4\n", "line 1: the frame is nan"),
        ("a.txt", "1,-1,1,2,3,4,97.5\n", r"1 scores are not in \[0, 1\], such as 97\.5"),
        ("a.csv", "frame,x1,y1,x2\n1,2,3,4\n", "has no column 'y2'"),
        ("a.csv", "x1,y1,x2,y2\n1,2,3,4\n", "has no column 'time'"),
        ("a.csv", "frame,x1,y1,x2,y2\n1,2,3\n", "line 2"),
        ("a.csv", "frame,x1,y1,x2,y2\n1,2,3,,5\n", "line 2: could not convert"),
        ("a.json", "{", "is not COCO's JSON"),
        ("a.json", '{"images": []}', "is not COCO's JSON .KeyError"),
        ("a.json", '[{"bbox": [1, 2, 3, 4]}]', "is not COCO's JSON .KeyError"),
        ("a.xml", "", r"boxes are not read from '\.xml'.*\.txt \.json \.csv"),
    ],
)
def test_what_is_not_so_is_told(tmp_path: Path, name: str, text: str, words: str) -> None:
    with pytest.raises(DataError, match=words):
        read_boxes(write(tmp_path, name, text))


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        BoxFile(tmp_path / "none.txt")


def test_boxes_are_had_by_number(tmp_path: Path) -> None:
    file = BoxFile(write(tmp_path, "a.txt", MOT))
    assert len(file) == 3
    assert file.at(1, -math.inf, 0.0).scores.tolist() == pytest.approx([0.9, 0.5])
    assert len(file.at(2, 0.0, 0.1)) == 0
    assert file.at(3, 0.1, 0.2).boxes.tolist() == [[11, 20, 41, 60]]
    assert file.card().name.endswith("a.txt")


def test_a_box_too_large_for_its_numbers_is_nowhere(tmp_path: Path) -> None:
    """It is left out with those that have no area, and told, by whoever looks."""
    file = BoxFile(write(tmp_path, "a.txt", "1,-1,1e300,2,3,4,0.9\n1,-1,nan,2,3,4,0.9\n"))
    assert visible(file.at(1, -math.inf, 0.0).boxes, 96, 64).tolist() == [False, False]


def test_boxes_are_had_by_time_each_once(tmp_path: Path) -> None:
    rows = "".join(f"{time},1,2,3,4\n" for time in (0.0, 0.0333, 0.05, 0.1))
    file = BoxFile(write(tmp_path, "a.csv", "time,x1,y1,x2,y2\n" + rows))
    frames = [k / 30 for k in range(4)]
    counts = [
        len(file.at(k + 1, before, time))
        for k, (before, time) in enumerate(zip([-math.inf, *frames], frames, strict=False))
    ]
    assert counts == [1, 1, 1, 1]


def test_which_names_are_files() -> None:
    assert is_box_file("a/det.txt")
    assert is_box_file(Path("boxes.CSV"))
    assert not is_box_file("fcos_resnet50_fpn.coco")
