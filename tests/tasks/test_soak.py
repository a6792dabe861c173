"""Thousands of frames from a source that never ends: nothing grows, lags or gets lost."""

from __future__ import annotations

import gc
import time
import tracemalloc
from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import Condition, Event
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from marey.tasks import watch as module
from marey.tasks._live_feed import Feed
from marey.tasks._live_moment import Moment
from marey.tasks._live_score import LiveScorer, Stream, Windows
from marey.tasks._live_watched import Watched
from marey.tasks.events import Finder, Rules
from marey.tasks.watch import watch
from marey.testing.videos import frame_number, make_video
from marey.types import Input, ModelCard
from marey.video import live
from marey.video._connection import FileConnection, See
from marey.video.clock import Clock
from marey.video.decode import Decoded
from marey.video.limits import Limits
from marey.video.live import Manner
from marey.video.sources import Source

ROUND = 250  # frames, ten seconds
INPUT = Input(frames=5, size=(32, 48), resize=(32, 48), mean=(0,) * 3, std=(1,) * 3)
CAMERA = Source("cam", "rtsp", "rtsp://cam")


class TurnedClock(Clock):
    def __init__(self) -> None:
        self.time = 1000.0

    def now(self) -> float:
        return self.time

    def wait(self, until: float, stop: Event) -> None:
        self.time = max(self.time, until)


class FastClock(Clock):
    """Runs 20 times as fast as time does."""

    def now(self) -> float:
        return 20 * time.monotonic()

    def wait(self, until: float, stop: Event) -> None:
        stop.wait(max(0.0, until - self.now()) / 20)


class Looping:
    """A camera that plays a file again and again, in real time by `clock`."""

    finite, why = False, "it ended"

    def __init__(self, path: Path, rounds: int, clock: Clock, see: See) -> None:
        self._rounds, self._clock, self._see = rounds, clock, see
        self._source = Source(str(path), "file", str(path))
        self._connection = self._open()
        self.video, self.stream = replace(self._connection.video, end=None), self._connection.stream

    def _open(self) -> FileConnection:
        return FileConnection(self._source, Limits(), lambda packet, time, waited: True)

    def frames(self) -> Iterator[Decoded]:
        began, packet = self._clock.now(), SimpleNamespace(is_keyframe=True)
        for shift in range(0, self._rounds * ROUND, ROUND):
            for decoded in self._connection.frames():
                moment = decoded.time + Fraction(shift, 25)
                self._clock.wait(began + float(moment), Event())
                if self._see(packet, moment, True):  # type: ignore[arg-type]
                    yield decoded._replace(time=moment)
            self._connection.close()
            self._connection = self._open()

    def losses(self) -> list[str]:
        return []

    def close(self) -> None:
        self._connection.close()


