"""One pass over a video finds what the verbs find one by one."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from moving import Eye, make_joined, straight
from test_classify import BrightOrDark
from test_shots import Jumps, shades

from marey.boxes import Detections
from marey.errors import MissingExtraError, ModelError
from marey.tasks import analyze as module
from marey.tasks._shot_tracks import split_at
from marey.tasks._spent import Spent
from marey.tasks.analyze import Analyst, analyze
from marey.tasks.classify import classify
from marey.tasks.shots import shots
from marey.tasks.track import track
from marey.testing.videos import make_video
from marey.types import Event, Input, ModelCard, Track

pytest.importorskip("trackers")

PREPARE = Input(frames=1, size=(32, 32), resize=32, mean=(0,) * 3, std=(1,) * 3)


class OneThing:
    """A detector that sees one still thing in every picture, and a thing that comes and goes."""

    labels = ("thing",)
    warnings = ()

    def __init__(self) -> None:
        self.frames = 0

    def card(self) -> ModelCard:
        return ModelCard("onething", None, 1, "test", "float32", PREPARE)

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        self.frames += len(frames)
        box = np.array([[4, 4, 14, 24]], np.float32)
        return [Detections(box, np.array([0.9], np.float32), ("thing",)) for _ in frames]


class EverySecond(BrightOrDark):
    """Acts on whatever it is shown: always bright."""

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        self.clips += len(clips)
        return np.tile(np.array([0, 5], np.float32), (len(clips), 1))


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    return make_video(path, frames=150, fps=Fraction(25), size=(32, 48))


def analyst(**made: Any) -> Analyst:
    return Analyst(BrightOrDark(), detector=OneThing(), actions=EverySecond(), **made)  # type: ignore[arg-type]


@pytest.fixture
def without_shots(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**how: Any) -> None:
        raise MissingExtraError("no weights", do="Install them.")

    monkeypatch.setattr(module._shots, "finder", refuse)


@pytest.mark.usefixtures("without_shots")
def test_it_finds_what_each_verb_finds_and_decodes_once(video: Path) -> None:
    spent = Spent()
    report = analyze(video, analyst(), every=1, spent=spent)
    seen, followed = (
        classify(video, BrightOrDark(), top=3),
        track(video, OneThing(), actions=EverySecond()),
    )
    assert report.windows == seen.windows
    assert report.top == seen.top
    assert [t.to_dict() for t in report.tracks] == [t.to_dict() for t in followed.tracks]
    assert report.events == followed.events
    assert report.events
    assert {event.actor for event in report.events} == {1}
    assert spent.frames.decoded <= 150
    assert spent.clips > 150  # the detector looked at every frame, and others at some
    assert [card.name for card in report.also] == ["onething", "bright-or-dark"]


def test_tracking_finds_shots_in_the_same_decoding(tmp_path: Path) -> None:
    times = [Fraction(k, 25) for k in range(100)]
    path = shades(tmp_path / "a.mp4", [40] * 33 + [220] * 67, times)
    spent = Spent()
    report = track(path, OneThing(), shots=Jumps(), actions=EverySecond(), spent=spent)  # type: ignore[arg-type]
    alone = shots(path, Jumps())  # type: ignore[arg-type]
    (cut,) = alone.events
    assert cut.start == pytest.approx(33 / 25)
    assert [event for event in report.events if event.label == "cut"] == [cut]
    assert [(t.id, t.times[0], t.times[-1]) for t in report.tracks] == [
        (1, 0, pytest.approx(32 / 25)),
        (2, pytest.approx(33 / 25), pytest.approx(99 / 25)),
    ]
    assert spent.frames.decoded <= 100
    assert report.model.name == "onething"
    assert [card.name for card in report.also] == ["jumps", "bright-or-dark"]
    assert report.tracking == track(path, OneThing()).tracking
    known = track(path, OneThing(), cuts=[cut.start])
    assert [t.to_dict() for t in report.tracks] == [t.to_dict() for t in known.tracks]


def test_a_shot_that_is_looked_for_and_cannot_be_is_an_error(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise MissingExtraError("no weights", do="Install them.")

    monkeypatch.setattr("marey.tasks.track.finder", refuse)
    with pytest.raises(MissingExtraError, match="no weights"):
        track(video, OneThing(), shots="transnetv2")


@pytest.mark.usefixtures("without_shots")
def test_what_cannot_be_had_is_left_out_and_told(
    video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match="no detector is called"):
        Analyst(BrightOrDark(), detector="nothing-like-it")

    def refuse(*_: Any, **__: Any) -> None:
        raise MissingExtraError("no wheel", do="Install it.")

    monkeypatch.setattr(module._track, "made_ready", refuse)
    asked = Analyst(BrightOrDark(), actions=EverySecond())
    report = analyze(video, asked)
    assert report.windows
    assert not report.tracks
    shots, things, actions = report.warnings
    assert shots.startswith("shots are not looked for: no weights")
    assert things.startswith("things are not looked for")
    assert actions.startswith("actions are not told")


def test_frames_of_another_size_midway_are_the_first_ones_for_all_parts(tmp_path: Path) -> None:
    joined = make_joined(tmp_path / "joined.ts")
    eye = Eye([("person", straight(2, 5, 1))])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module._shots, "finder", lambda **how: Jumps())
        asked = Analyst(BrightOrDark(), detector=eye, actions=EverySecond())  # type: ignore[arg-type]
    alone, found = track(joined, eye), analyze(joined, asked, every=1)
    assert alone.warnings == ("frames of another size, scaled to that of the first: 25",)
    assert found.warnings == alone.warnings
    assert [t.to_dict() for t in found.tracks] == [t.to_dict() for t in alone.tracks]
    assert found.tracks[0].boxes[-1, 0] == pytest.approx(2 + 49, abs=0.1)


@pytest.mark.usefixtures("without_shots")
def test_nothing_found_is_no_track_and_no_action(video: Path) -> None:
    acts = EverySecond()
    found = analyze(video, Analyst(BrightOrDark(), detector=Eye([]), actions=acts))  # type: ignore[arg-type]
    assert (found.tracks, found.events, found.warnings[1:]) == ((), (), ())
    assert found.windows
    assert acts.clips == 0


@pytest.mark.usefixtures("without_shots")
def test_an_error_in_one_part_ends_the_others(video: Path) -> None:
    class Broken(OneThing):
        def __call__(self, frames: np.ndarray) -> list[Detections]:
            if self.frames > 20:
                raise ModelError("broke")
            return super().__call__(frames)

    with pytest.raises(ModelError, match="broke"):
        analyze(video, Analyst(BrightOrDark(), detector=Broken()))


def trail(id: int | None, *times: float, unseen: tuple[float, ...] = ()) -> Track:
    n = len(times)
    seen = np.array([time not in unseen for time in times])
    boxes = np.arange(4 * n, dtype=np.float32).reshape(n, 4)
    return Track(id, "x", np.array(times), boxes, np.ones(n, np.float32), seen)


def test_no_track_goes_on_over_a_cut() -> None:
    tracks = (trail(1, 0, 1, 2, 3, 4, 5, unseen=(2, 3)), trail(2, 3, 4), trail(None, 0, 4))
    acts = (Event("run", 0, 1.5, 0.9, 1), Event("sit", 3.5, 5, 0.9, 1), Event("cut", 2.5, 2.6, 1))
    parts, events = split_at(tracks, acts, [2.5])
    found = {part.id: part.times.tolist() for part in parts}
    assert found == {1: [0, 1], 3: [4, 5], 2: [3, 4], None: [0, 4]}
    assert [event.actor for event in events] == [1, 3, None]
    whole, same = split_at(tracks, acts, [])
    assert [part.to_dict() for part in whole] == [part.to_dict() for part in tracks]
    assert same == acts
