"""Events found while they happen are those found afterwards."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from marey.tasks.events import Finder, Rules, find_events
from marey.types import Event, Scores, Window


def windows(curves: list[list[int]], step: float = 0.7, length: float = 2.0) -> list[Scores]:
    """Scores in tenths, a row a window."""
    return [
        Scores(Window(k * step, k * step + length), np.array(row, np.float32) / 10)
        for k, row in enumerate(curves)
    ]


def order(event: Event) -> tuple[float, str, float]:
    return event.end, event.label, event.start


@given(
    st.integers(1, 3).flatmap(
        lambda k: st.lists(
            st.lists(st.integers(0, 10), min_size=k, max_size=k), min_size=1, max_size=40
        )
    ),
    st.sampled_from([0.3, 0.5, 0.8]),
    st.sampled_from([None, 0.2, 0.6]),
    st.sampled_from([0.0, 0.5, 2.0]),
    st.sampled_from([0.0, 1.0, 3.0]),
)
def test_one_by_one_and_all_at_once_are_the_same(
    curves: list[list[int]],
    threshold: float,
    leave: float | None,
    gap: float,
    shortest: float,
) -> None:
    labels = [f"label {k}" for k in range(len(curves[0]))]
    rules = Rules.of(labels, threshold=threshold, leave=leave, gap=gap, shortest=shortest)
    finder, found = Finder(rules), []
    for scores in windows(curves):
        found += finder.feed(scores)
        for event in finder.under_way():
            assert event.start < event.end <= scores.window.end
            assert event.score >= np.float32(threshold)
    ended, cut = finder.close()
    assert sorted([*found, *ended, *cut], key=order) == sorted(
        find_events(windows(curves), rules), key=order
    )
    assert finder.under_way() == []


def test_what_the_end_cuts_off_is_told_from_what_was_over() -> None:
    finder = Finder(Rules.of(["a", "b"], gap=10))
    for scores in windows([[9, 0], [0, 0], [0, 9]]):
        assert finder.feed(scores) == []
    assert {event.label for event in finder.under_way()} == {"a", "b"}
    ended, cut = finder.close()
    assert [event.label for event in ended] == ["a"]  # it might have gone on within the gap
    assert [event.label for event in cut] == ["b"]
    assert finder.close() == ([], [])


def test_what_follows_a_close_begins_anew() -> None:
    finder = Finder(Rules.of(["a"]))
    finder.feed(windows([[9]])[0])
    finder.close()
    finder.feed(Scores(Window(100, 102), np.array([0.9], np.float32)))
    (event,) = finder.under_way()
    assert event.start == 100
