"""A run that was killed inside a video goes on there, and ends as if nothing had happened."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from test_classify import BrightOrDark
from test_features import Colours
from test_shots import Jumps

from marey.outputs.journal import Journal
from marey.tasks._spent import Spent
from marey.tasks.classify import classify
from marey.tasks.detect import detect
from marey.tasks.features import features
from marey.tasks.shots import shots
from marey.testing.videos import make_video
from marey.types import Report


class KilledError(Exception):
    """As if the process had ended."""


class Killed:
    """A network that is killed when it is asked the `last` time."""

    def __init__(self, net: Any, last: int) -> None:
        self.net, self.last, self.answered = net, last, 0
        self.labels, self.warnings, self.card = net.labels, net.warnings, net.card
        if hasattr(net, "input"):  # a detector takes frames of any size
            self.input, self.multilabel = net.input, net.multilabel

    def __call__(self, frames: np.ndarray) -> Any:
        return self.asked(self.net, frames)

    def asked(self, ask: Callable[..., Any], *question: np.ndarray) -> Any:
        if self.answered == self.last:
            raise KilledError
        self.answered += 1
        return ask(*question)


class Changing(BrightOrDark):
    """Says how bright the frames are, which in `make_video` changes from one to the next."""

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        self.clips += len(clips)
        light = clips[..., 0].mean((1, 2, 3)) / 64
        return np.stack([2 - light, light], 1).astype(np.float32)


WAYS: dict[str, tuple[Callable[..., Report], type, dict[str, Any]]] = {
    "windows": (classify, Changing, {}),
    "overlapping": (classify, Changing, {"step": 0.3}),
    "long": (classify, Changing, {"window": 3.0, "step": 1.5}),
    "events": (detect, Changing, {"smooth": 1.0, "threshold": 0.4}),
    "shots": (shots, Jumps, {"threshold": 0.1}),
}
MANY = 1000  # more than any asks


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("videos") / "a.mp4"
    return make_video(path, frames=500, size=(32, 32), gop=25)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_it_goes_on_where_it_was(way: str, share: float, video: Path, tmp_path: Path) -> None:
    do, kind, how = WAYS[way]
    counted, spent, path = Killed(kind(), MANY), Spent(), tmp_path / "journal"
    whole = do(video, counted, **how)
    calls = counted.answered
    before = round(share * calls)
    with pytest.raises(KilledError):
        do(video, Killed(kind(), before), journal=Journal(path, video, how), **how)
    later = Killed(kind(), MANY)
    again = do(video, later, journal=Journal(path, video, how), spent=spent, **how)
    assert again == whole
    assert later.answered == calls - before  # nothing is asked twice
    if share == 0.9:
        assert spent.frames.decoded < 150


@pytest.mark.parametrize("how", [{}, {"stride": 0.7}, {"window": 2.5}])
@pytest.mark.parametrize("share", [0.0, 0.4, 0.9])
def test_features_go_on_where_they_were(
    how: dict[str, float], share: float, video: Path, tmp_path: Path
) -> None:
    counted, path = Killed(Colours(), MANY), tmp_path / "journal"
    whole = features(video, counted, **how)  # type: ignore[arg-type]
    calls = counted.answered
    before = round(share * calls)
    killed, later = Killed(Colours(), before), Killed(Colours(), MANY)
    with pytest.raises(KilledError):
        features(video, killed, journal=Journal(path, video, how), **how)  # type: ignore[arg-type]
    again = features(video, later, journal=Journal(path, video, how), **how)  # type: ignore[arg-type]
    assert np.array_equal(again.values, whole.values)
    assert np.array_equal(again.spans, whole.spans)
    assert again.warnings == whole.warnings
    assert len(np.unique(whole.values, axis=0)) > 10, "or anything would be equal"
    assert later.answered == calls - before


def test_one_that_was_at_the_end_asks_nothing(video: Path, tmp_path: Path) -> None:
    for way, (do, kind, how) in WAYS.items():
        path = tmp_path / way
        whole = do(video, kind(), journal=Journal(path, video, how), **how)
        assert do(video, Killed(kind(), 0), journal=Journal(path, video, how), **how) == whole


def test_what_was_lost_before_is_told(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.mp4", frames=130, size=(32, 32), gop=25)
    data = bytearray(video.read_bytes())
    place = data.index(b"mdat") + 2000
    data[place : place + 500] = bytes(500)
    video.write_bytes(data)
    whole = classify(video, Changing())
    assert whole.warnings
    path = tmp_path / "journal"
    with pytest.raises(KilledError):
        classify(video, Killed(Changing(), 4), journal=Journal(path, video, {}))
    again = classify(video, Changing(), journal=Journal(path, video, {}))
    assert again == whole
