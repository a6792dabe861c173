"""Frames and their times, on generated videos whose frames carry their number."""

from __future__ import annotations

import gc
import itertools
import random
from bisect import bisect_right
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from marey.errors import DataError, VideoError
from marey.testing.videos import frame_number, make_video, numbered
from marey.types import Frame
from marey.video.read import find_videos, open_video

Make = Callable[..., Path]

F = Fraction

CONTAINERS: dict[str, dict[str, Any]] = {
    "a.mp4": {},
    "open_gop.mp4": {"options": {"x264-params": "open-gop=1:bframes=3:keyint=30:scenecut=0"}},
    "no_key_frames.mp4": {"options": {"x264-params": "intra-refresh=1:keyint=30:bframes=2"}},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "hevc.mp4": {
        "codec": "libx265",
        "options": {"x265-params": "log-level=none:open-gop=1:keyint=30"},
    },
    "a.mov": {},
    "a.mkv": {},
    "vp9.webm": {"codec": "libvpx-vp9", "options": {"deadline": "realtime", "cpu-used": "8"}},
    "a.avi": {"codec": "mpeg4"},
    "h264.avi": {},
    "a.ts": {"start": F(5)},
    "a.mpg": {"codec": "mpeg2video"},
    "a.flv": {},
    "a.gif": {"codec": "gif", "b_frames": 0, "fps": F(20)},
}


@pytest.mark.parametrize("name", CONTAINERS)
def test_sparse_times_give_exactly_the_frames_of_a_linear_pass(name: str, make: Make) -> None:
    options = {"frames": 200, "gop": 30, "b_frames": 2} | CONTAINERS[name]
    with open_video(make(name, **options)) as reader:
        linear = list(reader.frames())
        video = reader.video
        assert [frame_number(frame.image) for frame in linear] == list(range(200))
        assert linear[0].time == F(video.start).limit_denominator(90_000)
        steps = {b.time - a.time for a, b in itertools.pairwise(linear)}
        assert video.fps is not None
        assert all(abs(step - 1 / video.fps) <= F(1, 1000) for step in steps)
        shown = [float(frame.time) for frame in linear]
        rng = random.Random(name)
        for _ in range(6):
            times = sorted(rng.uniform(video.start - 0.1, shown[-1]) for _ in range(3))
            for time, frame in zip(times, reader.frames(times=times), strict=True):
                wanted = linear[max(0, bisect_right(shown, time) - 1)]
                assert frame.time == wanted.time
                assert np.array_equal(frame.image, wanted.image)
        assert reader.warnings() == []


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
def test_sparse_times_of_a_long_video_seek(name: str, make: Make) -> None:
    codec = "mpeg4" if name.endswith("avi") else "libx264"
    path = make(name, frames=1000, gop=50, codec=codec, size=(48, 64))
    with open_video(path, threads=1) as reader:
        frames = list(reader.frames(times=[10.01, 20.01, 35.01]))
        delay = round(reader.video.start * 25)
        assert [frame_number(f.image) + delay for f in frames] == [250, 500, 875]
        assert reader.counts.converted == 3
        assert reader.counts.seeks <= 6
        assert reader.counts.decoded < 400


