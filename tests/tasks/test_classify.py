"""Windows, clips and scores are joined in time, by a network whose answer is known."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.errors import VideoError
from marey.tasks._seen import labels_of, rank
from marey.tasks._windows import average
from marey.tasks.classify import classify, sigmoid, softmax
from marey.types import Input, ModelCard, Scores, Window

BRIGHTNESS = Input(
    frames=4,
    size=(8, 8),
    resize=(8, 8),
    mean=(0, 0, 0),
    std=(1, 1, 1),
    sampling="segments",
    seconds=1,
)


class BrightOrDark:
    """Says "bright" of clips whose mean is above the middle; counts what it is asked."""

    input = BRIGHTNESS
    labels: tuple[str, ...] | None = ("dark", "bright")
    warnings: tuple[str, ...] = ()
    multilabel = False

    def __init__(self) -> None:
        self.clips = 0

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        assert clips.dtype == np.uint8
        assert clips.shape[1:] == (4, 8, 8, 3)
        self.clips += len(clips)
        light = clips.mean((1, 2, 3, 4)) / 255 - 0.5
        return np.stack([-light * 20, light * 20], 1).astype(np.float32)

    def card(self) -> ModelCard:
        return ModelCard("bright-or-dark", "none", 2, "test", "float32", self.input)


@pytest.fixture(scope="module")
def dusk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three bright seconds, then two dark ones, at 10 frames a second."""
    from fractions import Fraction

    from marey.video.write import VideoWriter

    path = tmp_path_factory.mktemp("videos") / "dusk.mp4"
    with VideoWriter(path, 32, 32, Fraction(10)) as writer:
        for index in range(50):
            image = np.full((32, 32, 3), 255 if index < 30 else 0, np.uint8)
            writer.write(image, Fraction(index, 10))
    return path


def test_windows_follow_the_video(dusk: Path) -> None:
    report = classify(dusk, BrightOrDark())
    assert [(w.start, w.end, w.top[0].label) for w in report.windows] == [
        (0, 1, "bright"),
        (1, 2, "bright"),
        (2, 3, "bright"),
        (3, 4, "dark"),
        (4, 5, "dark"),
    ]
    assert report.top[0].label == "bright"
    assert report.top[0].score == pytest.approx(0.6, abs=1e-3)
    assert report.warnings == ()


def test_overlapping_windows_score_each_clip_once(dusk: Path) -> None:
    runtime = BrightOrDark()
    report = classify(dusk, runtime, window=2, step=0.5)
    assert [w.start for w in report.windows] == [0, 0.5, 1, 1.5, 2, 2.5, 3]
    # Clips of one second, half a second apart, over five seconds; seven windows hold four each.
    assert runtime.clips == 9
    assert report.windows[-1].top[0].label == "dark"


def test_a_window_shorter_than_a_clip_is_a_clip(dusk: Path) -> None:
    runtime = BrightOrDark()
    report = classify(dusk, runtime, window=0.5)
    assert runtime.clips == len(report.windows) == 10


def test_progress_ends_at_the_end(dusk: Path) -> None:
    seen: list[tuple[float, float | None]] = []
    classify(dusk, BrightOrDark(), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 5), (2, 5), (3, 5), (4, 5), (5, 5)]


def test_a_missing_video_says_so(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nothing\.mp4"):
        classify(tmp_path / "nothing.mp4", BrightOrDark())


def test_an_error_midway_ends_the_decoding_thread(dusk: Path) -> None:
    def stop(done: float, total: float | None) -> None:
        raise RuntimeError("enough")

    before = threading.active_count()
    for window in (None, 2.5):
        with pytest.raises(RuntimeError, match="enough"):
            classify(dusk, BrightOrDark(), window=window, progress=stop)
        assert threading.active_count() == before


def test_classes_that_do_not_exclude_each_other_are_scored_apart(dusk: Path) -> None:
    runtime = BrightOrDark()
    runtime.multilabel = True
    first = classify(dusk, model=runtime).windows[0]
    assert {score.label: round(score.score, 3) for score in first.top} == {"bright": 1, "dark": 0}
    np.testing.assert_allclose(
        sigmoid(np.array([[0.0, 1e4, -1e4, np.log(3)]])), [[0.5, 1, 0, 0.75]]
    )


def test_classes_without_labels_are_numbers() -> None:
    runtime = BrightOrDark()
    assert labels_of(runtime) == ("dark", "bright")
    runtime.labels = None
    assert labels_of(runtime) == ["class 0", "class 1"]


def test_the_best_come_first_and_equal_ones_in_the_order_of_labels() -> None:
    best = rank(np.array([0.1, 0.7, 0.1, 0.1]), "abcd", 3)
    assert [(score.label, score.score) for score in best] == [("b", 0.7), ("a", 0.1), ("c", 0.1)]


@given(st.lists(st.floats(-500, 500), min_size=1, max_size=9))
def test_softmax_is_a_distribution(logits: list[float]) -> None:
    p = softmax(np.array([logits], np.float32))
    assert p.sum() == pytest.approx(1, abs=1e-5)
    best = np.argmax(np.float32(logits))
    assert p[0, best] == p.max()


@given(
    st.integers(1, 30),
    st.floats(0.5, 8),
    st.floats(0.1, 3),
)
def test_average_is_the_mean_of_the_clips_in_the_middle(
    count: int, length: float, step: float
) -> None:
    moments = [Scores(Window(i, i + 1), np.array([i], np.float32)) for i in range(count)]
    spans = [Window(k * step, k * step + length) for k in range(20)]
    found = {scores.window: float(scores.p[0]) for scores in average(spans, iter(moments))}
    for span in spans:
        inside = [i for i in range(count) if span.start <= i + 0.5 < span.end]
        assert (span in found) == bool(inside)
        if inside:
            assert found[span] == pytest.approx(np.mean(inside), abs=1e-4)


def test_average_holds_only_what_a_later_window_may_want() -> None:
    alive: list[int] = []

    class Tracked(np.ndarray):
        def __del__(self) -> None:
            alive.pop()

    def moments() -> Iterator[Scores]:
        for i in range(1000):
            p = np.zeros(1, np.float32).view(Tracked)
            alive.append(i)
            yield Scores(Window(i, i + 1), p)

    most = 0
    for _ in average((Window(k, k + 5) for k in range(995)), moments()):
        most = max(most, len(alive))
    assert most < 30
