"""Crops of clips on uint8; scaling is the reader's, normalising the runtime's."""

from __future__ import annotations

from typing import Literal

from marey.types import Image


def centre_crop(frames: Image, size: tuple[int, int]) -> Image:
    """The centre of `size` (h, w) cut from frames T H W 3; ValueError if they are smaller."""
    return crops(frames, size, 1)[0]


def crops(frames: Image, size: tuple[int, int], count: Literal[1, 3]) -> list[Image]:
    """The spatial crops of the multi-view test protocol: the centre, or three along the long side.

    `frames` is T H W 3, each crop T h w 3, a view without a copy. Three are left, centre, right of
    a wide video and top, centre, bottom of a high one. ValueError if the frames are smaller.
    """
    if count not in (1, 3):
        raise ValueError(f"crops are 1 or 3, got {count}")
    (height, width), (h, w) = frames.shape[1:3], size
    if height < h or width < w:
        raise ValueError(f"cannot cut {h}x{w} (H x W) out of frames of {height}x{width}")
    bottom, right = height - h, width - w
    middle = round(bottom / 2), round(right / 2)
    places = [middle]
    if count == 3 and width >= height:
        places = [(middle[0], 0), middle, (middle[0], right)]
    elif count == 3:
        places = [(0, middle[1]), middle, (bottom, middle[1])]
    return [frames[:, y : y + h, x : x + w] for y, x in places]
