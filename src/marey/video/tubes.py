"""The tube of a thing through a video: where it is, smoothed over time, and its picture cut out.

Boxes are x1 y1 x2 y2 in pixels of the image that they are cut from.
"""

from __future__ import annotations

from collections import deque

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Picture

from marey.types import Image, Interpolation

Box = NDArray[np.float64]

PAD = 0.1  # of a box's width and height, on each of its sides
SMOOTH = 0.2  # seconds to either side, over which boxes are averaged: how far one looks ahead

_FILTERS = {
    "bilinear": Picture.Resampling.BILINEAR,
    "bicubic": Picture.Resampling.BICUBIC,
    "area": Picture.Resampling.BOX,
}


class RecentBoxes:
    """The boxes of one thing by time, as far back as somebody asks for them."""

    def __init__(self) -> None:
        self._times: deque[float] = deque()
        self._boxes: deque[Box] = deque()

    def add(self, time: float, box: Box) -> None:
        self._times.append(time)
        self._boxes.append(box)

    def forget(self, before: float) -> None:
        while self._times and self._times[0] < before:
            self._times.popleft()
            self._boxes.popleft()

    def at(self, time: float) -> Box:
        """The mean of the boxes around `time`, at which there is one, by how near they are.

        The weight falls in a straight line to nothing at `SMOOTH` seconds, or at the nearer end of
        the known ones: both sides count alike, so a box that moves evenly stays where it is.
        """
        times = np.array(self._times)
        reach = min(SMOOTH, time - times[0], times[-1] - time)
        weights = np.clip(1 - np.abs(times - time) / max(reach, 1e-6), 0, None)
        return np.asarray(weights @ np.stack(self._boxes) / weights.sum())


def region(box: Box, picture: tuple[int, int], size: tuple[int, int]) -> Box:
    """What to cut from a picture (H, W) so that a network that wants `size` (H, W) sees the box.

    The box is padded by `PAD` and grown, in height or in width, to the shape of `size`, so that
    nothing is squeezed; then moved into the picture. Where that is too small for it, the region
    ends with the picture, and what is cut is squeezed: nothing of the box is lost, nothing made up.
    No side is shorter than a pixel, and edges are whole 64ths of one, so that roundings of times do
    not show.
    """
    centre = (box[:2] + box[2:]) / 2
    extent = (box[2:] - box[:2]) * (1 + 2 * PAD)
    shape = np.array(size[::-1])  # x, y
    extent = shape * max((extent / shape).max(), 1 / shape.min())
    limits = np.array(picture[::-1])
    half = np.minimum(extent, limits) / 2
    centre = np.clip(centre, half, limits - half)
    return np.asarray(np.round(64 * np.concatenate([centre - half, centre + half])) / 64)


def cut(image: Image, where: Box, size: tuple[int, int], how: Interpolation) -> Image:
    """The region `where` of the image, H W 3, scaled to `size` (H, W); its edges need not be whole
    pixels.
    """
    left, top = np.maximum(np.floor(where[:2]), 0).astype(int)
    right, bottom = np.ceil(where[2:]).astype(int)
    part = np.ascontiguousarray(image[top:bottom, left:right])
    height, width = part.shape[:2]
    x1, y1, x2, y2 = where - (left, top, left, top)
    box = max(x1, 0.0), max(y1, 0.0), min(x2, width), min(y2, height)
    scaled = Picture.fromarray(part).resize(size[::-1], _FILTERS[how], box)
    return np.asarray(scaled)
