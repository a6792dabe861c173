"""Boxes in pictures: what a detector finds, how much boxes overlap, and which are none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

F = TypeVar("F", np.float32, np.float64)


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """The things in one picture, N.

    `boxes` N 4 are x1 y1 x2 y2 in its pixels (float32; x to the right, y down, x2 and y2 just
    outside), `scores` N in [0, 1] how sure the detector is, `labels` N what they are.
    """

    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, which: NDArray[np.bool_] | NDArray[np.int64]) -> Detections:
        """Those of a mask N, or of places."""
        places = np.arange(len(self))[which]
        labels = tuple(self.labels[k] for k in places)
        return Detections(self.boxes[places], self.scores[places], labels)


NOTHING = Detections(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), ())


def box_iou(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of each of `boxes` (N 4) with each of `others` (M 4), N M."""
    return paired_iou(boxes[:, None], others[None])


def paired_iou(boxes: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.float64]:
    """Intersection over union of boxes (… 4) with those in the same place of `others`, …."""
    one, two = boxes.astype(np.float64), others.astype(np.float64)
    low, high = np.maximum(one[..., :2], two[..., :2]), np.minimum(one[..., 2:], two[..., 2:])
    common = np.clip(high - low, 0, None).prod(-1)
    both = _area(one) + _area(two) - common
    return np.asarray(np.divide(common, both, out=np.zeros_like(common), where=both > 0))


def _area(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(np.clip(boxes[..., 2:] - boxes[..., :2], 0, None).prod(-1))


def inside(boxes: NDArray[F], width: int, height: int) -> NDArray[F]:
    """The parts of boxes (… 4) in a picture of this size; of those outside, nothing is left."""
    limits = np.array((width, height) * 2, boxes.dtype)
    return np.clip(boxes, 0, limits)


def visible(boxes: NDArray[np.floating], width: int, height: int) -> NDArray[np.bool_]:
    """Which boxes (N 4) have an area, and some of it in a picture of this size; N."""
    part = inside(boxes, width, height)
    return np.asarray(np.isfinite(boxes).all(1) & (part[:, 2:] > part[:, :2]).all(1))
