"""Window scores become events: by hand, against a plain reference, and by properties."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from itertools import count, islice, pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.errors import ModelError
from marey.spans import temporal_iou
from marey.tasks._curves import smoothed
from marey.tasks.events import Rules, background_of, suppress
from marey.tasks.events import find_events as find
from marey.types import Event, Scores, Window


def windows(*rows: list[float], step: float = 1.0, start: float = 0.0) -> list[Scores]:
    """Two-second windows, a row of scores a label; their middles are 1, 2, 3 … after `start`."""
    columns = np.array(rows, np.float32).T
    return [
        Scores(Window(start + k * step, start + k * step + 2), p) for k, p in enumerate(columns)
    ]


def find_events(
    scores: Iterable[Scores], labels: list[str], *, smooth: float = 0.0, **rules: Any
) -> Iterator[Event]:
    return find(scores, Rules.of(labels, **rules), smooth=smooth)


def spans(events: Iterator[Event] | list[Event]) -> list[tuple[float, float]]:
    return [(event.start, event.end) for event in events]


def test_boundaries_lie_where_the_line_between_middles_crosses_leave() -> None:
    scores = windows([0, 0, 1, 1, 0, 0])
    (event,) = find_events(scores, ["a"], threshold=0.8, leave=0.25)
    assert event == Event("a", 2.25, 4.75, 1.0)
    (event,) = find_events(scores, ["a"], threshold=0.5)  # leave: 0.25
    assert (event.start, event.end) == (2.25, 4.75)


def test_the_video_clips_its_events() -> None:
    assert spans(find_events(windows([1, 1, 1]), ["a"])) == [(0, 4)]
    assert spans(find_events(windows([1]), ["a"])) == [(0, 2)]
    assert spans(find_events([], ["a"])) == []


def test_what_never_reaches_the_threshold_is_none() -> None:
    scores = windows([0.7, 0.79, 0.7])
    assert spans(find_events(scores, ["a"], threshold=0.8)) == []
    assert spans(find_events(windows([0.7, 0.8, 0.7]), ["a"], threshold=0.8)) == [(0, 4)]


def test_hysteresis_keeps_a_shallow_dip_and_is_cut_by_a_deep_one() -> None:
    shallow = windows([0, 1, 0.5, 1, 0])
    assert len(spans(find_events(shallow, ["a"], threshold=0.8, leave=0.5))) == 1
    assert len(spans(find_events(shallow, ["a"], threshold=0.8, leave=0.6))) == 2
    # Never above the threshold, or the event would end before it began.
    assert len(spans(find_events(shallow, ["a"], threshold=0.5, leave=0.9))) == 1


def test_events_no_further_apart_than_the_gap_are_one() -> None:
    scores = windows([0, 1, 0, 0.8, 0])  # leaves 0.25 at 2.75, comes back at 3.3125
    arguments = {"threshold": 0.5, "leave": 0.25}
    assert len(spans(find_events(scores, ["a"], **arguments, gap=0.5))) == 2
    (event,) = find_events(scores, ["a"], **arguments, gap=0.5625)
    assert (event.start, event.end) == pytest.approx((1.25, 4.6875))
    assert event.score == 1


def test_the_gap_leads_only_to_events() -> None:
    """A rise beside an event that is none by itself does not lengthen it."""
    scores = windows([0, 1, 0, 0.6, 0])
    assert spans(find_events(scores, ["a"], threshold=0.8, leave=0.25, gap=5)) == [(1.25, 2.75)]


def test_short_ones_are_dropped_after_they_were_joined() -> None:
    scores = windows([0, 1, 0, 1, 0, 0, 0, 1, 0])  # 1.5 s each, 0.5 s apart
    arguments = {"threshold": 0.5, "leave": 0.25, "shortest": 2}
    assert spans(find_events(scores, ["a"], **arguments)) == []
    assert spans(find_events(scores, ["a"], **arguments, gap=0.5)) == [(1.25, 4.75)]


def test_labels_have_thresholds_of_their_own_and_come_by_their_ends() -> None:
    scores = windows([0, 0.6, 0.6, 0], [0.3, 0.3, 0, 0], [0.6, 0.6, 0.6, 0.6])
    found = list(find_events(scores, ["a", "b", "c"], leave=0.15, thresholds={"b": 0.25, "c": 0.7}))
    assert [event.label for event in found] == ["b", "a"]
    assert found[0].end == pytest.approx(2.5)


def test_the_background_is_no_event() -> None:
    labels = ["Background", "no_action", "serve", "another"]
    assert background_of(labels) == {"Background", "no_action"}
    scores = windows([1, 1], [1, 1], [1, 1], [1, 1])
    assert [e.label for e in find_events(scores, labels)] == ["serve", "another"]
    given = find_events(scores, labels, background=["serve"])
    assert [e.label for e in given] == ["Background", "no_action", "another"]
    assert len(list(find_events(scores, labels, background=[]))) == 4


@pytest.mark.parametrize("where", ["thresholds", "background"])
def test_a_label_that_the_network_does_not_have_is_refused(where: str) -> None:
    arguments = {"thresholds": {"thrwo": 0.5}, "background": ["thrwo"]}
    with pytest.raises(ModelError, match=r"thrwo.*throw"):
        find_events([], ["throw", "catch"], **{where: arguments[where]})


@pytest.mark.parametrize(
    "arguments",
    [
        {"threshold": 0},
        {"threshold": 1.5},
        {"threshold": math.nan},
        {"thresholds": {"a": -1}},
        {"leave": -0.1},
        {"smooth": -1},
        {"gap": math.nan},
        {"shortest": -2},
    ],
)
def test_values_out_of_range_are_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match=next(iter(arguments)).rstrip("s")):
        list(find_events([], ["a"], **arguments))


def test_smoothing_weighs_neighbours_by_how_near_they_are() -> None:
    found = [float(s.p[0]) for s in smoothed(windows([0, 0, 1, 0, 0]), 2)]
    assert found == pytest.approx([0, 0.25, 0.5, 0.25, 0])
    assert [float(s.p[0]) for s in smoothed(windows([0, 1]), 1)] == [0, 1]


curves = st.lists(
    st.lists(st.integers(0, 16).map(lambda k: k / 16), min_size=2, max_size=2),
    min_size=1,
    max_size=20,
)
rules = st.fixed_dictionaries(
    {
        "threshold": st.integers(1, 16).map(lambda k: k / 16),
        "leave": st.none() | st.integers(0, 16).map(lambda k: k / 16),
        "smooth": st.sampled_from([0, 0.3, 1.5, 4]),
        "gap": st.integers(0, 12).map(lambda k: k / 4),
        "shortest": st.integers(0, 8).map(lambda k: k / 4),
    }
)


def of(curve: list[list[float]], *, step: float = 0.5, start: float = 0.0) -> list[Scores]:
    return windows(*map(list, zip(*curve, strict=True)), step=step, start=start)


def plain(
    scores: list[Scores], k: int, threshold: float, leave: float, gap: float, shortest: float
) -> list[tuple[float, float, float]]:
    """The events of one label, by looking at the whole curve at once."""
    times = [scores[0].window.start, *(s.window.middle for s in scores), scores[-1].window.end]
    values = [float(s.p[k]) for s in scores]
    values = [values[0], *values, values[-1]]
    above: list[list[float]] = []  # start, end, highest
    inside = False
    for place, (time, value) in enumerate(zip(times, values, strict=True)):
        if value >= leave:
            if not inside:
                t0, v0 = times[place - 1], values[place - 1]
                begin = time if place == 0 else t0 + (time - t0) * (leave - v0) / (value - v0)
                above.append([begin, time, value])
            above[-1] = [above[-1][0], time, max(above[-1][2], value)]
            inside = True
        elif inside:
            t0, v0 = times[place - 1], values[place - 1]
            above[-1][1] = t0 + (time - t0) * (leave - v0) / (value - v0)
            inside = False
    merged: list[list[float]] = []
    for start, end, best in above:
        if best < threshold:
            continue
        if merged and start - merged[-1][1] <= gap + 1e-9:
            merged[-1] = [merged[-1][0], end, max(best, merged[-1][2])]
        else:
            merged.append([start, end, best])
    return [(s, e, b) for s, e, b in merged if e > s and e - s >= shortest - 1e-9]


@given(curves, rules)
def test_it_is_what_one_sees_looking_at_the_whole(
    curve: list[list[float]], rule: dict[str, float]
) -> None:
    found = list(find_events(of(curve), ["a", "b"], **rule))
    leave = rule["threshold"] / 2 if rule["leave"] is None else rule["leave"]
    seen = list(smoothed(of(curve), rule["smooth"]))
    for k, label in enumerate(["a", "b"]):
        expected = plain(
            seen,
            k,
            rule["threshold"],
            min(leave, rule["threshold"]),
            rule["gap"],
            rule["shortest"],
        )
        events = [(e.start, e.end, e.score) for e in found if e.label == label]
        assert len(events) == len(expected)
        if events:
            np.testing.assert_allclose(events, expected, atol=1e-5)


@given(curves, st.sampled_from([0.3, 0.5, 1.2, 3]))
def test_smoothing_is_the_weighted_mean_of_all(curve: list[list[float]], seconds: float) -> None:
    scores = of(curve)
    p, at = np.array(curve), np.array([s.window.middle for s in scores])
    weights = np.maximum(0, 1 - abs(at[:, None] - at) / seconds)
    expected = weights @ p / weights.sum(1, keepdims=True)
    found = list(smoothed(scores, seconds))
    assert [s.window for s in found] == [s.window for s in scores]
    np.testing.assert_allclose([s.p for s in found], expected, atol=1e-6)


@given(curves, rules, st.sampled_from([-7.0, 0.1, 1 / 3, 40_000.7]))
def test_shifting_the_video_shifts_its_events(
    curve: list[list[float]], rule: dict[str, float], shift: float
) -> None:
    before = list(find_events(of(curve), ["a", "b"], **rule))
    after = list(find_events(of(curve, start=shift), ["a", "b"], **rule))
    # Two events that end in the same moment may change places.
    before.sort(key=lambda e: (e.label, e.start))
    after.sort(key=lambda e: (e.label, e.start))
    assert [e.label for e in after] == [e.label for e in before]
    moved = [(e.start + shift, e.end + shift, e.score) for e in before]
    found = [(e.start, e.end, e.score) for e in after]
    np.testing.assert_allclose(found, moved, atol=1e-6, rtol=0)


@given(curves, rules, st.floats(1, 4))
def test_higher_scores_only_lengthen_and_add(
    curve: list[list[float]], rule: dict[str, float], factor: float
) -> None:
    higher = [[min(1.0, value * factor) for value in row] for row in curve]
    after = list(find_events(of(higher), ["a", "b"], **rule))
    for event in find_events(of(curve), ["a", "b"], **rule):
        assert any(
            e.label == event.label
            and e.start <= event.start + 1e-5
            and e.end >= event.end - 1e-5
            and e.score >= event.score - 1e-6
            for e in after
        )


@given(curves, rules, st.integers(1, 20))
def test_events_are_given_when_certain_and_never_taken_back(
    curve: list[list[float]], rule: dict[str, float], cut: int
) -> None:
    """Whatever comes after the first windows, what they made certain is the same."""
    read = 0

    def counted() -> Iterator[Scores]:
        nonlocal read
        for scores in of(curve):
            if read == cut:
                return
            read += 1
            yield scores
        read = cut

    whole = list(find_events(of(curve), ["a", "b"], **rule))
    early = []
    for event in find_events(counted(), ["a", "b"], **rule):
        if read == cut:
            break
        early.append(event)
    assert whole[: len(early)] == early


def test_a_stream_without_end_gives_its_events_and_holds_little() -> None:
    alive = 0

    class Tracked(np.ndarray):
        def __del__(self) -> None:
            nonlocal alive
            alive -= 1

    most = 0

    def endless() -> Iterator[Scores]:
        nonlocal alive, most
        for k in count():
            p = np.array([k % 10 < 3, 0.2], np.float32).view(Tracked)
            alive += 1
            most = max(most, alive)
            yield Scores(Window(k, k + 2), p)

    found = list(islice(find_events(endless(), ["a", "b"], smooth=3, gap=2), 300))
    assert found[-1].end == pytest.approx(2995, abs=10)
    assert all(later.start > event.end for event, later in pairwise(found))
    assert most < 30


def test_suppression_keeps_the_surest_of_each_label() -> None:
    events = [
        Event("a", 0, 10, 0.6),
        Event("a", 1, 10, 0.9),  # 0.9 with the first
        Event("a", 9, 20, 0.5),  # little with either
        Event("b", 0, 10, 0.3),
    ]
    assert suppress(events, 0.5) == [events[3], events[1], events[2]]
    assert suppress(events, 0.5, across=True) == [events[1], events[2]]
    assert suppress([], 0.5) == []


def test_what_the_dropped_overlapped_stays() -> None:
    a, b, c = Event("a", 0, 4, 0.9), Event("a", 1, 5, 0.8), Event("a", 2, 6, 0.7)
    assert suppress([c, b, a], 0.5) == [a, c]  # b goes because of a, and c overlaps a by a third


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.integers(0, 20), st.integers(1, 9), st.floats(0, 1)),
        max_size=12,
    ),
    st.sampled_from([0.0, 0.3, 0.7]),
    st.booleans(),
)
def test_what_is_left_does_not_overlap_and_what_is_gone_did(
    rows: list[tuple[str, int, int, float]], overlap: float, across: bool
) -> None:
    events = [Event(label, start, start + length, p) for label, start, length, p in rows]
    kept = suppress(events, overlap, across=across)
    assert suppress(kept, overlap, across=across) == kept == sorted(kept, key=lambda e: e.start)

    def disputes(one: Event, other: Event) -> bool:
        common = temporal_iou(*(np.array([e.start, e.end]) for e in (one, other)))
        return bool(common > overlap) and (across or one.label == other.label)

    assert not any(disputes(a, b) for k, a in enumerate(kept) for b in kept[k + 1 :])
    for event in events:
        if event not in kept:
            assert any(disputes(event, other) and other.score >= event.score for other in kept)
