"""Boxes: overlap worked by hand, and which lie in a picture."""

from __future__ import annotations

import numpy as np
import pytest

from marey.boxes import Detections, box_iou, visible


def test_overlap_worked_by_hand() -> None:
    one = np.array([[0, 0, 2, 2], [5, 5, 5, 9]])
    others = np.array([[0, 0, 2, 2], [1, 1, 3, 3], [0, 0, 4, 4], [2, 0, 4, 2]])
    expected = [[1, 1 / 7, 1 / 4, 0], [0, 0, 0, 0]]
    assert box_iou(one, others) == pytest.approx(np.array(expected))


def test_no_boxes_overlap_nothing() -> None:
    assert box_iou(np.zeros((0, 4)), np.ones((3, 4))).shape == (0, 3)


def test_what_lies_in_a_picture() -> None:
    boxes = np.array(
        [[-5, -5, 1, 1], [-5, -5, 0, 9], [9, 0, 12, 3], [10, 0, 12, 3], [3, 3, 3, 4], [4, 3, 3, 4]],
        float,
    )
    assert visible(boxes, 10, 8).tolist() == [True, False, True, False, False, False]
    assert not visible(np.array([[0, 0, np.nan, 4], [0, 0, np.inf, 4]]), 10, 8).any()


def test_some_of_the_detections() -> None:
    found = Detections(
        np.eye(3, 4, dtype=np.float32), np.arange(3, dtype=np.float32), ("a", "b", "c")
    )
    assert found.only(np.array([True, False, True])).labels == ("a", "c")
    assert found.only(np.array([2, 0])).scores.tolist() == [2, 0]
