"""Crops lie where the protocols put them."""

from __future__ import annotations

import numpy as np
import pytest

from marey.video.prepare import centre_crop, crops


def grid(height: int, width: int) -> np.ndarray:
    y, x = np.mgrid[:height, :width]
    return np.stack([y, x, y * 0], -1).astype(np.uint8)[None].repeat(2, 0)


def corner(crop: np.ndarray) -> tuple[int, int]:
    y, x, _ = crop[0, 0, 0]
    return int(y), int(x)


def test_centre() -> None:
    crop = centre_crop(grid(10, 20), (6, 8))
    assert crop.shape == (2, 6, 8, 3)
    assert corner(crop) == (2, 6)
    assert corner(centre_crop(grid(13, 17), (10, 10))) == (2, 4)  # as torchvision rounds


def test_three_along_the_long_side() -> None:
    assert [corner(c) for c in crops(grid(10, 20), (8, 8), 3)] == [(1, 0), (1, 6), (1, 12)]
    assert [corner(c) for c in crops(grid(20, 10), (8, 8), 3)] == [(0, 1), (6, 1), (12, 1)]
    assert [corner(c) for c in crops(grid(8, 8), (8, 8), 3)] == [(0, 0)] * 3


def test_a_crop_is_a_view() -> None:
    frames = grid(10, 20)
    assert np.shares_memory(crops(frames, (8, 8), 1)[0], frames)


def test_too_small_says_sizes() -> None:
    with pytest.raises(ValueError, match=r"cannot cut 11x8 \(H x W\) out of frames of 10x20"):
        crops(grid(10, 20), (11, 8), 1)
    with pytest.raises(ValueError, match="crops are 1 or 3"):
        crops(grid(10, 20), (8, 8), 2)  # type: ignore[arg-type]
