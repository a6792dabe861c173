"""Frame mAP by hand, and lines of AVA's files that cannot be used."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from commands import Marey

from marey.data.ava import EVALUATED, AvaFiles, KeyFrame, evaluated
from marey.errors import DataError
from marey.models._labels import ava
from marey.training.action_metrics import MOST, ActionEvaluation, evaluate_actions

LEFT, RIGHT = "0.0,0.0,0.5,1.0", "0.5,0.0,1.0,1.0"
HALF_OF_LEFT = "0.0,0.0,0.25,1.0"  # IoU 0.5 with LEFT
LESS = "0.0,0.0,0.24,1.0"


def measured(
    folder: Path, found: str, marked: str, *, excluded: str = "", classes: str = ""
) -> ActionEvaluation:
    paths = {}
    for name, text in (("found.csv", found), ("marked.csv", marked), ("out.csv", excluded)):
        paths[name] = folder / name
        paths[name].write_text("\n".join(line.strip() for line in text.strip().splitlines()))
    listed = folder / "list.pbtxt"
    if classes:
        listed.write_text(classes)
    return evaluate_actions(
        paths["found.csv"],
        paths["marked.csv"],
        excluded=paths["out.csv"] if excluded else None,
        actions=listed if classes else None,
    )


def ap(result: ActionEvaluation) -> dict[str, float]:
    return {one.label: one.ap for one in result.actions if one.ap is not None}


MARKED = f"""
    a,0902,{LEFT},11,0
    a,0902,{RIGHT},12,1
    a,0903,{LEFT},11,0
    b,0902,{LEFT},11,4
