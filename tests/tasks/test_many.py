"""Many videos: in order, some at once, the broken ones told, and no more held than said."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from itertools import count
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from marey.errors import MareyError, VideoError
from marey.tasks.classify import classify
from marey.tasks.many import classify_all, in_order
from marey.testing.videos import make_video
from marey.types import Input, ModelCard, Report

FOUR_FRAMES = Input(
    frames=4, size=(8, 8), resize=(8, 8), mean=(0, 0, 0), std=(1, 1, 1), fps=8, every=1
)


class Brightness:
    """Two logits from the mean; `watch` is called inside."""

    input = FOUR_FRAMES
    labels = ("dark", "bright")
    warnings: tuple[str, ...] = ()
    multilabel = False

    def __init__(self, watch: object = None) -> None:
        self.watch = watch
        self.most, self._inside, self._lock = 0, 0, threading.Lock()

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        with self._lock:
            self._inside += 1
            self.most = max(self.most, self._inside)
        if callable(self.watch):
            self.watch()
        light = clips.mean((1, 2, 3, 4)) / 255 - 0.5
        with self._lock:
            self._inside -= 1
        return np.stack([-light, light], 1).astype(np.float32)

    def card(self) -> ModelCard:
        return ModelCard("brightness", "none", 2, "test", "float32", self.input)


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("videos")
    return [
        make_video(folder / f"{k}.mp4", frames=10 + 7 * k, fps=Fraction(8), size=(32, 48))
        for k in range(6)
    ]


def test_the_same_reports_in_the_same_order_however_many_at_once(videos: list[Path]) -> None:
    expected = [classify(path, Brightness()) for path in videos]
    for at_once in (1, 2, 5):
        done = list(classify_all(videos, Brightness(), at_once=at_once))
        assert [one.found for one in done] == expected
        assert [one.video for one in done] == [str(path) for path in videos]


def test_several_go_at_once_and_no_more_than_said(videos: list[Path]) -> None:
    both = threading.Barrier(2)
    runtime = Brightness(lambda: both.wait(10))  # each waits in the network for another video
    even = [videos[0]] * 4
    assert len(list(classify_all(even, runtime, at_once=2))) == 4
    assert runtime.most == 2


def test_a_broken_one_is_told_in_its_place_and_the_others_go_on(
    videos: list[Path], tmp_path: Path
) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"no video at all")
    done = list(classify_all([videos[0], broken, videos[1]], Brightness()))
    assert [type(one.found) for one in done] == [Report, VideoError, Report]
    assert done[1].video == str(broken)


def test_what_it_took_is_counted(videos: list[Path]) -> None:
    (done,) = classify_all([videos[3]], Brightness(lambda: time.sleep(0.01)))
    assert isinstance(done.found, Report)
    spent = done.spent
    assert spent.clips == len(done.found.windows) == 8
    assert (spent.frames.decoded, spent.frames.skipped) == (31, 0)
    assert spent.seconds >= spent.network + spent.waiting
    assert spent.network >= 0.01 * spent.clips
    assert "31 frames decoded" in str(spent)
    (fewer,) = classify_all([videos[3]], Brightness(), decode="keys")
    assert isinstance(fewer.found, Report)
    assert fewer.spent.frames.decoded == 3
    assert any("not decoded, as asked" in warning for warning in fewer.found.warnings)


def test_an_endless_list_is_taken_as_needed_and_can_be_left(videos: list[Path]) -> None:
    before = threading.active_count()
    taken: list[int] = []

    def endless() -> Iterator[Path]:
        for k in count():
            taken.append(k)
            yield videos[k % len(videos)]

    with closing(classify_all(endless(), Brightness(), at_once=2)) as found:
        for _ in range(3):
            next(found)
        assert len(taken) <= 3 + 2 * 2
    assert threading.active_count() == before


def test_leaving_ends_a_long_video_soon(videos: list[Path]) -> None:
    runtime = Brightness(lambda: time.sleep(0.05))
    with closing(classify_all([videos[0], *[videos[5]] * 3], runtime, step=0.01)) as found:
        next(found)
        began = time.perf_counter()
    assert time.perf_counter() - began < 5  # more than 500 clips were left, of 0.05 s each


def test_a_bug_ends_all_and_is_seen(videos: list[Path]) -> None:
    def fail() -> None:
        raise ZeroDivisionError

    before = threading.active_count()
    with pytest.raises(ZeroDivisionError):
        list(classify_all(videos, Brightness(fail)))
    assert threading.active_count() == before


def test_a_video_has_progress_of_its_own(videos: list[Path]) -> None:
    seen: dict[str, list[float]] = {}

    def begin(video: str):  # type: ignore[no-untyped-def]
        seen[video] = []
        return lambda done, total: seen[video].append(done / total)

    list(classify_all(videos[:3], Brightness(), progress=begin))
    assert list(seen) == [str(path) for path in videos[:3]]
    assert all(parts[-1] == 1 for parts in seen.values())


def test_an_unknown_model_is_raised_at_once() -> None:
    with pytest.raises(MareyError, match="no_such_model"):
        list(classify_all([], "no_such_model"))


def test_a_slow_one_does_not_hold_up_those_after_it() -> None:
    done: list[int] = []
    slow = Event()

    def do(k: int) -> int:
        if k == 0:
            assert slow.wait(10)
        done.append(k)
        if k == 2:
            slow.set()
        return k

    assert list(in_order(do, range(6), 2, Event())) == list(range(6))
    assert done.index(0) >= 2


def test_clips_held_are_bounded_by_the_videos_at_once(videos: list[Path]) -> None:
    """Decoding is stopped in every video: what was decoded by then is what is held."""
    import marey.tasks._windows as module

    alive = most = 0
    lock = threading.Lock()
    original = module.clips

    class Tracked:
        def __init__(self, clip: object) -> None:
            nonlocal alive, most
            self.window, self.frames = clip.window, clip.frames  # type: ignore[attr-defined]
            with lock:
                alive += 1
                most = max(most, alive)

        def __del__(self) -> None:
            nonlocal alive
            with lock:
                alive -= 1

    def tracked(*args: object, **kwargs: object) -> Iterator[Tracked]:
        for clip in original(*args, **kwargs):  # type: ignore[arg-type]
            yield Tracked(clip)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "clips", tracked)
        runtime = Brightness(lambda: time.sleep(0.01))
        list(classify_all(videos, runtime, at_once=2, step=0.05))
    assert 4 < most <= 2 * 5  # in use, two ahead, and one that waits for room, in each of two


def test_detect_all_finds_what_detect_does_and_refuses_unknown_labels(tmp_path: Path) -> None:
    from marey.errors import ModelError
    from marey.tasks.detect import detect
    from marey.tasks.many import detect_all

    paths = [make_video(tmp_path / f"{k}.mp4", frames=30, size=(32, 32)) for k in range(3)]
    paths.insert(1, tmp_path / "missing.mp4")
    found = list(detect_all(paths, Brightness(), threshold=0.3))
    assert [done.video for done in found] == list(map(str, paths))
    assert isinstance(found[1].found, VideoError)
    for k in (0, 2, 3):
        assert found[k].found == detect(paths[k], Brightness(), threshold=0.3)
        assert found[k].spent.clips > 0
    with pytest.raises(ModelError, match="bright"):
        list(detect_all(paths, Brightness(), thresholds={"brigt": 0.5}))
