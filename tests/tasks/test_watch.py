"""Live sources joined to a network whose answer is known; clocks are turned, not waited for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from threading import Event

import numpy as np
import pytest
from live_sources import TurnedClock
from numpy.typing import NDArray

from marey.errors import ModelError, VideoError
from marey.tasks import watch as module
from marey.tasks.classify import classify
from marey.tasks.watch import Moment, SaveClips, watch
from marey.testing.videos import frame_number, make_video
from marey.types import Input, ModelCard
from marey.video import live
from marey.video._connection import FileConnection, See
from marey.video.decode import Decoded
from marey.video.limits import Limits
from marey.video.read import open_video
from marey.video.sources import Source

Start = Callable[[], Fraction]

EVERY_FRAME = Input(
    frames=5, size=(64, 96), resize=(64, 96), mean=(0, 0, 0), std=(1, 1, 1), sampling="dense"
)


class Reads:
    """Reads the numbers in the frames, and says "high" where the middle one is 40 to 79."""

    labels = ("low", "high")
    multilabel = False
    warnings: tuple[str, ...] = ()

    def __init__(self, input: Input = EVERY_FRAME) -> None:
        self.input = input
        self.seen: list[list[int]] = []
        self.runs: list[int] = []

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert clips.shape[1:] == (self.input.frames, *self.input.size, 3)
        self.runs.append(len(clips))
        numbers = [[frame_number(image) for image in clip] for clip in clips]
        self.seen += numbers
        high = np.array([40 <= seen[len(seen) // 2] < 80 for seen in numbers])
        return np.where(high[:, None], (-9, 9), (9, -9)).astype(np.float32)

    def card(self) -> ModelCard:
        return ModelCard("reads", None, 2, "test", "float32", self.input)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("videos") / "a.mp4", frames=120, start=Fraction(2))


def until_error(moments: Iterator[Moment]) -> tuple[list[Moment], VideoError | None]:
    found = []
    try:
        for moment in moments:
            found.append(moment)
    except VideoError as error:
        return found, error
    return found, None


def seen(moments: list[Moment]) -> list[object]:
    return [(each.start, each.end, each.top) for each in moments if not each.over]


@pytest.mark.parametrize("step", [0.2, 0.12, 0.5])
@pytest.mark.parametrize("prepare", [{}, {"every": 3}, {"fps": 10.0}])
def test_all_of_a_file_is_what_classify_finds(
    video: Path, step: float, prepare: dict[str, object]
) -> None:
    network = Reads(replace(EVERY_FRAME, **prepare))  # type: ignore[arg-type]
    report = classify(video, network, step=step)
    network.seen, expected = [], network.seen
    moments = list(watch(video, network, fast=True, step=step, top=5))
    assert seen(moments) == [(each.start, each.end, each.top) for each in report.windows]
    assert network.seen == expected
    assert [moment.over for moment in moments] == [False] * (len(moments) - 1) + [True]
    counts = moments[-1].counts
    assert (counts.read, counts.dropped, counts.skipped) == (120, 0, 0)
    assert counts.used == len({n for numbers in expected for n in numbers})


class Steps(Reads):
    """Reads frames one by one; its state is all numbers that it has read."""

    answer, forgets = "mean", True

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise AssertionError("it has a state")

    def step(
        self, frames: NDArray[np.uint8], state: list[int] | None
    ) -> tuple[NDArray[np.float32], list[int]]:
        numbers = [frame_number(image) for image in frames[0]]
        self.seen.append(numbers)
        self.state = [*(state or []), *numbers]
        high = np.array([40 <= number < 80 for number in numbers])
        return np.where(high[:, None], (-9, 9), (9, -9)).astype(np.float32)[None], self.state


def test_a_network_with_a_state_gets_each_frame_once(video: Path) -> None:
    network = Steps()
    moments = list(watch(video, network, fast=True, step=0.12))
    assert network.state == list(range(120))
    assert max(map(len, network.seen)) <= 12
    # An answer each third frame, averaged over the five of the clip.
    assert [round(m.end, 2) for m in moments[:-1]] == [round(2.12 + 0.12 * k, 2) for k in range(40)]
    assert moments[5].end - moments[5].start == pytest.approx(0.2)
    events = [(e.label, e.start, e.end) for m in moments for e in m.events]
    assert events[1] == ("high", pytest.approx(3.6, abs=0.1), pytest.approx(5.2, abs=0.1))
    counts = moments[-1].counts
    assert (counts.read, counts.used, counts.dropped) == (120, 120, 0)
    network.labels = None  # type: ignore[assignment]
    labels = {top.label for m in watch(video, network, fast=True) for top in m.top}
    assert labels == {"class 0", "class 1"}


def test_in_real_time_each_moment_says_how_late_it_is(video: Path) -> None:
    clock = TurnedClock()

    class Slow(Reads):
        def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            clock.time += 0.05
            return super().__call__(clips)

    # All is wanted, so the thread that plays the file waits for the network after two clips.
    moments = list(watch(video, Slow(), policy="all", step=0.2, clock=clock))
    assert len(moments) == 25
    for moment in moments[:-1]:
        assert moment.lag >= 0.049
        assert moment.time == pytest.approx(moment.end - 0.04)
    assert moments[10].fps == pytest.approx(25)


def test_events_come_as_they_end_and_what_runs_is_shown(video: Path) -> None:
    moments = list(watch(video, Reads(), fast=True, step=0.04))
    happened = [(event.label, event.start, event.end) for m in moments for event in m.events]
    # The curves cross half of the threshold, 0.25, between the windows on both sides.
    assert happened == [
        ("low", 2.0, pytest.approx(3.61, abs=0.03)),
        ("high", pytest.approx(3.59, abs=0.03), pytest.approx(5.21, abs=0.03)),
        ("low", pytest.approx(5.19, abs=0.03), pytest.approx(6.8)),
    ]
    assert [event.cut for m in moments for event in m.events] == [False] * 3
    ended = {event.label: m.end for m in moments for event in m.events if not m.over}
    assert ended["high"] < 5.21 + 0.1 + 0.1  # half a window and two steps later
    during = next(m for m in moments if m.end > 4.5)
    assert [event.label for event in during.under_way] == ["high"]
    assert during.under_way[0].end == pytest.approx(during.end - 0.1)


@pytest.mark.parametrize("given", [1, 2])
def test_when_asked_to_stop_what_runs_is_told_as_cut_off(video: Path, given: int) -> None:
    stop, moments = Event(), []
    before = threading.active_count()
    for moment in watch([video] * given, Reads(), fast=True, step=0.04, stop=stop):
        moments.append(moment)
        if moment.end > 4.5:
            stop.set()
    last = [moment for moment in moments if moment.over]
    assert [moment.source for moment in last] == [str(video), f"{video} #2"][:given]
    for moment in last:
        # One of two sources may be far ahead of the other, or behind it.
        label = "high" if 3.6 < moment.end - 0.1 < 5.2 else "low"
        assert [(event.label, event.cut) for event in moment.events] == [(label, True)]
        assert moment.error is None
        assert moment.under_way == ()
        counts = moment.counts
        assert counts.used + counts.dropped == counts.read
    if given == 1:
        assert (label, counts.read < 120) == ("high", True)
    assert threading.active_count() == before


def test_it_ends_after_some_seconds(video: Path) -> None:
    clock = TurnedClock()
    moments = list(watch(video, Reads(), step=0.2, seconds=3.0, policy="all", clock=clock))
    assert 3 <= clock.now() - 1000 < 4
    assert moments[-1].over
    assert moments[-1].end < 2 + 3.5


def test_closing_the_generator_ends_the_threads(video: Path) -> None:
    before = threading.active_count()
    watching = watch([video, video], Reads(), fast=True, step=0.04)
    next(watching)
    watching.close()
    assert threading.active_count() == before


def test_sources_share_one_network_and_keep_their_own_events(video: Path, tmp_path: Path) -> None:
    other = make_video(tmp_path / "b.mp4", frames=100, first=60)
    network = Reads()
    alone = {
        path.name: [e for m in watch(path, Reads(), fast=True, step=0.04) for e in m.events]
        for path in (video, other)
    }
    together: dict[str, list[object]] = {"a.mp4": [], "b.mp4": []}
    for moment in watch([video, other], network, fast=True, step=0.04):
        together[Path(moment.source).name] += moment.events
    assert together == alone
    assert max(network.runs) == 2  # what is ready at the same time is looked at in one run


def test_a_source_that_fails_does_not_end_the_others(video: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    told: list[tuple[str, str]] = []
    watching = watch(
        [tmp_path / "bad.mp4", video],
        Reads(),
        fast=True,
        step=0.2,
        tell=lambda source, words: told.append((source, words)),
    )
    moments, error = until_error(watching)
    assert "bad.mp4" in str(error)
    (bad,) = [moment for moment in moments if moment.error]
    assert (bad.over, bad.top, bad.counts.read) == (True, (), 0)
    assert "bad.mp4" in str(bad.to_dict()["error"])
    assert len(moments) == 1 + 25
    assert told[0][0].endswith("bad.mp4")
    assert told[0][1].startswith("given up: ")


def test_what_cannot_be_is_refused_at_once(video: Path) -> None:
    for wrong, error in (
        ({"source": "ftp://a/b"}, VideoError),
        ({"source": []}, ValueError),
        ({"thresholds": {"hihg": 0.5}}, ModelError),
        ({"leave": -1}, ValueError),
    ):
        with pytest.raises(error):
            watch(**{"source": video, "model": Reads()} | wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="negative"):
        SaveClips("x", before=-1)


def test_an_error_of_ours_is_not_hidden(video: Path) -> None:
    class Broken(Reads):
        input = EVERY_FRAME

    network = Broken()
    network.input = replace(EVERY_FRAME, size=(640, 960))  # larger than what it is cut from
    before = threading.active_count()
    with pytest.raises(ValueError, match="cannot cut"):
        list(watch(video, network, fast=True))
    assert threading.active_count() == before


@pytest.mark.parametrize("policy", ["latest", "drop"])
def test_a_slow_network_looks_at_whole_windows_and_all_is_counted(video: Path, policy: str) -> None:
    """The file is read as fast as can be, which is faster than this network by far."""

    class Slow(Reads):
        def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
            time.sleep(0.02)
            return super().__call__(clips)

    network = Slow()
    moments = list(watch(video, network, fast=True, step=0.2, policy=policy))  # type: ignore[arg-type]
    counts = moments[-1].counts
    looked_at = {n for numbers in network.seen for n in numbers}
    assert all(b == a + 1 for numbers in network.seen for a, b in pairwise(numbers))
    assert counts.read == counts.used + counts.dropped == 120
    assert counts.used == len(looked_at) == 5 * len(network.seen)
    assert counts.skipped == 24 - len(network.seen)
    assert sum(moment.dropped for moment in moments) == counts.dropped > 0


def test_the_video_around_events_is_kept(video: Path, tmp_path: Path) -> None:
    save = SaveClips(tmp_path / "clips", before=0.5, after=0.4)
    moments = list(watch(video, Reads(), fast=True, step=0.04, clips=save))
    events = {event.clip: event for m in moments for event in m.events}
    assert set(events) == {str(path) for path in (tmp_path / "clips").iterdir()}
    (clip,) = [clip for clip, event in events.items() if event.label == "high"]
    assert clip
    assert Path(clip).name == "a_high_3.59s.mp4"
    with open_video(clip) as reader:
        numbers = [frame_number(frame.image) for frame in reader.frames()]
    # Frame 40 stands at 3.6 s; half a second before it, back to a key frame, is frame 24.
    assert numbers[0] == 24
    assert numbers == list(range(24, numbers[-1] + 1))
    assert 78 + 10 - 3 <= numbers[-1] <= 80 + 10 + 3


def test_short_events_leave_no_video(video: Path, tmp_path: Path) -> None:
    save = SaveClips(tmp_path / "clips")
    moments = list(watch(video, Reads(), fast=True, step=0.04, shortest=60.0, clips=save))
    assert [event for moment in moments for event in moment.events] == []
    assert list((tmp_path / "clips").iterdir()) == []


class Playing(FileConnection):
    """A file as a camera gives it: in real time by a turned clock, with an end that is a loss."""

    finite, why = False, "it ended"

    def __init__(self, path: Path, limits: Limits, clock: TurnedClock, see: See, start: Start):
        super().__init__(
            Source(str(path), "file", str(path)),
            limits,
            lambda packet, time, waited: see(packet, time + self._shift, waited),
        )
        self._clock, self._begin_at = clock, start
        self._first = Fraction(self.video.start)
        self.video = replace(self.video, start=0.0, end=None)

    def frames(self) -> Iterator[Decoded]:
        began = self._clock.now()
        self._shift = self._begin_at() - self._first
        for decoded in super().frames():
            self._clock.time = began + float(decoded.time - self._first)
            yield decoded._replace(time=decoded.time + self._shift)


@pytest.fixture
def camera(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """What the camera that everybody watches plays, a file a connection, before it is gone."""
    files: list[Path] = []

    def connect(source: Source, limits: Limits, clock: TurnedClock, see: See, start: Start):
        if not files:
            raise VideoError("is not there", where=source.name)
        return Playing(files.pop(0), limits, clock, see, start)

    monkeypatch.setattr(live, "open_connection", connect)
    monkeypatch.setattr(module, "find_source", lambda given: Source("cam", "rtsp", "rtsp://x"))
    return files


def test_a_camera_that_goes_away_cuts_events_and_comes_back(
    video: Path, tmp_path: Path, camera: list[Path]
) -> None:
    camera += [make_video(tmp_path / "half.mp4", frames=60), video]
    told: list[str] = []
    watching = watch(
        "cam",
        Reads(),
        step=0.04,
        clock=TurnedClock(),
        patience=20.0,
        tell=lambda source, words: told.append(words),
    )
    moments, error = until_error(watching)
    assert "was lost" in str(error)
    last = moments[-1]
    assert (last.over, last.counts.reconnects) == (True, 1)
    assert last.counts.read == 180
    assert last.counts.used + last.counts.dropped == 180
    assert any("is back after 1 s" in words for words in told), told
    assert sorted(note for m in moments for note in m.notes) == sorted(told)
    events = [event for moment in moments for event in moment.events]
    assert all(event.at is not None for event in events)
    starts = [datetime.fromisoformat(str(event.at)).timestamp() for event in events]
    for event, at in zip(events, starts, strict=True):
        assert at - 1.7e9 - 1000 == pytest.approx(event.start, abs=0.5)
    # Nothing goes on over the second in which it was away: 2.4 s to 3.4 s.
    assert all(event.end <= 2.4 + 0.01 or event.start >= 2.4 for event in events)


def test_moments_are_json_ready(video: Path) -> None:
    import json

    moments = list(watch(video, Reads(), fast=True, step=0.5))
    for moment in moments:
        row = json.loads(json.dumps(moment.to_dict()))
        assert row["source"] == str(video)
        assert set(row) == set(Moment.__slots__)
    assert json.loads(json.dumps(moments[-1].to_dict()))["events"][0]["label"] == "low"


@pytest.fixture(autouse=True)
def threads_end() -> Iterator[None]:
    before = threading.active_count()
    yield
    assert threading.active_count() == before
