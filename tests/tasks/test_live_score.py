"""Windows and states: what several sources give one network, and what it gives back."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import islice
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from marey.tasks._live_score import Mean, Stream, Windows
from marey.types import Clip, Input, ModelCard, Video, Window
from marey.video.windows import pick, windows

INPUT = Input(frames=4, every=2, size=(1, 1), resize=(1, 1), mean=(0,) * 3, std=(1,) * 3)


def video(fps: float | None = 10.0, start: float = 0.0, end: float | None = None) -> Video:
    rate = None if fps is None else Fraction(fps)
    return Video("a", "test", "none", 1, 1, rate, start, end, None)


class Light:
    """Logits: how bright, and how dark, the frames are; counts its runs."""

    input = INPUT
    labels = ("bright", "dark")
    multilabel = True
    warnings: tuple[str, ...] = ()

    def __init__(self) -> None:
        self.runs: list[int] = []

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.runs.append(len(frames))
        light = frames.mean((1, 2, 3, 4), dtype=np.float32)
        return np.stack([light, -light], 1)

    def card(self) -> ModelCard:
        return ModelCard("light", None, 2, "test", "float32", self.input, multilabel=True)


class Sum(Light):
    """A state: logits are the sum of all that was ever seen."""

    answer, forgets = "mean", True

    def step(
        self, frames: NDArray[np.uint8], state: float | None
    ) -> tuple[NDArray[np.float32], float]:
        seen = (state or 0.0) + np.cumsum(frames.mean((2, 3, 4), dtype=np.float32), axis=1)
        return np.stack([seen, -seen], -1), float(seen[0, -1])


def clip(start: float, value: int, frames: int = 4, length: float = 0.8) -> Clip:
    times = tuple(Fraction(start) + k for k in range(frames))
    return Clip(Window(start, start + length), np.full((frames, 1, 1, 3), value, np.uint8), times)


def test_a_window_follows_each_quarter_of_the_one_before() -> None:
    plan = list(islice(Windows(Light()).plan(video(start=3.0)), 3))
    assert [span.start for span, _ in plan] == pytest.approx([3.0, 3.2, 3.4])
    assert all(picks == pick(span, INPUT, 10) for span, picks in plan)


def test_the_windows_of_a_file_are_those_of_classify() -> None:
    plan = list(Windows(Light(), step=0.5).plan(video(start=1.0, end=3.3)))
    assert [span for span, _ in plan] == list(windows(2.3, 0.8, 0.5, start=1.0))


def test_sources_that_are_ready_are_looked_at_in_one_run() -> None:
    light = Light()
    scorer = Windows(light)
    found = scorer.score({0: [clip(0, 1)], 7: [clip(5, 2)]})
    assert light.runs == [2]
    assert {source: scores[0].window for source, scores in found.items()} == {
        0: Window(0, 0.8),
        7: Window(5, 5.8),
    }
    assert found[0][0].p[0] == pytest.approx(1 / (1 + np.exp(-1)))
    assert found[7][0].p[0] == pytest.approx(1 / (1 + np.exp(-2)))


def test_smoothing_is_a_mean_of_the_past_of_each_source() -> None:
    scorer = Windows(Light(), average=1.0)
    for k in range(4):
        found = scorer.score({0: [clip(k * 0.4, k)], 1: [clip(k * 0.4, 0)]})
    (scores,) = found[0]
    # The middles of the last three lie within a second.
    assert scores.window == Window(pytest.approx(0.4), pytest.approx(2.0))
    assert scores.p[0] == pytest.approx(1 / (1 + np.exp(-2.0)))
    assert found[1][0].p[0] == 0.5
    scorer.forget(0)
    assert scorer.score({0: [clip(9, 0)]})[0][0].window == Window(9, 9.8)


def frames(values: list[int], start: float = 0.0) -> list[Clip]:
    return [clip(start + k * 0.2, value, 1, 0.2) for k, value in enumerate(values)]


def test_a_stream_wants_each_frame_that_its_clip_would_hold() -> None:
    plan = list(islice(Stream(Sum()).plan(video(start=2.0)), 5))
    times = [picks.times for _, picks in plan]
    (clip_picks,) = [picks.times for _, picks in islice(Windows(Light()).plan(video(start=2.0)), 1)]
    assert [time for (time,) in times[:4]] == pytest.approx(clip_picks)
    assert [span.start for span, _ in plan] == pytest.approx([2, 2.2, 2.4, 2.6, 2.8])


def test_a_stream_over_segments_wants_their_middles() -> None:
    class Segments(Sum):
        input = Input(4, (1, 1), (1, 1), (0,) * 3, (1,) * 3, sampling="segments", seconds=2.0)

    plan = islice(Stream(Segments()).plan(video(fps=None)), 4)
    assert [picks.times[0] for _, picks in plan] == [0.25, 0.75, 1.25, 1.75]


@given(st.lists(st.integers(0, 20), min_size=1, max_size=40), st.data())
def test_a_stream_says_the_same_in_any_chunks(values: list[int], data: st.DataObject) -> None:
    whole = Stream(Sum(), step=0.4)
    at_once = [
        scores
        for k in range(len(values))
        for scores in whole.score({0: frames(values)[k : k + 1]})[0]
    ]
    cut = Stream(Sum(), step=0.4)
    left, found = frames(values), []
    while left:
        count = data.draw(st.integers(1, len(left)))
        found += cut.score({0: left[:count], 1: frames([1])})[0]
        left = left[count:]
    assert [scores.window for scores in found] == [scores.window for scores in at_once]
    for one, other in zip(found, at_once, strict=True):
        np.testing.assert_allclose(one.p, other.p, atol=1e-6)
    assert len(found) == len(values) // 2


def test_a_state_belongs_to_its_source_and_can_be_forgotten() -> None:
    stream = Stream(Sum(), step=0.2, average=0.0)
    for k in range(3):
        found = stream.score({0: frames([1], k * 0.2), 1: frames([0], k * 0.2)})
    assert [stream._memories[source]._states for source in (0, 1)] == [[3.0], [0.0]]
    assert found[0][0].window == Window(pytest.approx(0.4), pytest.approx(0.6))
    stream.forget(0)
    assert 0 not in stream._memories
    assert stream._memories[1]._states == [0.0]


def test_a_mean_over_answers_holds_no_more_of_them() -> None:
    mean = Mean(None, 3)
    for k in range(10):
        window, logits = mean.add(Window(k, k + 1), np.array([k], np.float32))
    assert window == Window(7, 10)
    assert logits == pytest.approx(8)


class Ages(Sum):
    """Its first logit is the sum of all that its state has seen, its second how many frames."""

    forgets = False
    input = replace(INPUT, frames=6)

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0

    def step(self, frames: NDArray[np.uint8], state: Any) -> tuple[NDArray[np.float32], Any]:
        assert frames.shape[0] == 1
        total, age = state or (0.0, 0)
        values = frames.mean((2, 3, 4), dtype=np.float32)[0]
        self.frames += len(values)
        sums = total + np.cumsum(values)
        ages = age + np.arange(1, len(values) + 1)
        logits = np.stack([sums, ages], -1)[None].astype(np.float32)
        return logits, (float(sums[-1]), int(ages[-1]))


def logits_of(stream: Stream, cuts: list[int], values: list[int]) -> NDArray[np.float32]:
    """What each frame's answer is, before it is a score; sigmoids are undone."""
    left, found = frames(values), []
    for cut in cuts:
        found += [scores.p for scores in stream.score({0: left[:cut]})[0]]
        left = left[cut:]
    p = np.array(found, np.float64)
    return np.asarray(np.log(p / (1 - p)), np.float32)


