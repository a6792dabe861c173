"""Regions cut from pictures, by hand and by properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.video.tubes import PAD, SMOOTH, RecentBoxes, cut, region


def box(*corners: float) -> np.ndarray:
    return np.array(corners, np.float64)


def tube(boxes: dict[float, np.ndarray]) -> RecentBoxes:
    made = RecentBoxes()
    for time, where in boxes.items():
        made.add(time, where)
    return made


def test_what_moves_evenly_stays_where_it_is_to_its_very_ends() -> None:
    times = [k / 25 for k in range(30)]
    boxes = {time: box(100 * time, 5, 100 * time + 20, 45) for time in times}
    for time in times:
        np.testing.assert_allclose(tube(boxes).at(time), boxes[time], atol=1e-9)


def test_a_jerk_is_spread_over_its_neighbours_and_no_further() -> None:
    times = [k / 20 for k in range(20)]  # four frames to either side
    boxes = {time: box(0, 0, 10, 10) for time in times}
    boxes[0.5] = box(16, 0, 26, 10)
    found = [tube(boxes).at(time)[0] for time in times]
    # Weights 4, 3, 2, 1 of 16.
    np.testing.assert_allclose(found[6:15], [0, 1, 2, 3, 4, 3, 2, 1, 0], atol=1e-9)
    assert not np.any(found[:6] + found[15:])
    assert SMOOTH == 0.2


def test_what_is_forgotten_is_what_nobody_asks_for() -> None:
    boxes = {k / 20: box(k * k, 0, k * k + 10, 10) for k in range(40)}
    whole, short = tube(boxes), tube(boxes)
    short.forget(1.0 - SMOOTH)
    np.testing.assert_allclose(short.at(1.0), whole.at(1.0))
    assert short.at(1.0)[0] != boxes[1.0][0]


def test_a_region_is_the_padded_box_in_the_shape_that_is_wanted() -> None:
    high = box(100, 100, 120, 140)
    np.testing.assert_allclose(region(high, (300, 400), (64, 64)), [86, 96, 134, 144])
    np.testing.assert_allclose(region(high, (300, 400), (64, 32)), [98, 96, 122, 144])
    assert PAD == 0.1


def test_at_an_edge_it_moves_into_the_picture() -> None:
    found = region(box(0, 250, 20, 290), (300, 400), (64, 64))
    np.testing.assert_allclose(found, [0, 246, 48, 294])
    found = region(box(380, 280, 400, 300), (300, 400), (64, 64))
    np.testing.assert_allclose(found, [376, 276, 400, 300])


def test_where_the_picture_is_too_small_nothing_of_the_box_is_lost() -> None:
    found = region(box(10, 0, 90, 300), (300, 100), (64, 64))
    np.testing.assert_allclose(found, [0, 0, 100, 300])


@given(
    st.tuples(st.floats(0, 500), st.floats(0, 300), st.floats(1e-4, 600), st.floats(1e-4, 400)),
    st.tuples(st.integers(8, 400), st.integers(8, 600)),
    st.sampled_from([(64, 64), (56, 112), (224, 171)]),
)
def test_it_holds_the_part_of_the_box_that_is_in_the_picture(
    where: tuple[float, float, float, float], picture: tuple[int, int], size: tuple[int, int]
) -> None:
    limits = np.array([picture[1], picture[0]] * 2, np.float64)
    inside = np.clip([where[0], where[1], where[0] + where[2], where[1] + where[3]], 0, limits)
    if not (inside[0] < inside[2] and inside[1] < inside[3]):
        return
    found = region(inside, picture, size)
    np.testing.assert_array_equal(found, np.clip(found, 0, limits))
    assert np.all(found[:2] <= inside[:2] + 1 / 64)
    assert np.all(found[2:] >= inside[2:] - 1 / 64)
    assert cut(np.zeros((*picture, 3), np.uint8), found, size, "bilinear").shape == (*size, 3)


def test_whole_pixels_at_the_same_size_are_the_pixels_themselves() -> None:
    image = np.random.default_rng(0).integers(0, 256, (60, 80, 3), np.uint8)
    found = cut(image, box(20, 10, 52, 42), (32, 32), "bilinear")
    np.testing.assert_array_equal(found, image[10:42, 20:52])


@pytest.mark.parametrize("how", ["bilinear", "bicubic"])
def test_edges_need_not_be_whole_pixels(how: str) -> None:
    ramp = np.repeat(np.arange(0, 240, 3, dtype=np.uint8)[None, :, None], 40, 0).repeat(3, 2)
    moved = [cut(ramp, box(20 + d, 4, 52 + d, 36), (8, 8), how) for d in (0, 0.5, 1)]
    level = [image[4, 4].mean() for image in moved]
    assert level[0] < level[1] < level[2]