def test_dense_times_never_seek_and_decode_once(make: Make) -> None:
    with open_video(make("a.mp4", frames=200)) as reader:
        frames = list(reader.frames(times=(k / 50 for k in range(400))))
        assert [frame_number(frame.image) for frame in frames] == [k // 2 for k in range(400)]
        assert (reader.counts.decoded, reader.counts.converted) == (200, 200)
        assert reader.counts.seeks == 0
        assert all(frames[k] is frames[k + 1] for k in range(0, 400, 2))


def test_only_wanted_frames_are_converted(make: Make) -> None:
    with open_video(make("a.mp4", frames=200)) as reader:
        list(reader.frames(times=[0.1, 0.5, 0.9]))
        assert reader.counts.converted == 3
        assert reader.counts.decoded < 60


def test_times_are_taken_one_by_one_and_may_never_end(make: Make) -> None:
    taken: list[float] = []

    def endless() -> Any:
        for k in itertools.count():
            taken.append(k / 10)
            yield k / 10

    with open_video(make("a.mp4")) as reader:
        frames = reader.frames(times=endless())
        next(frames)
        assert len(taken) == 1
        assert len(list(frames)) == 11
        assert len(taken) == 13


def test_a_time_before_the_first_frame_gets_the_first_and_one_past_the_end_ends(make: Make) -> None:
    with open_video(make("a.mp4", start=F(3))) as reader:
        assert (reader.video.start, reader.video.end) == (3.0, pytest.approx(4.2))
        numbers = [frame_number(f.image) for f in reader.frames(times=[-5, 0, 3, 4.19, 4.2, 4.21])]
        assert numbers == [0, 0, 0, 29]


def test_times_may_not_decrease(make: Make) -> None:
    with open_video(make("a.mp4")) as reader, pytest.raises(ValueError, match="must not decrease"):
        list(reader.frames(times=[0.5, 0.4]))
    with open_video(make("a.mp4")) as reader, pytest.raises(ValueError, match="must not decrease"):
        list(reader.frames(times=[float("nan")]))


def test_times_are_exact_fractions(make: Make) -> None:
    rate = F(30_000, 1001)
    with open_video(make("a.mp4", fps=rate, frames=100)) as reader:
        assert reader.video.fps == rate
        assert [frame.time for frame in reader.frames()] == [k / rate for k in range(100)]


def test_variable_frame_rate_is_honoured(make: Make) -> None:
    times = [F(k * k, 100) for k in range(30)]
    with open_video(make("a.mkv", times=times)) as reader:
        frames = list(reader.frames())
        assert [frame.time for frame in frames] == times
        (shown,) = reader.frames(times=[4.5])  # 21² = 441, 22² = 484
        assert frame_number(shown.image) == 21


@pytest.mark.parametrize("rotation", [0, 90, 180, -90])
@pytest.mark.parametrize("mirror", [False, True])
def test_rotation_and_mirroring_are_undone(rotation: int, mirror: bool, make: Make) -> None:
    with open_video(make("a.mp4", rotation=rotation, mirror=mirror)) as reader:
        upright = (64, 96) if rotation % 180 == 0 else (96, 64)
        assert (reader.video.height, reader.video.width) == upright
        frames = list(reader.frames())
        assert [frame_number(frame.image) for frame in frames] == list(range(30))
        truth = numbered(7, upright).astype(int)
        assert np.abs(frames[7].image - truth).mean() < 12
        assert [f.image.shape for f in reader.frames(size=(20, 40))] == [(20, 40, 3)] * 30
        if not mirror:
            assert reader.video.rotation == -rotation % 360


def test_sample_aspect_ratio_widens_the_picture(make: Make) -> None:
    with open_video(make("a.mp4", pixel_aspect=F(4, 3))) as reader:
        assert (reader.video.height, reader.video.width) == (64, 128)
        frame = next(reader.frames())
        assert frame.image.shape == (64, 128, 3)
        assert frame_number(frame.image) == 0


def test_an_absurd_aspect_ratio_is_not_believed(make: Make) -> None:
    with open_video(make("a.mp4", pixel_aspect=F(20))) as reader:
        assert (reader.video.height, reader.video.width) == (64, 96)
        assert any("not believed" in warning for warning in reader.warnings())


@pytest.mark.parametrize(
    ("coded", "size", "expected"),
    [
        ((64, 96), None, (64, 96)),
        ((64, 96), 32, (32, 48)),
        ((96, 64), 32, (48, 32)),
        ((64, 96), 128, (128, 192)),
        ((64, 100), 33, (33, 51)),
        ((64, 96), (50, 30), (50, 30)),
    ],
)
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "area"])
def test_size(coded: Any, size: Any, expected: Any, interpolation: Any, make: Make) -> None:
    with open_video(make("a.mp4", size=coded)) as reader:
        frame = next(reader.frames(size=size, interpolation=interpolation))
        assert frame.image.shape == (*expected, 3)
        assert frame.image.dtype == np.uint8
        assert frame.image.flags.c_contiguous
        assert frame_number(frame.image) == 0


def test_size_must_be_positive(make: Make) -> None:
    with open_video(make("a.mp4")) as reader, pytest.raises(ValueError, match="must be positive"):
        reader.frames(size=0)


