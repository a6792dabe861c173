"""Spans of time that overlap: how much, and which to keep. Arithmetic only; N 2 is (start, end)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Spans = NDArray[np.float64]


def temporal_iou(span: Spans, spans: Spans) -> NDArray[np.float64]:
    """Intersection over union in time of one span (2) with each of `spans` (N 2)."""
    (start, end), (starts, ends) = span, spans.T
    common = np.clip(np.minimum(end, ends) - np.maximum(start, starts), 0, None)
    return np.asarray(common / ((ends - starts) + (end - start) - common))


def distinct(spans: Spans, scores: NDArray[np.floating], overlap: float) -> list[int]:
    """Non-maximum suppression: which of `spans` (N 2) are kept, best first.

    The best is kept and those dropped whose `temporal_iou` with it is above `overlap`, then the
    best of the rest is, and so on.
    """
    left = np.argsort(-scores, kind="stable")
    kept = []
    while len(left):
        best, left = left[0], left[1:]
        kept.append(int(best))
        left = left[temporal_iou(spans[best], spans[left]) <= overlap]
    return kept
