"""Live sources: in real time, in stretches, and again after they were lost."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from io import BytesIO
from itertools import pairwise
from pathlib import Path
from threading import Event

import pytest
from live_sources import Reading, TurnedClock, every_frame, send, sends, serving
from PIL import Image
from rtsp import camera

from marey.testing.videos import frame_number, make_video, numbered
from marey.video import live, sources
from marey.video.read import open_video
from marey.video.sources import Source

Make = Callable[..., Path]


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


def numbers(frames: list) -> list[int]:  # type: ignore[type-arg]
    return [frame_number(frame.image) for frame in frames]


@pytest.mark.parametrize("fast", [True, False])
def test_a_file_gives_all_its_frames_with_its_own_times(make: Make, fast: bool) -> None:
    path = make("a.mp4", frames=60, start=Fraction(3))
    reading = Reading(path, fast=fast)
    ((stretch, frames),) = reading.stretches()
    with open_video(path) as reader:
        assert [frame.time for frame in frames] == [frame.time for frame in reader.frames()]
        assert stretch.video == reader.video
    assert numbers(frames) == list(range(60))
    assert (reading.said, reading.gaps, reading.reader.read) == ([], 0, 60)
    assert reading.reader.fps == pytest.approx(25)
    assert stretch.end == pytest.approx(5.4)


def test_in_real_time_no_frame_comes_before_it_is_due(make: Make) -> None:
    reading = Reading(make("a.mp4", frames=60, start=Fraction(3)))
    stretches = reading.reader.stretches()
    for frame in every_frame(next(stretches)):
        played = reading.clock.now() - 1000
        assert played == pytest.approx(float(frame.time) - 3, abs=1e-9)
        assert reading.reader.due(float(frame.time)) == pytest.approx(reading.clock.now())


def test_the_middle_is_cut_out(make: Make) -> None:
    ((_, frames),) = Reading(make("a.mp4", frames=5), crop=(20, 30), fast=True).stretches()
    assert {frame.image.shape for frame in frames} == {(20, 30, 3)}


def test_frames_of_another_size_are_told_and_fit(make: Make, tmp_path: Path) -> None:
    small = make("small.ts", frames=25, size=(64, 96), b_frames=0)
    large = make("large.ts", frames=25, size=(128, 160), b_frames=0, start=Fraction(1), first=25)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    reading = Reading(both, fast=True)
    ((_, frames),) = reading.stretches()
    assert "frames are 160x128 now" in reading.said
    assert numbers(frames) == list(range(50))
    assert {frame.image.shape for frame in frames} == {(32, 48, 3)}


def test_another_frame_rate_begins_a_stretch(tmp_path: Path) -> None:
    times = [Fraction(k, 30) for k in range(90)] + [3 + Fraction(k, 10) for k in range(60)]
    path = make_video(tmp_path / "a.mp4", times=times, fps=Fraction(30))
    reading = Reading(path)
    found = reading.stretches()
    # The header states the mean of all, which is neither.
    rates = [float(stretch.video.fps or 0) for stretch, _ in found]
    assert rates == pytest.approx([150 / 9, 30, 10], rel=0.1)
    changes = [words for words in reading.said if "frames a second now" in words]
    assert len(changes) == 2
    assert changes[1].endswith("30 before")
    assert reading.gaps == 0  # nothing is missing
    assert found[-1][0].end == pytest.approx(9, abs=0.2)
    assert 3 < found[-1][0].video.start < 6
    # Where all of a file is wanted it is told of, and not cut.
    ((whole, _),) = Reading(path, keep_up=False).stretches()
    assert whole.end == pytest.approx(9, abs=0.2)


def test_a_hole_ends_a_stretch_and_what_was_under_way(tmp_path: Path) -> None:
    times = [Fraction(k, 25) for k in range(50)] + [5 + Fraction(k, 25) for k in range(50)]
    reading = Reading(make_video(tmp_path / "a.ts", times=times))
    (before, first), (after, second) = reading.stretches()
    assert after.video.start - (before.end or 0) == pytest.approx(3)
    assert numbers(first) + numbers(second) == list(range(100))
    assert (reading.said[0], reading.gaps) == ("nothing came for 3.0 s", 1)


def test_who_falls_behind_goes_on_at_a_key_frame(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=500, gop=10, b_frames=0)
    reading = Reading(path)
    seen = []
    for stretch in reading.reader.stretches():
        for frame in every_frame(stretch):
            seen.append(frame_number(frame.image))
            if seen[-1] == 100:
                reading.clock.time += 8  # type: ignore[attr-defined]  # as if decoding took so long
    reader = reading.reader
    assert any("behind; on to the next key frame" in words for words in reading.said)
    assert len(seen) + reader.discarded == reader.read == 500
    (jump,) = [(a, b) for a, b in pairwise(seen) if b != a + 1]
    assert jump[1] % 10 == 0  # a key frame, and less than two seconds late
    assert 100 + 8 * 25 - 2 * 25 - 20 <= jump[1] <= 100 + 8 * 25
    assert reading.gaps == 1


def test_who_wants_all_is_given_all_however_late(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=100, gop=10)
    reading = Reading(path, keep_up=False)
    seen = []
    for stretch in reading.reader.stretches():
        for frame in every_frame(stretch):
            seen.append(frame_number(frame.image))
            reading.clock.time += 1  # type: ignore[attr-defined]
    assert seen == list(range(100))
    assert reading.reader.discarded == 0


def test_a_stream_that_breaks_off_is_connected_again(make: Make) -> None:
    first = make("first.ts", frames=50, start=Fraction(7))
    second = make("second.ts", frames=50, start=Fraction(100), first=50)
    with serving(sends(first, second)) as address:
        reading = Reading(address, patience=10.0)
        found = reading.stretches()
    assert [numbers(frames) for _, frames in found] == [list(range(50)), list(range(50, 100))]
    (one, _), (two, _) = found
    # Times begin with the first frame and never go back, though all came at once here.
    assert one.video.start == 0
    assert two.video.start == one.end == pytest.approx(2)
    assert reading.gaps == 2
    assert reading.reader.reconnects == 1
    said = " | ".join(reading.said)
    assert "attempt 1 to connect again in 1 s" in said
    assert "is back after 1 s, at attempt 1" in said
    assert "attempt 2 to connect again in 2 s" in said
    assert address in str(reading.error)
    assert "was lost (cannot be opened (Server returned 5XX" in str(reading.error)
    assert "gave up after 3 attempts" in str(reading.error)


def test_a_camera_that_speaks_rtsp_is_watched_and_found_again(make: Make) -> None:
    first = make("a.ts", frames=40, size=(240, 320), b_frames=0)
    second = make("b.ts", frames=40, size=(240, 320), b_frames=0, first=40)
    with camera(first, second) as address:
        reading = Reading(address, patience=2.0)
        found = reading.stretches()
    assert [numbers(frames) for _, frames in found] == [list(range(40)), list(range(40, 80))]
    assert found[0][0].video.codec == "h264"
    assert found[0][0].video.fps == 25
    assert reading.reader.reconnects == 1
    assert "404" in str(reading.error)


def test_time_goes_on_while_a_stream_is_away(make: Make) -> None:
    with serving(sends(make("a.ts", frames=30), make("a.ts", frames=30))) as address:
        reading = Reading(address, patience=3600.0)
        waited = reading.clock.wait
        monday = iter([500.0] + [0.0] * 10**6)

        def wait(until: float, stop: Event) -> None:
            waited(until + next(monday), stop)

        reading.clock.wait = wait  # type: ignore[method-assign]
        starts = [stretch.video.start for stretch, _ in reading.stretches()]
    assert starts == [0, pytest.approx(501, abs=1e-3)]


def test_a_stream_that_was_never_there_is_not_waited_for() -> None:
    reading = Reading("http://127.0.0.1:9/live")
    assert reading.stretches() == []
    assert "refused" in str(reading.error)
    assert reading.clock.now() == 1000
    assert reading.said == []


def test_a_clock_that_leaps_is_a_new_connection(make: Make, tmp_path: Path) -> None:
    early = make("early.ts", frames=25)
    late = make("late.ts", frames=25, start=Fraction(1000), first=25)
    both = tmp_path / "both.ts"
    both.write_bytes(early.read_bytes() + late.read_bytes())
    with serving(sends(both, late)) as address:
        reading = Reading(address, patience=3.0)
        reading.stretches()
    assert any("its clock leapt" in words for words in reading.said)


def test_a_file_from_a_server_is_played_to_its_end(make: Make) -> None:
    data = make("a.mp4", frames=50).read_bytes()
    with serving(lambda handler: send(handler, "video/mp4", data)) as address:
        reading = Reading(address)
        ((_, frames),) = reading.stretches()
    assert numbers(frames) == list(range(50))
    assert reading.clock.now() - 1000 == pytest.approx(49 / 25, abs=1e-3)


def test_jpegs_of_a_camera_have_the_times_of_their_arrival() -> None:
    class Passing(TurnedClock):
        def now(self) -> float:
            self.time += 0.01  # between any two looks at it
            return self.time

    def answer(handler) -> None:  # type: ignore[no-untyped-def]
        parts = []
        for index in range(20):
            jpeg = BytesIO()
            Image.fromarray(numbered(index)).save(jpeg, "jpeg")
            head = b"--next\r\nContent-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n"
            parts.append(head % len(jpeg.getvalue()) + jpeg.getvalue() + b"\r\n")
        send(handler, "multipart/x-mixed-replace; boundary=next", b"".join(parts) + b"--next--")

    with serving(answer) as address:
        reading = Reading(address, clock=Passing())
        stretch = next(reading.reader.stretches())
        frames = [stretch._first]
        while (decoded := reading.reader.next_of_stretch()) is not None and len(frames) < 15:
            frames.append(decoded)
    times = [float(frame.time) for frame in frames]
    assert times[0] == 0
    assert all(0 < later - earlier < 1 for earlier, later in pairwise(times))
    assert not any(later - earlier == 0.04 for earlier, later in pairwise(times))


def test_a_camera_begins_at_nought_and_ends_when_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sources, "_device_format", lambda: "lavfi")
    camera = Source("0", "device", "testsrc=size=96x64:rate=10")
    monkeypatch.setattr("live_sources.find_source", lambda given: camera)
    reading = Reading("0")
    frames = []
    for stretch in reading.reader.stretches():
        assert stretch.video.start == 0
        assert stretch.video.fps == 10
        for frame in every_frame(stretch):
            frames.append(frame)
            if len(frames) == 30:
                reading.stop.set()
    assert len(frames) == 30
    assert [float(frame.time) for frame in frames] == pytest.approx([k / 10 for k in range(30)])


def test_stopping_in_the_middle_of_a_file_makes_nothing_up(make: Make) -> None:
    reading = Reading(make("a.mp4", frames=60), fast=True)
    for stretch in reading.reader.stretches():
        times = []
        for frame in every_frame(stretch):
            times.append(float(frame.time))
            if len(times) == 20:
                reading.stop.set()
        assert times[-1] <= (stretch.end or 0) < 1
        assert list(stretch.frames(times=[1.0, 1.5], size=(32, 48))) == []
    assert reading.reader.read < 25


def test_stopping_while_a_stream_is_away_ends_it(make: Make) -> None:
    with serving(sends(make("a.ts", frames=30))) as address:
        reading = Reading(address)
        reading.clock.wait = lambda until, stop: stop.set()  # type: ignore[method-assign]
        reading.stretches()
    assert reading.gaps == 1


def test_backoff_doubles_up_to_half_a_minute(monkeypatch: pytest.MonkeyPatch, make: Make) -> None:
    with serving(sends(make("a.ts", frames=30))) as address:
        reading = Reading(address, patience=200.0)
        reading.stretches()
    assert "gave up after 10 attempts" in str(reading.error)
    delays = [words.rpartition(" in ")[2] for words in reading.said if "attempt" in words]
    assert delays == [f"{s} s" for s in (1, 2, 4, 8, 16, 30, 30, 30, 30, 30)]
    assert live._SELDOM == 30