def test_the_values_of_an_image_are_those_drawn(make: Make) -> None:
    with open_video(make("a.mp4", options={"crf": "5"})) as reader:
        for index, frame in enumerate(reader.frames()):
            difference = np.abs(frame.image.astype(int) - numbered(index))
            assert difference.mean() < 6  # 4:2:0 chroma


def test_since_gives_what_a_whole_pass_gives_from_there_on(make: Make) -> None:
    for name in ("a.mp4", "a.mkv", "a.ts", "a.avi"):
        with open_video(make(name, frames=100, gop=20)) as reader:
            every = list(reader.frames())
            for k in (0, 1, 57, 99):
                rest = list(reader.frames(since=float(every[k].time)))
                assert [frame.time for frame in rest] == [frame.time for frame in every[k:]]
                assert all((a.image == b.image).all() for a, b in zip(rest, every[k:], strict=True))


def test_one_frame(make: Make) -> None:
    with open_video(make("a.mp4", frames=1)) as reader:
        assert reader.video.duration == pytest.approx(0.04)
        assert [frame_number(f.image) for f in reader.frames()] == [0]
        assert len(list(reader.frames(times=[0.0, 0.039]))) == 2


def test_what_the_video_says_of_itself(make: Make) -> None:
    path = make("a.mp4", audio=True)
    video = open_video(path).video
    assert (video.path, video.codec, video.frames) == (str(path), "h264", 30)
    assert "mp4" in video.container
    assert (video.audio, video.streams) == (True, 1)
    assert open_video(make("a.mp4")).video.audio is False


def _two_streams(path: Path, *, cover: bool) -> Path:
    """A large default stream and a small one; or cover art and a video smaller than it."""
    with av.open(str(path), "w") as container:
        streams = []
        for size, codec in (((128, 160), "mjpeg" if cover else "libx264"), ((64, 96), "libx264")):
            stream = container.add_stream(codec, rate=25)
            assert isinstance(stream, av.VideoStream)
            stream.height, stream.width = size
            stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
            streams.append((stream, size))
        if cover:
            streams[0][0].disposition = av.stream.Disposition.attached_pic
        for stream, size in streams:
            for index in range(1 if stream.name == "mjpeg" else 10):
                frame = av.VideoFrame.from_ndarray(numbered(index, size), format="rgb24")
                frame.pts, frame.time_base = index, F(1, 25)
                container.mux(stream.encode(frame.reformat(format=stream.pix_fmt)))
            container.mux(stream.encode(None))
    return path


def test_of_several_video_streams_one_is_read_and_named(tmp_path: Path) -> None:
    with open_video(_two_streams(tmp_path / "a.mkv", cover=False)) as reader:
        assert (reader.video.width, reader.video.streams) == (160, 2)
        assert len(list(reader.frames())) == 10
        assert reader.warnings() == ["2 video streams: stream 0 (160x128) is read"]


def test_cover_art_is_not_the_video(tmp_path: Path) -> None:
    with open_video(_two_streams(tmp_path / "a.mp4", cover=True)) as reader:
        assert (reader.video.width, reader.video.streams) == (96, 1)
        assert [frame_number(f.image) for f in reader.frames()] == list(range(10))
        assert reader.warnings() == []


def test_frames_that_change_size_are_scaled_to_the_first(tmp_path: Path) -> None:
    first = make_video(tmp_path / "1.ts", frames=25, codec="mpeg2video", b_frames=0)
    second = make_video(
        tmp_path / "2.ts",
        frames=25,
        first=25,
        size=(96, 160),
        start=F(1),
        codec="mpeg2video",
        b_frames=0,
    )
    joined = tmp_path / "joined.ts"
    joined.write_bytes(first.read_bytes() + second.read_bytes())
    with open_video(joined) as reader:
        frames = list(reader.frames())
        assert {frame.image.shape for frame in frames} == {(64, 96, 3)}
        # FFmpeg drops the frame that it holds back when the size changes.
        assert [frame_number(f.image) for f in frames] == [*range(24), *range(25, 50)]
        assert any("of another size" in w and w.endswith(": 25") for w in reader.warnings())


def test_passes_are_independent(make: Make) -> None:
    with open_video(make("a.mp4")) as reader:
        one, two = reader.frames(), reader.frames(times=[0.5])
        assert frame_number(next(one).image) == 0
        assert frame_number(next(two).image) == 12
        assert frame_number(next(one).image) == 1


