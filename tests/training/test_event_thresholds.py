from __future__ import annotations

import pytest

from marey.training.event_thresholds import choose_thresholds
from marey.types import Event

TRUTH = {"a": [Event("x", 0, 10, 1.0), Event("x", 20, 30, 1.0), Event("y", 40, 50, 1.0)]}


def found(*scored: tuple[float, bool], label: str = "x") -> list[Event]:
    """Detections with these scores, right (each a new event) or wrong."""
    places = iter((0.0, 20.0))
    return [
        Event(label, start := next(places) if right else 100.0, start + 10, score)
        for score, right in scored
    ]


def test_f1_is_highest_there_by_hand() -> None:
    # Two events. F1 after each: 2*1/(1+2) = 2/3, 2*1/(2+2) = 1/2, 2*2/(3+2) = 4/5, 2*2/(4+2) = 2/3.
    detections = {"a": found((0.9, True), (0.8, False), (0.6, True), (0.2, False))}
    assert choose_thresholds(detections, TRUTH, ["x"]) == (pytest.approx(0.4),)


def test_a_threshold_cannot_part_equal_scores() -> None:
    # After the first 2/3 would be best, but the wrong ones have the same score.
    detections = {"a": found((0.9, True), (0.5, False), (0.5, False), (0.5, True))}
    # all four: 2*2/(4+2) = 2/3, the same as the first alone, which is taken
    assert choose_thresholds(detections, TRUTH, ["x"]) == (pytest.approx(0.7),)
    detections = {"a": found((0.5, True), (0.5, False), (0.5, False))}
    assert choose_thresholds(detections, TRUTH, ["x"]) == (pytest.approx(0.25),)


def test_labels_that_were_not_found_take_what_is_best_for_all() -> None:
    detections = {"a": found((0.8, True), (0.6, True)) + found((0.9, False), label="y")}
    x, y, z = choose_thresholds(detections, TRUTH, ["x", "y", "z"])
    assert x == pytest.approx(0.3)  # midway to nothing
    # Together, three events: 0, 2/5, 4/6.
    assert y == z == pytest.approx(0.3)


def test_where_nothing_is_found_a_half_is_left() -> None:
    assert choose_thresholds({}, TRUTH, ["x", "y"]) == (0.5, 0.5)
    assert choose_thresholds({"a": found((0.9, False))}, TRUTH, ["x"]) == (0.5,)
