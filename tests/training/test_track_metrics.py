"""Measures of tracks: worked by hand, and what is judged."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from marey.errors import DataError, MissingExtraError
from marey.training.track_metrics import evaluate_tracks
from marey.types import Input, ModelCard, Report, Track, Video


def mot(path: Path, rows: list[tuple[float, ...]]) -> Path:
    """Frame, id and left of squares of 10 pixels."""
    lines = (f"{f},{i},{x},0,10,10,{more[0] if more else 1},-1,-1,-1\n" for f, i, x, *more in rows)
    path.write_text("".join(lines))
    return path


def walk(id: int, x: float, frames: range) -> list[tuple[float, ...]]:
    return [(frame, id, x) for frame in frames]


def test_the_truth_itself_is_perfect_whatever_its_ids(tmp_path: Path) -> None:
    truth = mot(tmp_path / "gt.txt", walk(7, 0, range(1, 11)) + walk(900, 50, range(3, 9)))
    found = mot(tmp_path / "f.txt", walk(3, 0, range(1, 11)) + walk(1, 50, range(3, 9)))
    metrics = evaluate_tracks(found, truth).metrics
    assert (metrics.hota, metrics.mota, metrics.idf1) == pytest.approx((1, 1, 1))
    assert (metrics.switches, metrics.fragments, metrics.marked, metrics.marked_ids) == (
        0,
        0,
        16,
        2,
    )


def test_worked_by_hand(tmp_path: Path) -> None:
    """Ten frames: missed in two, under another id from the sixth on, and one false box."""
    truth = mot(tmp_path / "gt.txt", walk(1, 0, range(1, 11)))
    found = mot(
        tmp_path / "f.txt",
        walk(1, 0, range(2, 6)) + walk(2, 0, range(6, 10)) + [(3, 5, 200)],
    )
    metrics = evaluate_tracks(found, truth).metrics
    assert metrics.switches == 1
    assert metrics.recall == pytest.approx(8 / 10)
    assert metrics.precision == pytest.approx(8 / 9)
    assert metrics.mota == pytest.approx(1 - (2 + 1 + 1) / 10)
    # One identity explains four boxes of ten marked and nine found.
    assert metrics.idf1 == pytest.approx(2 * 4 / (10 + 9))
    # Each right box: the truth has ten, its id four, four in common.
    assert metrics.association == pytest.approx(4 / 10)
    assert metrics.detection == pytest.approx(8 / 11)
    assert metrics.hota == pytest.approx((4 / 10 * 8 / 11) ** 0.5)


def test_boxes_shifted_by_less_than_half_match_for_mota(tmp_path: Path) -> None:
    truth = mot(tmp_path / "gt.txt", walk(1, 0, range(1, 5)))
    near, far = 10 / 3 - 0.01, 10 / 3 + 0.01  # an overlap of one half
    assert (
        evaluate_tracks(mot(tmp_path / "a.txt", walk(1, near, range(1, 5))), truth).metrics.mota
        == 1
    )
    assert (
        evaluate_tracks(mot(tmp_path / "b.txt", walk(1, far, range(1, 5))), truth).metrics.mota
        == -1
    )


def test_judged_are_the_frames_of_the_truth_with_its_gaps(tmp_path: Path) -> None:
    truth = mot(tmp_path / "gt.txt", walk(1, 0, range(5, 8)) + walk(1, 0, range(11, 13)))
    found = mot(tmp_path / "f.txt", walk(1, 0, range(1, 21)))
    evaluation = evaluate_tracks(found, truth)
    assert (evaluation.first, evaluation.last) == (5, 12)
    assert evaluation.warnings == ("12 boxes lie outside of frames 5 to 12",)
    metrics = evaluation.metrics
    assert (metrics.boxes, metrics.marked) == (8, 5)
    assert metrics.precision == pytest.approx(5 / 8)  # where nothing is marked, nothing was


def test_boxes_marked_zero_do_not_count(tmp_path: Path) -> None:
    truth = mot(tmp_path / "gt.txt", [*walk(1, 0, range(1, 5)), (2, 9, 50, 0)])
    evaluation = evaluate_tracks(mot(tmp_path / "f.txt", walk(1, 0, range(1, 5))), truth)
    assert evaluation.metrics.mota == 1
    assert evaluation.warnings == ("1 boxes of the truth are marked not to count",)


def test_nothing_found_is_nothing_right(tmp_path: Path) -> None:
    truth = mot(tmp_path / "gt.txt", walk(1, 0, range(1, 5)))
    metrics = evaluate_tracks(mot(tmp_path / "f.txt", []), truth).metrics
    assert (metrics.hota, metrics.idf1, metrics.recall, metrics.boxes, metrics.ids) == (
        0,
        0,
        0,
        0,
        0,
    )


@pytest.mark.parametrize(
    ("found", "truth", "words"),
    [
        ([(1, 1, 0), (1, 1, 5)], [(1, 1, 0)], r"f\.txt: id 1 stands twice in frame 1"),
        ([(1, 1, 0)], [(1, 1, 0), (1, 1, 5)], r"gt\.txt: id 1 stands twice in frame 1"),
        ([(1, -1, 0)], [(1, 1, 0)], r"f\.txt: a box in frame 1 has no id"),
        ([(1, 1, 0)], [], r"gt\.txt: there is no box to compare with"),
        ([(1, 1, 0)], [(1, 1, 0, 0)], r"gt\.txt: there is no box to compare with"),
    ],
)
def test_what_cannot_be_measured_is_told(
    tmp_path: Path, found: list[tuple[float, ...]], truth: list[tuple[float, ...]], words: str
) -> None:
    with pytest.raises(DataError, match=words):
        evaluate_tracks(mot(tmp_path / "f.txt", found), mot(tmp_path / "gt.txt", truth))


def report() -> Report:
    video = Video("a.mp4", "mp4", "h264", 96, 64, fps=None, start=0, end=1, frames=5)
    card = ModelCard(
        "eye", None, 1, "test", "f32", Input(1, (1, 1), (1, 1), (0.0,) * 3, (1.0,) * 3)
    )
    times, boxes = np.arange(5) / 5, np.tile(np.array([0, 0, 10, 10], np.float32), (5, 1))
    track = Track(1, "person", times, boxes, np.ones(5, np.float32), np.ones(5, bool))
    return Report(video, card, (), (), tracks=(track,))


def test_a_report_and_its_file_are_measured_as_mots_text(tmp_path: Path) -> None:
    from dataclasses import replace
    from fractions import Fraction

    found = report()
    found = replace(found, video=replace(found.video, fps=Fraction(5)))
    path = tmp_path / "r.json"
    path.write_text(json.dumps(found.to_dict()))
    truth = mot(tmp_path / "gt.txt", walk(4, 0, range(1, 6)))
    assert evaluate_tracks(path, truth) == evaluate_tracks(found, truth)
    assert evaluate_tracks(path, truth).metrics.mota == 1
    path.write_text("[1]")
    with pytest.raises(DataError, match="is not a report of marey's"):
        evaluate_tracks(path, truth)
    path.write_text(json.dumps([found.to_dict()] * 2))
    with pytest.raises(DataError, match="holds 2 reports"):
        evaluate_tracks(path, truth)


def test_a_missing_trackeval_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("marey.training.track_metrics.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError, match=r"pip install 'marey\[track\]'"):
        evaluate_tracks(tmp_path / "f.txt", tmp_path / "gt.txt")
