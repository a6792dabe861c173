"""Windows cover every moment, picks fall into the frames meant."""

from __future__ import annotations

import itertools
import math
from dataclasses import replace
from fractions import Fraction
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.errors import VideoError
from marey.types import Input, Window
from marey.video.windows import (
    bursts,
    dense,
    linspace,
    pick,
    segments,
    views,
    window_length,
    windows,
)


def an_input(**options: Any) -> Input:
    defaults: dict[str, Any] = {
        "frames": 8,
        "size": (112, 112),
        "resize": 128,
        "mean": (0.5, 0.5, 0.5),
        "std": (0.5, 0.5, 0.5),
    }
    return Input(**defaults | options)


def spans(*args: Any, **options: Any) -> list[tuple[float, float]]:
    return [(w.start, w.end) for w in windows(*args, **options)]


def test_examples() -> None:
    assert spans(10, 4, 3) == [(0, 4), (3, 7), (6, 10)]
    assert spans(10.5, 4, 3) == [(0, 4), (3, 7), (6, 10), (6.5, 10.5)]
    assert spans(10, 5) == [(0, 5), (5, 10)]
    assert spans(11, 5, start=2) == [(2, 7), (7, 12), (8, 13)]
    assert spans(3, 5) == [(0, 3)]
    assert spans(5, 5, start=1) == [(1, 6)]
    assert spans(10, 2, 4) == [(0, 2), (4, 6), (8, 10)]
    assert spans(4.004, 1) == [(0, 1), (1, 2), (2, 3), (3, 4.004)]
    assert spans(1.04, 1) == [(0, 1.04)]


def test_no_sliver_from_rounding() -> None:
    assert len(spans(0.1 * 3, 0.1)) == 3
    assert len(spans(1000 * 0.1 + 1e-9, 0.1)) == 1000
    assert len(spans(30 * 1001 / 30000 * 100, 1001 / 1000)) == 100


def test_endless() -> None:
    endless = windows(math.inf, 2, 1, start=5)
    thousandth = next(itertools.islice(endless, 1000, None))
    assert thousandth == Window(1005, 1007)


seconds = st.floats(0.01, 1e4)


@given(duration=seconds, length=seconds, step=st.floats(0.05, 1), start=st.floats(-100, 100))
def test_windows_cover_every_moment_and_none_runs_over(
    duration: float, length: float, step: float, start: float
) -> None:
    step *= length
    found = list(itertools.islice(windows(duration, length, step, start=start), 2000))
    complete = len(found) < 2000
    end, little = start + duration, 1e-6 * (1 + abs(start) + duration)
    assert found[0].start == start
    assert all(a.start < b.start <= a.end + little for a, b in itertools.pairwise(found))
    assert all(window.end <= end + little for window in found)
    assert all(w.end - w.start == pytest.approx(min(length, duration)) for w in found[:-1])
    if complete:
        assert found[-1].end == pytest.approx(end)
        last = found[-1].end - found[-1].start
        assert min(length, duration) - little <= last <= 1.05 * length + little


@pytest.mark.parametrize(
    "arguments",
    [(0, 1), (-1, 1), (math.nan, 1), (1, 0), (1, math.inf), (1, 1, 0), (1, 1, math.nan)],
)
def test_lengths_must_be_positive(arguments: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="must be a positive number of seconds"):
        windows(*arguments)
    with pytest.raises(ValueError, match="finite"):
        windows(1, 1, start=math.inf)


def test_dense() -> None:
    assert dense(8, 4, 2) == (0, 2, 4, 6)
    assert dense(12, 4, 2) == (2, 4, 6, 8)
    assert dense(5, 4, 2) == (0, 2, 4, 4)
    assert dense(5, 4, 2, short="loop") == (0, 2, 4, 1)
    assert dense(7, 4, 2, short="refuse") == (0, 2, 4, 6)
    with pytest.raises(VideoError, match="wants 7 frames, the window holds 6"):
        dense(6, 4, 2, short="refuse")
    assert {dense(6, 4, rng=Random(k))[0] for k in range(50)} == {0, 1, 2}


def test_bursts_are_neighbours_that_stay_inside() -> None:
    assert bursts((3, 7), 5, 9) == (1, 2, 3, 4, 5, 5, 6, 7, 8, 8)
    assert bursts((0, 7), 2, 9) == (0, 0, 6, 7)
    asked = an_input(frames=10, burst=5, sampling="segments", seconds=4.0)
    picks = pick(Window(1.0, 5.0), asked, 10)
    assert [round(10 * t - 0.5) - 10 for t in picks.times] == [8, 9, 10, 11, 12, 28, 29, 30, 31, 32]
    for wrong in ({"frames": 9}, {"sampling": "dense", "seconds": None}):
        with pytest.raises(ValueError, match="bursts divide"):
            replace(asked, **wrong)


