"""What is not let in: playlists and scripts, special files, and more than the limits allow."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import sys
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import pytest

from marey.errors import VideoError
from marey.video.read import Limits, open_video

Make = Callable[..., Path]


class Watch:
    """Whether anyone opened a file: the kernel tells (inotify), whatever library did it."""

    def __init__(self, path: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._events = self._libc.inotify_init1(os.O_NONBLOCK)
        in_open = 0x20
        assert self._libc.inotify_add_watch(self._events, os.fsencode(path), in_open) >= 0

    def opened(self) -> bool:
        try:
            return bool(os.read(self._events, 4096))
        except BlockingIOError:
            return False


SCRIPTS: dict[str, Callable[[Path], str]] = {
    "ffconcat": lambda second: f"ffconcat version 1.0\nfile '{second}'\n",
    "hls": lambda second: (
        f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{second}\n#EXT-X-ENDLIST\n"
    ),
    "sdp": lambda second: (
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5000 RTP/AVP 96\n"
    ),
    "dash": lambda second: (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" '
        'type="static" mediaPresentationDuration="PT1S"><Period>'
        '<AdaptationSet mimeType="video/mp4">'
        f'<Representation id="1" bandwidth="1"><BaseURL>{second}</BaseURL></Representation>'
        "</AdaptationSet></Period></MPD>"
    ),
    "text": lambda second: "file " + str(second) * 50,
}


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
@pytest.mark.parametrize("script", SCRIPTS)
@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".m3u8"])
def test_a_script_is_refused_and_opens_no_second_file(
    script: str, suffix: str, make: Make, tmp_path: Path
) -> None:
    second = tmp_path / "second.mp4"
    shutil.copy(make("a.mp4"), second)
    first = tmp_path / f"first{suffix}"
    first.write_text(SCRIPTS[script](second))
    watch = Watch(second)
    with pytest.raises(VideoError):
        open_video(first)
    assert not watch.opened()


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
def test_the_watch_sees_what_ffmpeg_opens_without_our_locks(make: Make, tmp_path: Path) -> None:
    second = tmp_path / "second.mp4"
    shutil.copy(make("a.mp4"), second)
    first = tmp_path / "first.mp4"
    first.write_text(SCRIPTS["ffconcat"](second))
    watch = Watch(second)
    with av.open(str(first), format="concat", options={"safe": "0"}):
        assert watch.opened()


def _refer(path: Path, to: Path) -> None:
    """Rewrite the movie's data reference so that its samples are said to lie in another file.

    The box `url ` (self-contained) becomes `alis`: 150 bytes of an alias record that do not matter,
    then an absolute path (type 2), then the end mark.
    """
    name = os.fsencode(to)
    record = bytes(150) + struct.pack(">hH", 2, len(name)) + name + bytes(len(name) % 2)
    alias = bytes(4) + record + struct.pack(">hH", -1, 0)
    new = struct.pack(">I4s", 8 + len(alias), b"alis") + alias
    data = path.read_bytes()
    old = struct.pack(">I4sI", 12, b"url ", 1)
    at = data.index(old)
    grown = len(new) - len(old)
    for box in (b"dref", b"dinf", b"minf", b"mdia", b"trak", b"moov"):
        place = data.rindex(box, 0, at) - 4
        (length,) = struct.unpack_from(">I", data, place)
        data = data[:place] + struct.pack(">I", length + grown) + data[place + 4 :]
    path.write_bytes(data[:at] + new + data[at + len(old) :])


@pytest.mark.skipif(sys.platform != "linux", reason="inotify")
def test_a_movie_that_refers_to_another_file_opens_none(make: Make, tmp_path: Path) -> None:
    second = tmp_path / "second.mp4"
    shutil.copy(make("a.mp4"), second)
    first = tmp_path / "first.mov"
    shutil.copy(make("a.mov"), first)
    _refer(first, second)
    unlocked = Watch(second)
    with av.open(str(first), options={"enable_drefs": "1", "use_absolute_path": "1"}):
        assert unlocked.opened()
    watch = Watch(second)
    with pytest.raises(VideoError):
        list(open_video(first).frames())
    assert not watch.opened()


def test_an_address_is_a_path_and_no_more(tmp_path: Path) -> None:
    for address in ("http://127.0.0.1:9/a.mp4", "concat:a.mp4|b.mp4", "pipe:0", "file:/etc/hosts"):
        with pytest.raises(VideoError, match="cannot be opened"):
            open_video(address)


def test_a_name_with_a_colon_is_a_file(make: Make, tmp_path: Path) -> None:
    path = tmp_path / "http:a.mp4"
    shutil.copy(make("a.mp4"), path)
    assert open_video(path).video.frames == 30


def test_what_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    for path in (tmp_path, tmp_path / "pipe.mp4", Path("/dev/zero")):
        with pytest.raises(VideoError, match="is not a regular file"):
            open_video(path)
    with pytest.raises(VideoError, match="No such file"):
        open_video(tmp_path / "missing.mp4")
    with pytest.raises(VideoError, match="null"):
        open_video("a\0b.mp4")
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(VideoError, match=r"empty \(0 bytes\)"):
        open_video(tmp_path / "empty.mp4")


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(pixels=64 * 96 - 1), "64x96|96x64"),
        (Limits(seconds=1.1), "seconds"),
        (Limits(bytes=1000), "bytes"),
    ],
)
def test_a_limit_is_held_at_the_door(limits: Limits, words: str, make: Make) -> None:
    with pytest.raises(VideoError, match=words) as caught:
        open_video(make("a.mp4"), limits=limits)
    assert "more than the limit of" in str(caught.value)
    assert "limits=Limits(" in caught.value.do


def test_the_limit_on_frames_is_held_while_decoding(make: Make) -> None:
    with (
        open_video(make("a.mp4"), limits=Limits(frames=20)) as reader,
        pytest.raises(VideoError, match="limit of 20 frames"),
    ):
        list(reader.frames())
    assert reader.counts.decoded == 21


def test_the_displayed_size_counts_too(make: Make) -> None:
    path = make("a.mp4", pixel_aspect=Fraction(9))
    with pytest.raises(VideoError, match="displayed at 864x64"):
        open_video(path, limits=Limits(pixels=64 * 96))


def test_a_header_that_lies_about_its_size_does_not_pass(make: Make, tmp_path: Path) -> None:
    small, large = make("a.mp4"), make("a.mp4", size=(512, 512), frames=3)
    data = large.read_bytes()
    true = struct.pack(">HH", 512, 512)
    assert true in data
    path = tmp_path / "liar.mp4"
    path.write_bytes(data.replace(true, struct.pack(">HH", 64, 96)))
    limits = Limits(pixels=64 * 96)
    assert open_video(small, limits=limits).video.frames == 30
    with pytest.raises(VideoError):
        list(open_video(path, limits=limits).frames())


def test_limits_are_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        Limits(frames=0)