"""


def test_what_is_right_all_over_is_one(tmp_path: Path) -> None:
    found = re.sub(r",\d+(?=\n|$)", ",0.9", MARKED.strip() + "\n")
    result = measured(tmp_path, found, MARKED)
    assert (result.mean_ap, result.frames, ap(result)) == (1, 3, {"sit": 1, "stand": 1})
    assert {(one.label, one.marked, one.found) for one in result.actions if one.marked} == {
        ("sit", 3, 3),
        ("stand", 1, 1),
    }
    assert len(result.actions) == 60


def test_precision_never_rises_with_recall(tmp_path: Path) -> None:
    """By descending score: right, false, right, of three marked: 1/3 + 2/3 of 1/3."""
    found = f"""
        a,902,{LEFT},11,0.9
        a,902,{RIGHT},11,0.8
        a,903,{HALF_OF_LEFT},11,0.7
    """
    result = measured(tmp_path, found, MARKED)
    assert ap(result) == {"sit": pytest.approx(1 / 3 + 2 / 9), "stand": 0}
    assert result.mean_ap == pytest.approx((1 / 3 + 2 / 9) / 2)


def test_the_better_of_two_later_boxes_lifts_what_was_before(tmp_path: Path) -> None:
    """False, right, right: the precision at the first is that of the second, 2/3."""
    found = f"""
        c,902,{LEFT},11,0.9
        a,902,{LEFT},11,0.8
        a,903,{LEFT},11,0.7
    """
    assert ap(measured(tmp_path, found, MARKED))["sit"] == pytest.approx(2 / 3 * 2 / 3)


def test_a_marked_box_is_found_once_by_the_surest_and_a_half_is_enough(tmp_path: Path) -> None:
    found = f"""
        b,902,{LEFT},11,0.2
        b,902,{HALF_OF_LEFT},11,0.3
        a,902,{LESS},11,0.4
    """
    # False (too little), right, false (taken): 1/2 of 1/3.
    assert ap(measured(tmp_path, found, MARKED))["sit"] == pytest.approx(1 / 6)


def test_a_box_goes_to_the_one_it_overlaps_most_though_that_is_taken(tmp_path: Path) -> None:
    """The second one reaches 0.5 with either; as the reference has it, it is false."""
    marked = "a,1,0,0,0.5,0.5,11,0\na,1,0,0,0.5,0.6,11,1"
    found = "a,1,0,0,0.5,0.5,11,0.9\na,1,0,0,0.5,0.52,11,0.8"
    assert ap(measured(tmp_path, found, marked)) == {"sit": pytest.approx(1 / 2)}


def test_excluded_key_frames_do_not_count(tmp_path: Path) -> None:
    found = f"a,902,{LEFT},11,0.9\nb,902,{RIGHT},11,0.95"
    result = measured(tmp_path, found, MARKED, excluded="b,0902.0\na,0903")
    assert (ap(result), result.frames) == ({"sit": 1, "stand": 0}, 1)
    assert result.warnings == (
        "key frames found that are excluded: 1",
        "key frames marked that are excluded: 2",
    )


def test_a_list_of_actions_says_what_is_judged(tmp_path: Path) -> None:
    classes = 'label {\n  name: "sit down"\n  label_id: 11\n  label_type: PERSON_MOVEMENT\n}\n'
    found = f"a,902,{LEFT},11,0.9\na,902,{RIGHT},12,0.9"
    result = measured(tmp_path, found, MARKED, classes=classes)
    assert [one.label for one in result.actions] == ["sit down"]
    assert result.mean_ap == pytest.approx(1 / 3)
    assert result.warnings == (
        "boxes found of other actions, left out: 1",
        "boxes marked of other actions, left out: 1",
    )
    items = 'item {\n  name: "sit"\n  id: 11\n}\nitem {\n  name: "stand"\n  id: 12\n}\n'
    assert set(ap(measured(tmp_path, found, MARKED, classes=items))) == {"sit", "stand"}


def test_of_a_key_frame_the_surest_fifty_count(tmp_path: Path) -> None:
    many = "\n".join(f"a,902,{RIGHT},14,{0.5 + k / 1000}" for k in range(MOST))
    result = measured(tmp_path, f"a,902,{LEFT},11,0.4\n{many}", MARKED)
    assert ap(result)["sit"] == 0
    assert result.warnings == (f"boxes beyond the {MOST} surest of a key frame, left out: 1",)
    result = measured(tmp_path, f"a,902,{LEFT},11,0.6\n{many}", MARKED)
    assert ap(result)["sit"] == pytest.approx(1 / 3)


def test_against_a_plain_count(tmp_path: Path) -> None:
    """Random boxes, one action: the area under the curve, point by point."""
    rng = np.random.default_rng(0)
    low = rng.uniform(0, 0.6, (60, 2))
    truth = np.concatenate([low, low + rng.uniform(0.2, 0.4, (60, 2))], 1)
    boxes = truth[rng.integers(0, 60, 150)] + rng.normal(0, 0.04, (150, 4))
    scores = rng.permutation(150) / 150
    frames = np.arange(60) // 3
    places = rng.integers(0, 20, 150)
    marked = "\n".join(f"v,{frames[k]},{','.join(map(str, truth[k]))},1,{k}" for k in range(60))
    found = "\n".join(
        f"v,{places[k]},{','.join(map(str, boxes[k]))},1,{scores[k]}" for k in range(150)
    )
    taken: set[int] = set()
    right = []
    for k in np.argsort(-scores):
        overlaps = {j: _iou(boxes[k], truth[j]) for j in range(60) if frames[j] == places[k]}
        best = max(overlaps, key=overlaps.__getitem__)
        right.append(overlaps[best] >= 0.5 and best not in taken)
        if right[-1]:
            taken.add(best)
    precision = np.cumsum(right) / np.arange(1, 151)
    expected = sum(max(precision[k:]) for k in range(150) if right[k]) / 60
    assert 0 < expected < 1
    (found_ap,) = ap(measured(tmp_path, found, marked)).values()
    assert found_ap == pytest.approx(expected)


def _iou(a: np.ndarray, b: np.ndarray) -> float:
    width = max(0, min(a[2], b[2]) - max(a[0], b[0]))
    height = max(0, min(a[3], b[3]) - max(a[1], b[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (a, b)]
    return width * height / (sum(areas) - width * height)


def test_every_bad_line_of_all_files_is_told_at_once(tmp_path: Path) -> None:
    marked = f"""
        a,0902,{LEFT},11,0
        a,0902,{LEFT}
        ,0902,{LEFT},11,0
        a,soon,{LEFT},11,0
        a,0902,0,0,100,50,11,0
        a,0902,0.5,0,0.5,1,11,0
        a,0902,{LEFT},sit,0
        a,0902,{LEFT},11,anna
    """
    found = f"a,902,{LEFT},11,0.5\na,902,{LEFT},11,nan\na,902,{LEFT},0,0.5"
    with pytest.raises(DataError) as told:
        measured(tmp_path, found, marked, excluded="a", classes="nothing")
    lines = str(told.value).splitlines()
    assert "11 lines cannot be used" in lines[0]
    where = [re.sub(r".*/(\w+\.\w+)(?:, line (\d+))?:.*", r"\1 \2", line) for line in lines[1:]]
    assert where == [
        *("list.pbtxt ", "found.csv 2", "found.csv 3"),
        *(f"marked.csv {number}" for number in range(2, 9)),
        "out.csv 1",
    ]
    assert "the score is 'nan'; give a number" in lines[2]
    assert "x1, y1, x2, y2 as shares of the picture's size" in lines[7]
    assert "has no area" in lines[8]


def test_nothing_to_compare_with_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no box of these actions is marked"):
        measured(tmp_path, f"a,902,{LEFT},11,0.9", f"a,902,{LEFT},2,0")  # 2: not evaluated
    with pytest.raises(DataError, match=r"none\.csv: cannot be read"):
        evaluate_actions(tmp_path / "none.csv", tmp_path / "found.csv")


def test_what_is_read_of_people_and_times(tmp_path: Path) -> None:
    path = tmp_path / "marked.csv"
    path.write_text(f"a,0902,{LEFT},11,7\na,0902.04,{LEFT},11\n\n")
    read = AvaFiles().marked(path)
    assert read.frames == (KeyFrame("a", 902_000), KeyFrame("a", 902_040))
    assert (read.people.tolist(), read.scores.tolist()) == ([7, -1], [1, 1])


def test_the_sixty_are_of_the_eighty() -> None:
    assert len(evaluated()) == len(EVALUATED) == 60
    assert set(evaluated().values()) <= set(ava())


def test_the_command_gives_it_too(tmp_path: Path, marey: Marey) -> None:
    expected = measured(tmp_path, f"a,902,{LEFT},11,0.9\na,1,{LEFT},2,0.9", MARKED)
    files = [tmp_path / "marked.csv", "--task", "actions"]
    done = marey("evaluate", *files, "--actions", tmp_path / "found.csv")
    assert done.returncode == 0
    assert json.loads(done.stdout) == json.loads(json.dumps(expected.to_dict()))
    assert "boxes found of other actions, left out: 1" in done.stderr
    assert marey("evaluate", *files).returncode == 2
    assert marey("evaluate", *files, "-m", "r3d_18", "--actions", files[0]).returncode == 2
    assert marey("evaluate", tmp_path, "-m", "r3d_18", "--classes", files[0]).returncode == 2
