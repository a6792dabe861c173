"""When a frame was due, and how many come."""

from __future__ import annotations

from fractions import Fraction
from threading import Event

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marey.video.clock import Clock, Rate, Timetable


def test_the_promptest_data_tells_when_all_was_due() -> None:
    table = Timetable(0.0, 100.4)
    assert table.due(1.0) == pytest.approx(101.4)
    table.arrived(1.0, 101.1)  # earlier than the first: that one had waited for 0.3 s
    assert table.due(1.0) == pytest.approx(101.1)
    table.arrived(2.0, 109.0)  # late
    assert 109.0 - table.due(2.0) == pytest.approx(6.9)


@given(st.floats(-2e-4, 2e-4), st.floats(0, 0.2))
def test_a_clock_that_drifts_for_days_does_not_look_late(drift: float, jitter: float) -> None:
    table = Timetable(0.0, 0.0)
    for second in range(1, 2 * 86400, 40):
        now = second * (1 + drift) + (jitter if second % 3 else 0.0)
        table.arrived(float(second), now)
        assert -1e-6 <= now - table.due(float(second)) <= jitter + 0.05


def test_what_this_machine_plays_is_due_by_its_first_frame() -> None:
    table = Timetable(5.0, 100.0, paced=True)
    table.arrived(7.0, 100.1)
    assert table.due(7.0) == 102.0


def test_a_rate_is_known_after_some_frames_and_forgotten_with_them() -> None:
    rate = Rate()
    for k in range(7):
        rate.add(k / 30)
    assert rate.fps is None
    rate.add(7 / 30)
    assert rate.fps == pytest.approx(30)
    rate.clear()
    assert rate.fps is None


def test_another_rate_is_told_once_it_is_steady() -> None:
    rate = Rate()
    time, told = 0.0, []
    for interval in [1 / 30] * 90 + [1 / 15] * 60:
        time += interval
        rate.add(time)
        if (other := rate.other_than(Fraction(30))) is not None:
            told.append((time, other))
    assert told[0][1] == pytest.approx(15, rel=0.1)
    assert 4.0 < told[0][0] < 5.5  # the change came at 3 s


@settings(max_examples=30)
@given(st.lists(st.sampled_from([1 / 30, 1 / 20]), min_size=100, max_size=200))
def test_a_mixture_of_intervals_has_no_other_rate_than_its_mean(intervals: list[float]) -> None:
    rate, time = Rate(), 0.0
    for number, interval in enumerate(intervals):
        time += interval
        rate.add(time)
        if (other := rate.other_than(Fraction(24))) is not None:
            assert number >= 8
            assert 20 <= round(other, 6) <= 30


def test_a_slow_source_has_a_rate_too() -> None:
    rate = Rate()
    for k in range(20):
        rate.add(5.0 * k)
    assert rate.fps == pytest.approx(0.2)
    assert rate.other_than(Fraction(25)) == pytest.approx(0.2)


def test_waiting_ends_with_the_wish_to() -> None:
    clock, stop = Clock(), Event()
    stop.set()
    before = clock.now()
    clock.wait(before + 60, stop)
    clock.wait(before - 1, Event())
    assert clock.now() - before < 30