class Numbers:
    """Reads the numbers in frames; as windows, or in a state: the last number and how many."""

    input = INPUT
    labels = ("first half", "second half")
    multilabel = False
    warnings: tuple[str, ...] = ()
    answer, forgets = "mean", True

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds  # that a run takes
        self.seen: list[int] = []

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(self.seconds)
        for window in clips:
            self.seen += (numbers := [frame_number(image) for image in window])
            assert all(b == (a + 1) % ROUND for a, b in pairwise(numbers))
        return self._logits(np.array(self.seen[-len(clips) * 5 :: 5]))

    def step(self, frames: NDArray[np.uint8], state: int | None) -> tuple[NDArray[np.float32], int]:
        numbers = [frame_number(image) for image in frames[0]]
        self.seen += numbers
        return self._logits(np.array(numbers))[None], (state or 0) + len(numbers)

    def _logits(self, numbers: NDArray[np.int64]) -> NDArray[np.float32]:
        half = (numbers >= ROUND // 2)[:, None]
        return np.where(half, (-9, 9), (9, -9)).astype(np.float32)

    def card(self) -> ModelCard:
        return ModelCard("numbers", None, 2, "test", "float32", self.input)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(
        tmp_path_factory.mktemp("videos") / "a.mp4", frames=ROUND, size=(32, 48), gop=25, b_frames=0
    )


@pytest.fixture
def looping(video: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """The camera plays so many rounds, and goes away for good."""

    def rounds(count: int) -> None:
        connections = [count]

        def connect(source, limits, clock, see, start):  # type: ignore[no-untyped-def]
            start()
            if not connections:
                raise live.VideoError("is gone", where=source.name)
            return Looping(video, connections.pop(), clock, see)

        monkeypatch.setattr(live, "open_connection", connect)
        monkeypatch.setattr(module, "find_source", lambda given: CAMERA)

    return rounds


def soak(scorer: LiveScorer, seconds: float, policy: str) -> Iterator[tuple[Moment, Watched]]:
    """Turns of a reader, and of a network that takes `seconds` a run, in one thread."""
    clock = TurnedClock()
    feed = Feed(
        CAMERA,
        scorer,
        policy=policy,  # type: ignore[arg-type]
        manner=Manner(patience=0.5),
        clock=clock,
        stop=Event(),
        ready=Condition(),
        tell=lambda source, words: None,
    )
    watched = Watched(feed, Finder(Rules.of(Numbers.labels)), Numbers.labels, 2, clock)
    free = clock.now()
    for _ in feed.turns():
        while free <= clock.now() and isinstance(found := feed.tray.take(scorer.at_once), list):
            began = clock.now()
            free = began + seconds
            clock.time = free  # as the moment comes when the network has run
            for scores in scorer.score({0: [waiting.clip for waiting in found]})[0]:
                yield watched.moment(scores, found[-1]), watched
            clock.time = began
    feed.tray.take(10**6)  # what waits when it ends is looked at, or else it would be dropped
    yield watched.last_moment(asked=True), watched


@pytest.mark.parametrize("seconds", [0.001, 0.15, 1.7])
@pytest.mark.parametrize("policy", ["latest", "drop"])
def test_windows_for_hours(looping: Callable[[int], None], policy: str, seconds: float) -> None:
    looping(8)
    network = Numbers()
    scorer = Windows(network, step=0.2)
    lags, events = [], []
    for moment, watched in soak(scorer, seconds, policy):
        assert len(watched.feed.tray._frames) <= 2 * INPUT.frames + 1
        lags.append(moment.lag)
        events += moment.events
    counts = moment.counts
    assert counts.read == 8 * ROUND
    assert counts.used + counts.dropped == counts.read
    assert sum(seen > 0 for seen in network.seen) <= counts.used
    # Behind by one run, and under `drop` by the one that was under way when the window came.
    assert max(lags) <= seconds * (1 if policy == "latest" else 2) + 0.2 + 1e-6
    if seconds < 0.2:
        assert counts.dropped == 0
        assert len(events) == 16
    else:
        assert 0.8 < counts.dropped / counts.read < 0.95  # one window in nine has its turn


@pytest.mark.parametrize("seconds", [0.01, 0.1])
def test_a_state_for_hours(looping: Callable[[int], None], seconds: float) -> None:
    """The network keeps up if a run takes less than the frames that come meanwhile."""
    looping(8)
    network = Numbers()
    scorer = Stream(network, step=0.2, average=0.2)
    lags = []
    for moment, _ in soak(scorer, seconds, "latest"):
        lags.append(moment.lag)
    counts = moment.counts
    assert counts.read == 8 * ROUND
    assert counts.dropped == 0
    assert scorer._memories[0]._states == [len(network.seen)]
    assert all(b == (a + 1) % ROUND for a, b in pairwise(network.seen))
    # Each run looks at what came in the one before.
    assert max(lags) <= 2 * seconds + 0.04 + 1e-6


def test_a_state_that_cannot_keep_up_skips_and_says_so(looping: Callable[[int], None]) -> None:
    looping(4)
    network = Numbers()
    scorer = Stream(network, step=0.2, average=0.2)
    for moment, _ in soak(scorer, 1.0, "latest"):
        assert moment.lag <= 1.0 + 0.04 + 1e-6
    counts = moment.counts
    assert counts.dropped > 0
    # The last frames are taken as this ends, and not looked at.
    assert 0 <= counts.used - len(network.seen) <= scorer.at_once
    assert counts.used + counts.dropped == counts.read == 4 * ROUND


@pytest.mark.parametrize("rounds", [8, pytest.param(100, marks=pytest.mark.slow)])
def test_memory_does_not_grow(looping: Callable[[int], None], rounds: int) -> None:
    looping(rounds)
    scorer = Windows(Numbers(), step=0.2)
    scorer._runtime.seen = _Nothing()  # type: ignore[attr-defined]
    tracemalloc.start()
    sizes = {}
    try:
        for moment, _ in soak(scorer, 0.15, "latest"):
            if (number := int(moment.end) // 10) not in sizes:
                gc.collect()
                sizes[number] = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert len(sizes) >= rounds
    assert sizes[rounds - 1] - sizes[3] < 20_000  # bytes


class _Nothing(list[int]):
    """What is not kept, so that the test's own memory does not grow."""

    def __iadd__(self, more: list[int]) -> _Nothing:  # type: ignore[override, misc]
        self[:] = more
        return self


@pytest.mark.parametrize("seconds", [0.0, 0.02])
def test_with_threads_at_twenty_times_real_time(
    looping: Callable[[int], None], seconds: float
) -> None:
    looping(8)
    network = Numbers(seconds)
    watching = watch("cam", network, step=0.2, patience=0.5, clock=FastClock())
    moments = [next(watching)]
    with pytest.raises(live.VideoError, match="was lost"):
        moments.extend(watching)
    counts = moments[-1].counts
    assert counts.read == 8 * ROUND
    assert counts.used + counts.dropped == counts.read
    assert counts.used == len(network.seen)
    assert sum(moment.dropped for moment in moments) == counts.dropped
