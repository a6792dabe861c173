"""What may be named as a source, and that each door lets in its own kind only."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from live_sources import send, serving

from marey.errors import VideoError
from marey.testing.videos import make_video
from marey.video import sources
from marey.video.limits import Limits
from marey.video.sources import Source, connect, find_source


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg would ask a proxy for this very machine."""
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def made_camera(monkeypatch: pytest.MonkeyPatch) -> str:
    """A camera that FFmpeg makes up, opened by the door for cameras."""
    monkeypatch.setitem(sources.DEVICES, sys.platform, "lavfi")  # type: ignore[arg-type]
    return "testsrc=size=96x64:rate=10"


@pytest.mark.parametrize(
    ("given", "kind", "name"),
    [
        ("goal.mp4", "file", "goal.mp4"),
        (Path("a") / "goal.mp4", "file", os.path.join("a", "goal.mp4")),  # noqa: PTH118
        ("video=Webcam", "device", "video=Webcam"),
        ("/dev/video3", "device", "/dev/video3"),
        ("rtsp://cam/1", "rtsp", "rtsp://cam/1"),
        ("RTSP://ann:secret@cam/1", "rtsp", "RTSP://ann:***@cam/1"),
        ("https://cam/live?x=a@b:c", "http", "https://cam/live?x=a@b:c"),
    ],
)
def test_what_is_named_is_known_by_its_form(given: str, kind: str, name: str) -> None:
    source = find_source(given)
    assert (source.kind, source.name) == (kind, name)
    assert source.address == os.fspath(given)


def test_a_number_is_a_camera_of_the_system(monkeypatch: pytest.MonkeyPatch) -> None:
    for system, address in (("linux", "/dev/video2"), ("darwin", "2")):
        monkeypatch.setattr(sys, "platform", system)
        assert find_source(2) == find_source("2") == Source("2", "device", address)


@pytest.mark.parametrize(
    "address", ["ftp://a/b.mp4", "file:///a.mp4", "udp://1.2.3.4:5", "tcp://a"]
)
def test_other_addresses_are_refused(address: str) -> None:
    with pytest.raises(VideoError, match="does not open"):
        find_source(address)


def test_what_hides_an_address_is_a_file_that_is_not_there() -> None:
    for name in ("concat:a.mp4|b.mp4", "subfile,,start,0,end,9,,:a.mp4", "crypto:http://a/b"):
        source = find_source(name) if "://" not in name else Source(name, "file", name)
        assert source.kind == "file"
        with pytest.raises(VideoError, match="No such file"):
            connect(source, Limits())


def test_a_camera_is_opened_by_its_own_door(made_camera: str) -> None:
    with connect(Source("0", "device", made_camera), Limits()) as container:
        assert container.format.name == "lavfi"
        assert container.streams.video[0].average_rate == 10


def test_a_camera_that_is_not_there_says_so() -> None:
    with pytest.raises(VideoError, match=r"video987.*no other program"):
        connect(find_source("/dev/video987"), Limits())


@pytest.mark.parametrize("scheme", ["http", "rtsp"])
def test_an_address_where_nobody_listens_says_so(scheme: str) -> None:
    with pytest.raises(VideoError, match=r"refused.*Check the address"):
        connect(find_source(f"{scheme}://127.0.0.1:9/live"), Limits())


def test_a_stream_is_opened_and_a_playlist_is_not(tmp_path: Path) -> None:
    video = make_video(tmp_path / "a.ts").read_bytes()
    asked: list[str] = []

    def answer(handler):  # type: ignore[no-untyped-def]
        asked.append(handler.path)
        if handler.path == "/live":
            send(handler, "video/mp2t", video)
        else:
            lines = b"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n/live\n#EXT-X-ENDLIST\n"
            send(handler, "application/vnd.apple.mpegurl", lines)

    with serving(answer) as address:
        with connect(find_source(address), Limits()) as container:
            assert container.format.name == "mpegts"
        asked.clear()
        with pytest.raises(VideoError, match="playlist"):
            connect(find_source(address + ".m3u8"), Limits())
        assert set(asked) == {"/live.m3u8"}  # and what it names was not asked for


def test_a_server_that_says_nothing_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(sources, "OPEN_SECONDS", 0.2)
    done = threading.Event()
    with serving(lambda handler: done.wait(20) and None) as address:
        try:
            with pytest.raises(VideoError, match=r"did not answer within 0\.2 s"):
                connect(find_source(address), Limits())
        finally:
            done.set()
