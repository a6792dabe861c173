"""ActivityNet's arithmetic on cases worked by hand, and what must hold for any case."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.errors import DataError
from marey.training.event_metrics import (
    LOOSE,
    STRICT,
    TIOUS,
    EventMetrics,
    measure_events,
)
from marey.types import Event


def found(start: float, end: float, score: float, label: str = "x") -> Event:
    return Event(label, start, end, score)


def marked(start: float, end: float, label: str = "x") -> Event:
    return Event(label, start, end, 1.0)


def ap(metrics: EventMetrics, tiou: float, label: str = "x") -> float:
    (one,) = (one for one in metrics.labels if one.label == label)
    assert one.ap is not None
    return one.ap[metrics.tious.index(tiou)]


def test_the_usual_case() -> None:
    truth = {"a": [marked(0, 10), marked(20, 30)], "b": [marked(0, 10)]}
    detections = {
        "a": [found(0, 10, 0.9), found(50, 60, 0.8), found(21, 30, 0.7)],
        "b": [found(0, 6, 0.6), found(40, 41, 0.5)],
    }
    metrics = measure_events(detections, truth)
    # By score: right (tIoU 1), wrong, right (9/10), right up to tIoU 6/10, wrong. Three events.
    # At 0.5: precision at the right ones 1/1, 2/3, 3/4; the envelope lifts 2/3 to 3/4.
    #   AP = (1 + 3/4 + 3/4) / 3 = 5/6
    assert ap(metrics, 0.5) == pytest.approx(5 / 6, abs=1e-15)
    assert ap(metrics, 0.6) == pytest.approx(5 / 6, abs=1e-15)  # reaching the threshold is enough
    # At 0.65 to 0.9 the fourth is wrong: precision 1/1, 2/3. AP = (1 + 2/3) / 3 = 5/9
    for tiou in (0.65, 0.7, 0.75, 0.8, 0.85, 0.9):
        assert ap(metrics, tiou) == pytest.approx(5 / 9, abs=1e-15)
    # At 0.95 only the first is right: AP = 1/3
    assert ap(metrics, 0.95) == pytest.approx(1 / 3, abs=1e-15)
    assert metrics.mean_ap == tuple(ap(metrics, tiou) for tiou in TIOUS)
    # 0.3 0.4 0.5 0.6 | 0.7                  (4 * 5/6 + 5/9) / 5 = 7/9
    assert metrics.loose == pytest.approx(7 / 9, abs=1e-15)
    # 0.5 0.55 0.6 | 0.65 ... 0.9 | 0.95     (3 * 5/6 + 6 * 5/9 + 1/3) / 10 = 37/60
    assert metrics.strict == pytest.approx(37 / 60, abs=1e-15)
    assert metrics.at(0.95) == ap(metrics, 0.95)
    (one,) = metrics.labels
    assert (one.events, one.detections) == (3, 5)
    assert one.recall is not None
    assert one.recall[TIOUS.index(0.5)] == 1
    assert one.recall[TIOUS.index(0.9)] == metrics.recall[TIOUS.index(0.9)] == 2 / 3


def test_an_event_is_found_once() -> None:
    truth = {"a": [marked(0, 10)]}
    metrics = measure_events({"a": [found(0, 10, 0.9), found(0, 10, 0.8)]}, truth)
    assert ap(metrics, 0.5) == 1  # the duplicate comes after all is found
    metrics = measure_events({"a": [found(0, 7, 0.9), found(0, 10, 0.8)]}, truth)
    # At 0.7 the better placed one comes second and is a duplicate: AP = 1.
    # At 0.75 the first is wrong, the second right: precision 1/2, AP = 1/2.
    assert ap(metrics, 0.7) == 1
    assert ap(metrics, 0.75) == 0.5


def test_the_best_free_event_is_taken() -> None:
    # Both detections overlap most with 0..10 (tIoU 1 and 9/11); the second takes 4..14 instead:
    # common 4..11 = 7, union 14 + ... : 2..11 with 4..14 is 7 of 12.
    truth = {"a": [marked(0, 10), marked(4, 14)]}
    detections = {"a": [found(0, 10, 0.9), found(2, 11, 0.8)]}
    metrics = measure_events(detections, truth)
    assert ap(metrics, 0.5) == 1  # 7/12 = 0.583 reaches 0.5 and 0.55, not 0.6
    assert ap(metrics, 0.55) == 1
    assert ap(metrics, 0.6) == 0.5


def test_a_detection_in_a_video_without_events_is_wrong() -> None:
    truth = {"a": [marked(0, 10)], "empty": []}
    detections = {"empty": [found(0, 10, 0.9)], "a": [found(0, 10, 0.8)], "other": []}
    assert ap(measure_events(detections, truth), 0.5) == 0.5


def test_labels_without_detections_and_without_events() -> None:
    truth = {"a": [marked(0, 10, "x"), marked(0, 10, "y")]}
    detections = {"a": [found(0, 10, 0.9, "x"), found(0, 10, 0.9, "z")]}
    metrics = measure_events(detections, truth)
    x, y, z = metrics.labels
    assert (x.label, y.label, z.label) == ("x", "y", "z")
    assert y.ap == y.recall == (0.0,) * len(TIOUS)
    assert (z.ap, z.recall, z.events, z.detections) == (None, None, 0, 1)
    assert metrics.at(0.5) == 0.5  # x and y count, z does not
    assert measure_events({}, truth).mean_ap == (0.0,) * len(TIOUS)
    with pytest.raises(DataError, match="no event to compare with"):
        measure_events(detections, {"a": []})


def test_ties_go_by_video_and_time_whatever_the_order() -> None:
    truth = {"a": [marked(0, 10)], "b": [marked(0, 10)]}
    wrong, right = found(40, 50, 0.5), found(0, 10, 0.5)
    # a: right, wrong; then b: right. AP = (1/1 + 2/3) / 2 = 5/6
    for detections in ({"a": [wrong, right], "b": [right]}, {"b": [right], "a": [right, wrong]}):
        assert ap(measure_events(detections, truth), 0.5) == pytest.approx(5 / 6, abs=1e-15)


def test_the_thresholds_are_the_published_ones() -> None:
    assert np.allclose(LOOSE, np.linspace(0.3, 0.7, 5))
    assert np.allclose(STRICT, np.linspace(0.5, 0.95, 10))


spans = st.tuples(st.integers(0, 40), st.integers(1, 12)).map(lambda s: (s[0], s[0] + s[1]))
events = st.dictionaries(
    st.sampled_from("abc"),
    st.lists(
        st.builds(
            lambda span, score, label: Event(label, *span, score / 8),
            spans,
            st.integers(1, 8),
            st.sampled_from("xy"),
        ),
        max_size=8,
    ),
    min_size=1,
)
some_events = events.filter(lambda videos: any(videos.values()))


@given(some_events)
def test_perfect_detections_give_one(truth: dict[str, list[Event]]) -> None:
    metrics = measure_events(truth, truth)
    assert metrics.loose == metrics.strict == 1
    assert set(metrics.mean_ap) == set(metrics.recall) == {1.0}


@given(events, some_events, st.randoms(use_true_random=False))
def test_the_order_does_not_matter(
    detections: dict[str, list[Event]], truth: dict[str, list[Event]], chance: random.Random
) -> None:
    def shuffled(videos: dict[str, list[Event]]) -> dict[str, list[Event]]:
        names = chance.sample(sorted(videos), len(videos))
        return {name: chance.sample(videos[name], len(videos[name])) for name in names}

    expected = measure_events(detections, truth)
    assert measure_events(shuffled(detections), shuffled(truth)) == expected


@given(events, some_events, st.sampled_from("abc"))
def test_a_false_detection_of_a_lower_score_never_helps(
    detections: dict[str, list[Event]], truth: dict[str, list[Event]], video: str
) -> None:
    more = {**detections, video: [*detections.get(video, []), Event("x", 90, 99, 0.01)]}
    before, after = measure_events(detections, truth), measure_events(more, truth)
    same = pytest.approx(before.mean_ap)
    assert after.mean_ap == same, "after all others it does not even harm"


@given(events, some_events)
def test_values_are_shares_and_fall_with_the_threshold(
    detections: dict[str, list[Event]], truth: dict[str, list[Event]]
) -> None:
    metrics = measure_events(detections, truth)
    assert all(0 <= value <= 1 for value in (*metrics.mean_ap, *metrics.recall))
    for one in metrics.labels:
        if one.ap is not None and one.recall is not None:
            assert all(
                area <= share + 1e-12 for area, share in zip(one.ap, one.recall, strict=True)
            )


@given(events, some_events)
def test_it_is_the_area_under_the_curve_step_by_step(
    detections: dict[str, list[Event]], truth: dict[str, list[Event]]
) -> None:
    """The same from the definition: at each recall the best precision from there on."""
    metrics = measure_events(detections, truth)
    for label in ("x", "y"):
        marks = [(v, e) for v, es in truth.items() for e in es if e.label == label]
        if not marks:
            continue
        rows = [(v, e) for v, es in detections.items() for e in es if e.label == label]
        rows.sort(key=lambda row: (-row[1].score, row[0], row[1].start, row[1].end))
        for tiou in (0.3, 0.5, 0.75):
            points, free, right = [(0.0, 0.0)], list(marks), 0
            for number, (video, event) in enumerate(rows, 1):
                scored = [(_tiou(event, e), e.start, e.end) for v, e in free if v == video]
                best = max(scored, default=(0.0, 0.0, 0.0), key=lambda s: (s[0], -s[1], -s[2]))
                if best[0] >= tiou:
                    right += 1
                    free.remove(
                        next((v, e) for v, e in free if v == video and (e.start, e.end) == best[1:])
                    )
                points.append((right / len(marks), right / number))
            area = sum(
                (recall - before) * max(precision for r, precision in points if r >= recall)
                for (before, _), (recall, _) in itertools.pairwise(points)
            )
            assert ap(metrics, tiou, label) == pytest.approx(area, abs=1e-12)


def _tiou(one: Event, other: Event) -> float:
    common = max(0.0, min(one.end, other.end) - max(one.start, other.start))
    return common / (one.end - one.start + other.end - other.start - common)
