"""From a file to a vector a window, by a network whose answer is known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_detect import ONE_SECOND, make

from marey.errors import ModelError, VideoError
from marey.tasks.classify import classify, sigmoid
from marey.tasks.features import features
from marey.tasks.many import features_all
from marey.types import ModelCard


class Colours:
    """The mean of each colour, as features or as the logits of three classes."""

    input = ONE_SECOND
    labels = ("red", "green", "blue")
    warnings = ("made up",)
    multilabel = True

    def __init__(self, network: str | None = "0123") -> None:
        self.network, self.clips = network, 0

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        self.clips += len(clips)
        return np.asarray(clips.mean((1, 2, 3)) / 255, np.float32)

    def card(self) -> ModelCard:
        return ModelCard("c", None, 3, "test", "float32", self.input, network=self.network)


@pytest.fixture(scope="module")
def lights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Dark but for seconds 3 to 6 and 8 to 9, of 12."""
    return make(tmp_path_factory.mktemp("videos") / "lights.mp4")


def test_a_row_a_window_a_quarter_of_the_clip_apart(lights: Path) -> None:
    found = features(lights, Colours())
    assert (found.stride, found.spans.shape) == (0.25, (45, 2))
    np.testing.assert_allclose(found.spans[:, 0], np.arange(45) / 4)
    np.testing.assert_allclose(found.spans[:, 1] - found.spans[:, 0], 1)
    assert (found.values.shape, found.values.dtype) == ((45, 3), np.float32)
    light = found.values.mean(1)
    inside = (found.spans[:, 0] >= 3) & (found.spans[:, 1] <= 6)
    assert light[inside].min() > 0.9
    assert light[found.spans[:, 1] <= 3].max() < 0.1
    assert found.model.network == "0123"
    assert found.warnings == ("made up",)


@pytest.mark.parametrize("how", [{}, {"window": 0.5}, {"window": 2.5}])
def test_windows_are_those_of_classify(lights: Path, how: dict[str, float]) -> None:
    """Of the same clips, averaged in the same way."""
    scored = classify(lights, Colours(None), step=0.6, **how)
    found = features(lights, Colours(), stride=0.6, **how)
    assert [tuple(span) for span in found.spans] == [(w.start, w.end) for w in scored.windows]
    if how.get("window") != 2.5:  # where sigmoids are averaged, and not what they are of
        best = [max(score.score for score in w.top) for w in scored.windows]
        np.testing.assert_allclose(sigmoid(found.values).max(1), best, atol=1e-6)


def test_the_last_window_ends_with_the_video(lights: Path) -> None:
    found = features(lights, Colours(), stride=0.7)
    assert tuple(found.spans[-1]) == (11, 12)
    assert 0 < found.spans[-1, 0] - found.spans[-2, 0] < 0.7


def test_shifting_the_video_shifts_its_windows(lights: Path, tmp_path: Path) -> None:
    before = features(lights, Colours())
    later = features(make(tmp_path / "later.mp4", Fraction(7)), Colours())
    np.testing.assert_allclose(later.spans, before.spans + 7, atol=1e-9)
    np.testing.assert_array_equal(later.values, before.values)


def test_many_come_in_order_and_a_broken_one_is_told(lights: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    runtime = Colours()
    done = list(features_all([lights, tmp_path / "bad.mp4", lights], runtime, stride=1))
    first, error, last = (one.found for one in done)
    assert isinstance(error, VideoError)
    assert np.array_equal(first.values, last.values)  # type: ignore[union-attr]
    assert runtime.clips == 2 * 12


def test_progress_ends_at_the_end(lights: Path) -> None:
    seen: list[tuple[float, float | None]] = []
    features(lights, Colours(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)


def test_what_cannot_be_is_said(lights: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nothing\.mp4"):
        features(tmp_path / "nothing.mp4", Colours())
    with pytest.raises(ModelError, match=r"gives scores, not features.*features=True"):
        features(lights, Colours(None))
    with pytest.raises(ModelError, match="gives features, not scores"):
        classify(lights, Colours())