def test_segments_are_the_middles_of_equal_parts() -> None:
    assert segments(8, 4) == (1, 3, 5, 7)
    assert segments(90, 3) == (15, 45, 75)
    assert segments(10, 3) == (1, 5, 8)
    assert segments(2, 4) == (0, 0, 1, 1)


def test_linspace_goes_from_first_to_last() -> None:
    assert linspace(64, 8) == (0, 9, 18, 27, 36, 45, 54, 63)
    assert linspace(10, 4) == (0, 3, 6, 9)
    assert linspace(10, 1) == (0,)
    assert linspace(3, 5) == (0, 0, 1, 1, 2)


sizes = st.integers(1, 500)


@given(n=sizes, frames=st.integers(1, 64), every=st.integers(1, 9), seed=st.integers())
def test_picks_stay_inside(n: int, frames: int, every: int, seed: int) -> None:
    rng = Random(seed)
    for picks in (
        dense(n, frames, every),
        dense(n, frames, every, rng=rng),
        segments(n, frames),
        segments(n, frames, rng),
        linspace(n, frames),
    ):
        assert len(picks) == frames
        assert all(0 <= i < n for i in picks)
        assert list(picks) == sorted(picks)
    assert set(dense(n, frames, every, short="loop")) <= set(range(n))
    parts = segments(n, frames, rng)
    for k, i in enumerate(parts):
        assert math.floor(k * n / frames) <= i <= (k + 1) * n / frames


def test_the_natural_window() -> None:
    assert window_length(an_input(frames=16, every=2), Fraction(25)) == pytest.approx(1.28)
    assert window_length(an_input(frames=16, every=2, fps=16.0), Fraction(25)) == 2
    assert window_length(an_input(sampling="segments", seconds=5.0), None) == 5
    with pytest.raises(VideoError, match="states no frame rate"):
        window_length(an_input(), None)


def test_pick_asks_for_the_middle_of_each_frame() -> None:
    picks = pick(Window(10, 10.32), an_input(), Fraction(25))
    assert picks.times == pytest.approx([10.02 + k / 25 for k in range(8)])
    assert picks.padded == 0


def test_pick_spreads_segments_over_what_there_is() -> None:
    tsn = an_input(frames=3, sampling="segments", seconds=30.0)
    assert pick(Window(0, 3), tsn, Fraction(30)).times == pytest.approx(
        [(i + 0.5) / 30 for i in (15, 45, 75)]
    )
    slowfast = an_input(frames=4, sampling="linspace", seconds=30.0)
    assert pick(Window(1, 2), slowfast, Fraction(10)).times == pytest.approx(
        [1.05, 1.35, 1.65, 1.95]
    )


def test_pick_counts_what_it_pads() -> None:
    assert pick(Window(0, 0.2), an_input(), Fraction(25)).padded == 3
    assert pick(Window(0, 0.2), an_input(every=2), Fraction(25)).padded == 5
    tsn = an_input(sampling="segments", seconds=2.0)
    assert pick(Window(0, 0.2), tsn, Fraction(25)).padded == 3
    loop = pick(Window(0, 0.08), an_input(), Fraction(25), short="loop")
    assert loop.times == pytest.approx([0.02, 0.06] * 4)
    for input in (an_input(), tsn):
        with pytest.raises(VideoError, match="too short"):
            pick(Window(0, 0.2), input, Fraction(25), short="refuse")


@given(
    rate=st.sampled_from([Fraction(24), Fraction(25), Fraction(30_000, 1001), Fraction(60)]),
    first=st.integers(0, 10**6),
    every=st.integers(1, 8),
)
def test_rounding_never_picks_the_neighbour(rate: Fraction, first: int, every: int) -> None:
    input = an_input(every=every)
    window = Window(float(first / rate), float((first + 8 * every) / rate))
    times = pick(window, input, rate).times
    assert [math.floor(Fraction(t) * rate) for t in times] == [first + k * every for k in range(8)]


def test_views_go_from_start_to_end() -> None:
    input = an_input(fps=8.0)  # one second
    assert views(10, input, None, 4) == [Window(0, 1), Window(3, 4), Window(6, 7), Window(9, 10)]
    assert views(10, input, None, 1) == [Window(4.5, 5.5)]
    assert views(0.7, input, None, 10, start=3) == [Window(3, 3.7)]
    assert views(5, input, None, 2, start=3) == [Window(3, 4), Window(7, 8)]
    with pytest.raises(ValueError, match="clips must be positive"):
        views(10, input, None, 0)