def test_what_does_not_forget_is_begun_anew_at_the_age_of_a_clip() -> None:
    network = Ages()
    stream = Stream(network, step=0.2, average=0.0)
    found = logits_of(stream, [1] * 24, [1] * 24)
    ages = [1, 2, 3, 4, 5, 6, *[4, 5, 6] * 6]
    np.testing.assert_allclose(found[:, 1], ages, atol=1e-2)
    np.testing.assert_allclose(found[:, 0], ages, atol=1e-2)  # and it has seen these frames
    assert network.frames == 3 + 2 * 21  # twice a frame, once two states are there
    assert max(age for _, age in stream._memories[0]._states) <= 6


@given(st.lists(st.integers(0, 2), min_size=1, max_size=40), st.data())
def test_it_is_begun_anew_at_the_same_frames_in_any_chunks(
    values: list[int], data: st.DataObject
) -> None:
    cuts: list[int] = []
    while (left := len(values) - sum(cuts)) > 0:
        cuts.append(data.draw(st.integers(1, min(left, 12))))
    found = logits_of(Stream(Ages(), step=0.2, average=0.0), cuts, values)
    at_once = logits_of(Stream(Ages(), step=0.2, average=0.0), [1] * len(values), values)
    np.testing.assert_allclose(found, at_once, atol=1e-3)
    # The older of two states: what it has seen are the last frames, as many as it says.
    for k, (total, age) in enumerate(at_once):
        start = k + 1 - round(age)
        assert total == pytest.approx(sum(values[start : k + 1]), rel=0.02, abs=0.02)


@pytest.mark.parametrize("frames_of_clip", [1, 2, 5])
def test_a_clip_of_any_length_has_an_age(frames_of_clip: int) -> None:
    network = Ages()
    network.input = replace(INPUT, frames=frames_of_clip)
    stream = Stream(network, step=0.2, average=0.0)
    ages = logits_of(stream, [3, 4, 5], [0] * 12)[:, 1].round()
    assert ages.max() == max(2, 2 * (frames_of_clip // 2))
    assert (ages[frames_of_clip:] > frames_of_clip // 2).all()


def test_the_last_answer_is_of_all_that_its_state_has_seen() -> None:
    class Last(Ages):
        answer = "last"

    stream = Stream(Last(), step=0.2)
    found = [scores for k in range(12) for scores in stream.score({0: frames([1], k * 0.2)})[0]]
    ages = [1, 2, 3, 4, 5, 6, *[4, 5, 6] * 2]
    spans = [scores.window for scores in found]
    assert [round((span.end - span.start) / 0.2) for span in spans] == ages
    assert [span.end for span in spans] == pytest.approx([0.2 * k for k in range(1, 13)])
    averaged = Stream(Last(), step=0.2, average=0.35)
    *_, scores = (s for k in range(6) for s in averaged.score({0: frames([1], k * 0.2)})[0])
    assert scores.p[0] == pytest.approx(1 / (1 + np.exp(-(3 + 4 + 5 + 6) / 4)), abs=1e-3)


def test_the_mean_over_a_clip_is_the_answer_of_the_others() -> None:
    stream = Stream(Sum(), step=0.2)
    for k in range(6):
        (scores,) = stream.score({0: frames([1], k * 0.2)})[0]
    assert scores.p[0] == pytest.approx(1 / (1 + np.exp(-(3 + 4 + 5 + 6) / 4)), abs=1e-3)
    assert scores.window == Window(pytest.approx(0.4), pytest.approx(1.2))
