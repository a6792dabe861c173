"""Tracks, and all of a video in one pass, after a kill: nothing is asked twice, nothing differs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from actor_streams import CLIP, Bright, BrightBoxes
from moving import Eye, straight
from test_classify import BrightOrDark
from test_resume import Killed, KilledError
from test_shots import Jumps

from marey.outputs.journal import Journal
from marey.outputs.part import Part
from marey.tasks import analyze as module
from marey.tasks.analyze import Analyst, analyze
from marey.tasks.track import track
from marey.testing.videos import make_video
from marey.types import Report

pytest.importorskip("trackers")

MANY = 10_000  # more than any is asked
FRAMES = 90
THINGS = [
    ("person", straight(2, 5, 0.6, side=20.3, hidden=range(20, 24))),
    ("dog", straight(70, 35, -0.4, side=17, hidden=range(50, 70))),
    ("person", lambda k: (200, 5, 230, 30) if k % 7 == 0 else None),  # outside, which is told
]


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    return make_video(path, frames=FRAMES, fps=Fraction(10), gop=25)


class Parts:
    """The networks that are asked, each counted and to be killed at its `last` call."""

    def __init__(self, boxes: bool, **last: int) -> None:
        self.acts = KilledJudge if boxes else Killed
        judge = BrightBoxes(replace(CLIP, resize=32)) if boxes else Bright()
        made = {"tags": BrightOrDark(), "shots": Jumps(), "looks": Eye(THINGS), "actions": judge}
        self.nets: dict[str, Any] = {
            name: (self.acts if name == "actions" else Killed)(net, last.get(name, MANY))
            for name, net in made.items()
        }

    @property
    def calls(self) -> dict[str, int]:
        """How often each has answered."""
        return {name: net.answered for name, net in self.nets.items()}

    def track(self, video: Path, journal: Journal | None = None, **how: Any) -> Report:
        looks, acts = self.nets["looks"], self.nets["actions"]
        return track(video, looks, actions=acts, journal=journal, **how)

    def cut(self, video: Path, journal: Journal | None = None, **how: Any) -> Report:
        return self.track(video, journal, shots=self.nets["shots"], **how)

    def analyze(self, video: Path, journal: Journal | None = None, **how: Any) -> Report:
        nets = self.nets
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module._shots, "finder", lambda **how: nets["shots"])
            analyst = Analyst(nets["tags"], detector=nets["looks"], actions=nets["actions"])
        return analyze(video, analyst, journal=journal, **how)


class KilledJudge(Killed):
    def judge(self, frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        return self.asked(self.net.judge, frames, boxes)


Run = Callable[..., Report]
WAYS: dict[str, tuple[Run, str, dict[str, Any]]] = {
    "track": (Parts.track, "looks", {}),
    "several at once": (Parts.track, "looks", {"every": 2, "batch": 3, "labels": ("person",)}),
    "no tracker": (Parts.track, "looks", {"tracker": "none"}),
    "moving camera": (Parts.track, "looks", {"tracker": "botsort", "every": 3}),
    "shots": (Parts.cut, "looks", {"every": 2}),
    "shots, killed there": (Parts.cut, "shots", {}),
    "actions": (Parts.track, "actions", {"action_threshold": 0.2}),
    "all, people": (Parts.analyze, "looks", {"every": 1}),
    "all, tags": (Parts.analyze, "tags", {}),
    "all, shots": (Parts.analyze, "shots", {}),
    "all, actions": (Parts.analyze, "actions", {"action_threshold": 0.2}),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_it_goes_on_where_it_was(
    way: str, share: float, boxes: bool, video: Path, tmp_path: Path
) -> None:
    run, killed, how = WAYS[way]
    counted = Parts(boxes)
    whole = run(counted, video, **how)
    assert whole.tracks
    first = Parts(boxes, **{killed: round(share * counted.calls[killed])})
    with Part(tmp_path / "out.json", how) as part, pytest.raises(KilledError):
        run(first, video, part.journal(video), **how)
    assert first.calls[killed] == round(share * counted.calls[killed])
    later = Parts(boxes)
    with Part(tmp_path / "out.json", how) as part:
        found = run(later, video, part.journal(video), **how)
        part.add(video, found)
    assert found.to_dict() == whole.to_dict()
    both = {name: count + later.calls[name] for name, count in first.calls.items()}
    assert both == counted.calls
    assert [path.name for path in tmp_path.iterdir()] == ["out.json.part"]


def test_one_that_was_at_the_end_asks_nothing(video: Path, tmp_path: Path) -> None:
    for name, run in {"track": Parts.track, "analyze": Parts.analyze}.items():
        whole = run(Parts(False), video, Journal(tmp_path / name, video, {}))
        none = dict.fromkeys(("tags", "shots", "looks", "actions"), 0)
        again = run(Parts(False, **none), video, Journal(tmp_path / name, video, {}))
        assert again.to_dict() == whole.to_dict()
        assert whole.events


def test_what_is_begun_is_counted_by_the_video(video: Path, tmp_path: Path) -> None:
    with Part(tmp_path / "a.json", {}) as part, pytest.raises(KilledError):
        Parts(False, looks=20).analyze(video, part.journal(video))
    assert len(list(tmp_path.iterdir())) > 2  # parts of it
    with Part(tmp_path / "a.json", {}) as part:
        assert part.warnings == ["1 videos were begun in an earlier run"]


def test_a_label_that_a_detector_does_not_tell_of_is_kept(video: Path, tmp_path: Path) -> None:
    class Coco(Eye):
        labels = ("person", "tree")  # type: ignore[assignment]

    whole = track(video, Coco(THINGS))
    assert "dog" in {one.label for one in whole.tracks}
    with pytest.raises(KilledError):
        track(video, Killed(Coco(THINGS), 40), journal=Journal(tmp_path / "j", video, {}))  # type: ignore[arg-type]
    again = track(video, Coco(THINGS), journal=Journal(tmp_path / "j", video, {}))
    assert again.to_dict()["tracks"] == whole.to_dict()["tracks"]


def test_a_video_without_anything_goes_on_too(video: Path, tmp_path: Path) -> None:
    for last in (30, MANY):
        eye = Killed(Eye([]), last)
        try:
            found = track(video, eye, journal=Journal(tmp_path / "journal", video, {}))  # type: ignore[arg-type]
        except KilledError:
            continue
        assert eye.answered == FRAMES - 30
        assert found.tracks == ()
