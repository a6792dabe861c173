"""From a file to events, by a network whose answer is known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marey.errors import ModelError, VideoError
from marey.tasks import detect as module
from marey.tasks.detect import detect, finds_shots
from marey.types import Input, ModelCard, Report
from marey.video.write import VideoWriter

ONE_SECOND = Input(
    frames=4,
    size=(8, 8),
    resize=(8, 8),
    mean=(0, 0, 0),
    std=(1, 1, 1),
    sampling="segments",
    seconds=1,
)


class Light:
    """How bright the mean of a clip is, as logits of three classes, and one that is always low."""

    input = ONE_SECOND
    labels: tuple[str, ...] | None = ("lamp", "sun", "other")
    warnings = ("made up",)

    def __init__(self, multilabel: bool = False) -> None:
        self.multilabel = multilabel

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        light = 20 * (clips.mean((1, 2, 3, 4)) / 255 - 0.5)
        return np.stack([light - 3, light, -light], 1).astype(np.float32)

    def card(self) -> ModelCard:
        return ModelCard("light", "none", 3, "test", "float32", self.input, self.multilabel)


def make(path: Path, start: Fraction = Fraction(0)) -> Path:
    """Dark but for seconds 3 to 6 and 8 to 9, of 12, at 10 frames a second."""
    with VideoWriter(path, 32, 32, Fraction(10)) as writer:
        for index in range(120):
            bright = 30 <= index < 60 or 80 <= index < 90
            image = np.full((32, 32, 3), 255 if bright else 0, np.uint8)
            writer.write(image, start + Fraction(index, 10))
    return path


@pytest.fixture(scope="module")
def lights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("videos") / "lights.mp4")


def test_events_have_the_times_of_what_is_seen(lights: Path) -> None:
    report = detect(lights, Light())
    assert [event.label for event in report.events] == ["sun", "sun"]
    found = [(event.start, event.end) for event in report.events]
    # Half a second from window to window, and a window is half dark at a boundary.
    np.testing.assert_allclose(found, [(3, 6), (8, 9)], atol=0.25)
    assert all(event.score > 0.9 for event in report.events)
    assert [w.start for w in report.windows] == [k / 2 for k in range(23)]
    assert report.top[0].label == "other"
    assert report.warnings == ("made up",)
    assert Report.from_dict(report.to_dict()) == report


def test_shifting_the_video_shifts_its_events(lights: Path, tmp_path: Path) -> None:
    before = detect(lights, Light())
    later = detect(make(tmp_path / "later.mp4", Fraction(7)), Light())
    assert later.video.start == 7
    assert [(e.label, e.score) for e in later.events] == [(e.label, e.score) for e in before.events]
    np.testing.assert_allclose(
        [(e.start, e.end) for e in later.events],
        [(e.start + 7, e.end + 7) for e in before.events],
        atol=1e-9,
    )


def test_thresholds_gap_and_shortest_are_obeyed(lights: Path) -> None:
    assert len(detect(lights, Light(), gap=3).events) == 1
    assert len(detect(lights, Light(), shortest=2).events) == 1
    assert detect(lights, Light(), thresholds={"sun": 1.0}).events == ()
    others = detect(lights, Light(), background=["sun"])
    assert [event.label for event in others.events] == ["other"] * 3


def test_classes_that_exclude_each_other_do_not_overlap(lights: Path) -> None:
    """Low thresholds give both; only where both may be true are both kept."""
    found = detect(lights, Light(), threshold=0.045)
    assert [e.label for e in found.events] == ["sun", "sun"]
    found = detect(lights, Light(), threshold=0.045, overlap=1)
    assert [e.label for e in found.events] == ["sun", "lamp", "sun", "lamp"]
    found = detect(lights, Light(multilabel=True), threshold=0.045)
    assert [e.label for e in found.events] == ["sun", "lamp", "sun", "lamp"]


def test_windows_and_steps_are_those_asked_for(lights: Path) -> None:
    report = detect(lights, Light(), window=2, step=0.5, top=1)
    assert [(w.start, w.end) for w in report.windows][:2] == [(0, 2), (0.5, 2.5)]
    assert all(len(w.top) == 1 for w in report.windows)


def test_too_many_windows_are_left_out_and_it_is_said(
    lights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = detect(lights, Light())
    monkeypatch.setattr(module, "KEPT", 22)
    report = detect(lights, Light())
    assert report.windows == ()
    assert (report.top, report.events) == (whole.top, whole.events)
    assert any("23 windows" in warning for warning in report.warnings)


def test_classes_without_labels_are_numbers(lights: Path) -> None:
    runtime = Light()
    runtime.labels = None
    assert {e.label for e in detect(lights, runtime).events} == {"class 1", "class 2"}
    assert len(detect(lights, runtime, background=["class 2"]).events) == 2


def test_without_a_model_shots_are_found(lights: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    whole = detect(lights, Light())
    monkeypatch.setattr(module, "shots", lambda *args, **how: asked.append((args, how)) or whole)
    assert detect(lights, threshold=0.3) == whole
    assert asked[0][0] == (lights, "transnetv2")
    assert asked[0][1]["threshold"] == 0.3
    told = detect(lights, smooth=1, decode="keys").warnings
    assert told == (*whole.warnings, "shots are found in all frames: smooth, decode not used")
    told = detect(lights, Light(), gamma=0.5).warnings
    assert told[-1] == "a network for clips has a gamma of its own: gamma not used"
    assert finds_shots("transnetv2.clipshots")
    assert not finds_shots("transnetv3")
    assert not finds_shots(Light())


def test_progress_ends_at_the_end(lights: Path) -> None:
    seen: list[tuple[float, float | None]] = []
    detect(lights, Light(), progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (12, 12)
    assert len(seen) == 23


def test_what_cannot_be_is_said(lights: Path, tmp_path: Path) -> None:
    with pytest.raises(VideoError, match=r"nothing\.mp4"):
        detect(tmp_path / "nothing.mp4", Light())
    with pytest.raises(ModelError, match=r"no label 'sum'.*sun"):
        detect(lights, Light(), thresholds={"sum": 0.5})