def test_a_closed_reader_reads_no_more(make: Make) -> None:
    with open_video(make("a.mp4")) as reader:
        frames = reader.frames()
        next(frames)
    assert list(frames) == []
    assert reader.warnings() == []
    with pytest.raises(ValueError, match="closed"):
        reader.frames()


def test_memory_does_not_grow_with_the_video(make: Make) -> None:
    def live() -> int:
        return sum(type(thing) in (Frame, av.VideoFrame) for thing in gc.get_objects())

    path = make("a.mp4", frames=1000, gop=50, codec="libx264", size=(48, 64))
    before = live()
    counts = []
    with open_video(path) as reader:
        for index, _ in enumerate(reader.frames()):
            if index % 250 == 249:
                counts.append(live() - before)
    assert len(counts) == 4
    assert max(counts) < 32  # the one in hand, the one before it, and those in the decoder


def test_find_videos(tmp_path: Path) -> None:
    for name in ("b.MP4", "a/c.mkv", ".hidden.mp4", ".cache/d.mp4", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "folder.mp4").mkdir()
    assert find_videos(tmp_path) == [tmp_path / "a/c.mkv", tmp_path / "b.MP4"]
    with pytest.raises(DataError, match="holds no video"):
        find_videos(tmp_path / "folder.mp4")
    with pytest.raises(DataError, match="is not a folder"):
        find_videos(tmp_path / "notes.txt")


def test_audio_only_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with av.open(str(path), "w") as container:
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        silence = np.zeros((1, 1024), np.float32)
        frame = av.AudioFrame.from_ndarray(silence, format="fltp", layout="mono")
        frame.sample_rate = 48_000
        container.mux(sound.encode(frame))
        container.mux(sound.encode(None))
    with pytest.raises(VideoError, match="holds audio only"):
        open_video(path)


SKIPPING: dict[str, dict[str, Any]] = {
    "a.mp4": {},
    "a.mkv": {"codec": "mpeg4"},
    "a.ts": {"start": F(5)},
    "a.mpg": {"codec": "mpeg2video"},
}


@pytest.mark.parametrize("name", SKIPPING)
def test_only_some_frames_are_decoded_if_asked(name: str, make: Make) -> None:
    path = make(name, **({"frames": 100, "gop": 25} | SKIPPING[name]))
    shown = {}
    for decode in ("all", "references", "keys"):
        with open_video(path, decode=decode) as reader:  # type: ignore[arg-type]
            shown[decode] = {frame_number(frame.image): frame.time for frame in reader.frames()}
            assert reader.counts.decoded == len(shown[decode])
            assert reader.counts.decoded + reader.counts.skipped == 100
            told = [warning for warning in reader.warnings() if "not decoded, as asked" in warning]
            assert len(told) == (decode != "all")
            assert len(reader.warnings()) == len(told)
    assert len(shown["all"]) > len(shown["references"]) > len(shown["keys"]) >= 4
    # The pictures are the same, at the same times.
    assert shown["references"].items() <= shown["all"].items()
    assert shown["keys"].items() <= shown["all"].items()


def test_in_place_of_a_frame_passed_over_comes_the_one_before(make: Make) -> None:
    path = make("a.mp4", frames=100, gop=25)
    with open_video(path, decode="keys") as reader:
        times = [(k + 0.5) / 25 for k in range(0, 100, 10)]
        found = [frame_number(frame.image) for frame in reader.frames(times=times)]
        assert found == [k // 25 * 25 for k in range(0, 100, 10)]
        # Frame 20 would have been shown at 0.82 s; frame 0 was shown until 0.04 s.
        assert reader.warnings() == [
            f"{reader.counts.skipped} of {reader.counts.skipped + 4} frames were not decoded, as "
            "asked; those used in their place were up to 0.78 s behind"
        ]


def test_a_codec_that_passes_nothing_over_says_so(make: Make) -> None:
    path = make("a.gif", codec="gif", b_frames=0, fps=F(20), frames=20)
    with open_video(path, decode="keys") as reader:
        assert len(list(reader.frames())) == 20
        assert reader.warnings()[0].startswith("0 of 20 frames were not decoded")
