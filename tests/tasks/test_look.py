"""Frames that overlapping clips share are looked at once, where that gives the same."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_classify import BrightOrDark

from marey.tasks.classify import classify
from marey.testing.videos import make_video
from marey.types import ModelCard


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    return make_video(path, frames=240, fps=Fraction(24), size=(32, 32))


class EachFrame(BrightOrDark):
    """The mean over what it says of each frame, and says so."""

    def __init__(self, by_frame: bool) -> None:
        super().__init__()
        self.by_frame = by_frame

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        self.clips += clips.shape[0] * clips.shape[1]
        light = clips[..., 0].mean((2, 3)) / 64
        return np.stack([2 - light, light], 2).mean(1).astype(np.float32)

    def card(self) -> ModelCard:
        return replace(super().card(), by_frame=self.by_frame)


@pytest.mark.parametrize(("step", "new"), [(0.25, 1), (0.5, 2), (1.0, 4)])
def test_frames_that_windows_share_are_looked_at_once(step: float, new: int, video: Path) -> None:
    apart, shared = EachFrame(False), EachFrame(True)
    expected, found = classify(video, apart, step=step), classify(video, shared, step=step)
    assert len(found.windows) == len(expected.windows)
    for one, other in zip(found.windows, expected.windows, strict=True):
        assert (one.start, one.end) == (other.start, other.end)
        scores = [{score.label: score.score for score in each.top} for each in (one, other)]
        assert scores[0] == pytest.approx(scores[1], abs=1e-6)
    assert apart.clips == 4 * len(expected.windows)
    assert shared.clips == 4 + new * (len(expected.windows) - 1)
