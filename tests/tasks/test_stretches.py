"""Windows that share their frames find what windows by themselves find, and ask for less."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch

from marey.errors import ModelError
from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model
from marey.outputs.journal import Journal
from marey.runtime.shared import SharedRuntime
from marey.tasks.detect import detect, made_ready
from marey.testing.videos import make_video
from marey.types import Input, ModelCard, Report


class Lights:
    """Says how bright a clip is, and how much brighter at its end; counts the frames it sees."""

    labels = ("dark", "bright")
    multilabel = True
    warnings = ()

    def __init__(self, input: Input, hop: int | None = None, clips: int = 1) -> None:
        self.input, self.hop, self.clips, self.seen, self.left = input, hop, clips, 0, 10**9

    def card(self) -> ModelCard:
        return ModelCard("lights", None, 2, "test", "float32", self.input, mixes_time=False)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.left -= 1
        if self.left < 0:
            raise KeyboardInterrupt
        self.seen += frames.shape[0] * frames.shape[1]
        light = frames[..., 0].mean((2, 3))[0] / 64
        long = len(light) - (self.clips - 1) * (self.hop or 0)
        parts = [light[k * (self.hop or 0) :][:long] for k in range(self.clips)]
        return np.array([[part.mean() - 2, part[-1] - part[0]] for part in parts], np.float32)


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> SharedRuntime:
    prepare = Input(frames=8, every=2, size=(32, 32), resize=32, mean=(0,) * 3, std=(1,) * 3)
    monkeypatch.setattr("marey.runtime.shared.compile", lambda *_, **__: Lights(prepare))

    def compiled(self: SharedRuntime, hop: int, clips: int) -> Lights:
        return Lights(replace(prepare, frames=(clips - 1) * hop + 8), hop, clips)

    monkeypatch.setattr(SharedRuntime, "_compiled", compiled)
    return SharedRuntime("lights")


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    return make_video(path, frames=503, fps=Fraction(25), size=(32, 32))


def windows(report: Report) -> dict[float, dict[str, float]]:
    return {
        round(row.start, 6): {score.label: score.score for score in row.top}
        for row in report.windows
    }


def test_windows_and_scores_are_those_of_windows_by_themselves(
    shared: SharedRuntime, video: Path
) -> None:
    apart, found = detect(video, shared.alone), detect(video, shared)
    expected, got = windows(apart), windows(found)
    assert list(got)[-1] == pytest.approx(list(expected)[-1])  # both end with the video
    both = expected.keys() & got.keys()
    assert len(both) > 0.8 * len(expected)
    assert len(got) == len(expected)
    for start in both:
        assert got[start] == pytest.approx(expected[start], abs=1e-6)
    assert len(found.events) == len(apart.events) > 0


def test_frames_are_asked_for_once(shared: SharedRuntime, video: Path) -> None:
    report = detect(video, shared, step=0.16)  # two frames of the clip
    (stretch,) = shared._stretches.values()
    assert stretch.hop == 2
    assert shared.alone.seen == 0  # type: ignore[attr-defined]
    frames = stretch.runtime.seen  # type: ignore[attr-defined]
    assert frames < 8 * len(report.windows) / 3
    assert not report.warnings


def test_a_step_between_frames_is_told(shared: SharedRuntime, video: Path) -> None:
    report = detect(video, shared, step=0.2)
    assert report.warnings == ("windows share frames: one every 0.160 s, not every 0.2",)
    starts = [row.start for row in report.windows[:3]]
    assert np.diff(starts) == pytest.approx(0.16)


def test_short_videos_are_looked_at_by_windows(shared: SharedRuntime, tmp_path: Path) -> None:
    short = make_video(tmp_path / "short.mp4", frames=30, fps=Fraction(25), size=(32, 32))
    assert windows(detect(short, shared)) == windows(detect(short, shared.alone))


@pytest.mark.parametrize("calls", [0, 2, 5])
def test_it_goes_on_in_the_middle(
    calls: int, shared: SharedRuntime, video: Path, tmp_path: Path
) -> None:
    whole = detect(video, shared, step=0.16)
    (stretch,) = shared._stretches.values()
    asked = 10**9 - stretch.runtime.left  # type: ignore[attr-defined]
    stretch.runtime.left = calls  # type: ignore[attr-defined]
    with pytest.raises(KeyboardInterrupt):
        detect(video, shared, step=0.16, journal=Journal(tmp_path / "j", video, {}))
    stretch.runtime.left = asked - calls  # type: ignore[attr-defined]
    again = detect(video, shared, step=0.16, journal=Journal(tmp_path / "j", video, {}))
    assert json.dumps(again.to_dict()) == json.dumps(whole.to_dict())


def test_by_name_where_nothing_changes_and_else_if_asked_for(tmp_path: Path, video: Path) -> None:
    for name in ("timm/resnet18+segments:parts=2", "timm/resnet18", "timm/resnet18+tam"):
        torch.manual_seed(0)
        net = create_model(name, classes=["a", "b"])
        net.input = replace(net.input, frames=4, size=(32, 32), resize=32)
        save_checkpoint(net, tmp_path / name.rpartition("+")[2].replace("/", "-"))
    order, mean, tam = (tmp_path / name for name in ("segments:parts=2", "timm-resnet18", "tam"))
    assert isinstance(made_ready(order), SharedRuntime)
    assert not isinstance(made_ready(order, shared=False), SharedRuntime)
    assert not isinstance(made_ready(mean), SharedRuntime)  # frame by frame
    assert not isinstance(made_ready(tam), SharedRuntime)
    assert isinstance(made_ready(tam, shared=True), SharedRuntime)
    expected, found = (windows(detect(video, order, shared=share)) for share in (False, None))
    for start in expected.keys() & found.keys():
        assert found[start] == pytest.approx(expected[start], abs=1e-4)


def test_what_cannot_share_is_refused() -> None:
    with pytest.raises(ModelError, match="frames"):
        made_ready("transnetv2", shared=True)
    with pytest.raises(ModelError, match="exported file"):
        made_ready("net.onnx", shared=True)
