"""Spans of time that overlap, on cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from marey.spans import distinct, temporal_iou


def test_temporal_iou_by_hand() -> None:
    span = np.array([0.0, 10.0])
    spans = np.array([(0, 10), (5, 15), (10, 20), (2, 8), (-30, 10)], float)
    np.testing.assert_allclose(temporal_iou(span, spans), [1, 1 / 3, 0, 0.6, 0.25])


@pytest.mark.parametrize(
    ("overlap", "kept"),
    [
        (0.0, [2, 3]),
        (0.3, [2, 3]),  # a third of the first two is common
        (0.34, [2, 0, 3]),
        (1.0, [2, 1, 0, 3]),
    ],
)
def test_the_surest_are_kept(overlap: float, kept: list[int]) -> None:
    spans = np.array([(5, 15), (0, 10), (0, 10), (30, 31)], float)
    assert distinct(spans, np.array([0.5, 0.6, 0.9, 0.2]), overlap) == kept
    assert distinct(spans[:0], np.array([]), overlap) == []
