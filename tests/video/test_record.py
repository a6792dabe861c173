"""Clips around events: whole, from a key frame on, in bounded memory."""

from __future__ import annotations

from pathlib import Path

import pytest
from live_sources import Reading, every_frame

from marey.errors import OutputError
from marey.testing.videos import frame_number, make_video
from marey.video.read import open_video
from marey.video.record import Recorder


def recorded(
    path: Path, recorder: Recorder, begin: int, end: int, start: float, until: float
) -> Path | None:
    """Read `path`; after frame `begin` a clip is begun at `start`, after `end` ended at `until`."""
    clip = None
    for stretch in Reading(path, fast=True, tap=recorder).reader.stretches():
        for count, _ in enumerate(every_frame(stretch)):
            if count == begin:
                clip = recorder.begin("a cam/x: y", stretch.video.start + start)
            if count == end and clip:
                recorder.end(clip, stretch.video.start + until)
    return clip


def contents(path: Path | None) -> list[int]:
    assert path is not None
    with open_video(path) as reader:
        found = [frame_number(frame.image) for frame in reader.frames()]
        assert reader.video.duration == pytest.approx(len(found) / 25, abs=0.05)
        assert reader.warnings() == []
    return found


@pytest.mark.parametrize(
    ("name", "options", "suffix"),
    [
        ("a.mp4", {}, ".mp4"),
        ("a.ts", {}, ".mp4"),
        ("a.webm", {"codec": "libvpx"}, ".mkv"),
        ("a.mkv", {"codec": "mpeg4", "b_frames": 0}, ".mp4"),
    ],
)
def test_a_clip_has_the_frames_from_the_key_before_to_the_end(
    tmp_path: Path, name: str, options: dict[str, object], suffix: str
) -> None:
    path = make_video(tmp_path / name, frames=200, **options)  # type: ignore[arg-type]
    recorder = Recorder(tmp_path / "clips", 3, tell=pytest.fail)
    clip = recorded(path, recorder, begin=100, end=130, start=3.0, until=5.6)
    recorder.close()
    found = contents(clip)
    assert clip == tmp_path / "clips" / f"a-cam-x-y{suffix}"
    assert found[0] == 72  # the key frame before 3 s: one in twelve
    assert found == list(range(72, found[-1] + 1))
    assert found[-1] in range(138, 144)  # frames are coded out of order: the last may be missing
    assert [p.name for p in (tmp_path / "clips").iterdir()] == [clip.name]


def test_pictures_without_a_codec_are_kept_as_jpegs(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.avi", frames=60, codec="rawvideo", b_frames=0)
    recorder = Recorder(tmp_path / "clips", 3, tell=pytest.fail)
    clip = recorded(path, recorder, begin=30, end=40, start=1.0, until=1.6)
    recorder.close()
    assert contents(clip) == list(range(25, 41))


def test_what_is_older_than_asked_for_is_not_held(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=1000)
    recorder = Recorder(tmp_path / "clips", 2, tell=pytest.fail)
    most = 0
    for stretch in Reading(path, fast=True, tap=recorder).reader.stretches():
        for _ in every_frame(stretch):
            most = max(most, len(recorder._held))
            assert recorder._bytes == sum(len(kept.data) for kept in recorder._held)
    assert most <= 2 * 25 + 2 * 12 + 1  # two seconds, back to a key frame, and one in the making


def test_memory_is_bounded_whatever_comes_and_that_is_told(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=500)
    said: list[str] = []
    most = path.stat().st_size // 5
    recorder = Recorder(tmp_path / "clips", 60, tell=said.append, most=most)
    for stretch in Reading(path, fast=True, tap=recorder).reader.stretches():
        for _ in every_frame(stretch):
            assert recorder._bytes <= most
    assert len(said) == 1
    assert "hold less than 60 s" in said[0]
    # A group of pictures larger than all that may be held leaves nothing, until the next key frame.
    tiny = Recorder(tmp_path / "clips", 60, tell=said.append, most=100)
    assert recorded(path, tiny, begin=100, end=130, start=3.0, until=5.6) is None


def test_clips_at_once_have_files_of_their_own(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=100)
    recorder = Recorder(tmp_path / "clips", 60, tell=pytest.fail)
    clips = []
    for stretch in Reading(path, fast=True, tap=recorder).reader.stretches():
        for count, _ in enumerate(every_frame(stretch)):
            if count in (30, 40):
                clips.append(recorder.begin("same", count / 25))
    recorder.close()
    assert [clip.name for clip in clips if clip] == ["same.mp4", "same-2.mp4"]
    assert contents(clips[0])[0] == 24
    assert contents(clips[1])[0] == 36
    assert contents(clips[0])[-1] == contents(clips[1])[-1] == 99


def test_a_clip_that_is_not_wanted_leaves_nothing(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=100)
    recorder = Recorder(tmp_path / "clips", 60, tell=pytest.fail)
    for stretch in Reading(path, fast=True, tap=recorder).reader.stretches():
        for count, _ in enumerate(every_frame(stretch)):
            if count == 30:
                clip = recorder.begin("a", 0)
            if count == 60 and clip:
                recorder.cancel(clip)
    recorder.close()
    assert list((tmp_path / "clips").iterdir()) == []


def test_a_new_connection_ends_the_clips_of_the_old_one(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=50)
    recorder = Recorder(tmp_path / "clips", 60, tell=pytest.fail)
    clip = recorded(path, recorder, begin=20, end=10**9, start=0, until=0)
    assert clip
    assert not clip.exists()
    recorded(path, recorder, begin=10**9, end=10**9, start=0, until=0)
    assert contents(clip) == list(range(50))
    recorder.close()
    recorder.close()
    assert recorder.begin("b", 0) is None


def test_a_folder_that_goes_away_is_told_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", frames=50)
    said: list[str] = []
    recorder = Recorder(tmp_path / "clips", 60, tell=said.append)
    (tmp_path / "clips").rmdir()
    assert recorded(path, recorder, begin=20, end=30, start=0, until=1) is None
    assert len(said) == 1
    assert "not written" in said[0]
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError):
        Recorder(tmp_path / "file" / "clips", 60, tell=said.append)
