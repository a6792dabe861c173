"""What can be watched, and the doors to it: files, cameras, and streams from the network.

A file comes through the door of `container.py`, which lets in local files only. A camera or an
address is opened only because a person named it, by a door of its own: for each kind the protocols
that FFmpeg may speak are listed here, and playlists, which name other addresses, stay outside.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import av
from av.container import InputContainer

from marey.errors import VideoError
from marey.video.container import CONTAINERS, open_container
from marey.video.limits import Limits

Kind = Literal["file", "device", "rtsp", "http"]

DEVICES: Mapping[str, str] = {"linux": "v4l2", "darwin": "avfoundation", "win32": "dshow"}
"""The system's cameras, as FFmpeg calls them."""

OPEN_SECONDS = 10.0
SILENT_SECONDS = 10.0
"""An address that takes longer to answer, or a stream silent for longer, is taken for lost."""

_PROTOCOLS: Mapping[Kind, str] = {
    "device": "file",
    "rtsp": "rtsp,rtp,udp,tcp",
    "http": "http,https,tcp,tls",
}
_FORMATS: Mapping[Kind, str] = {
    "rtsp": "rtsp,sdp,rtp,mpegts",
    "http": ",".join((*CONTAINERS, "mpjpeg")),
}
# What to ask for, in turn: of a camera JPEGs, as uncompressed pictures need its whole cable; of a
# stream TCP, as over UDP what the network loses is lost.
_OPTIONS: Mapping[str, tuple[dict[str, str], ...]] = {
    "v4l2": ({"input_format": "mjpeg"}, {}),
    "rtsp": ({"rtsp_flags": "prefer_tcp"},),
}


@dataclass(frozen=True, slots=True)
class Source:
    """What to watch: `address` as FFmpeg takes it, `name` as it is shown, without a password."""

    name: str
    kind: Kind
    address: str


def find_source(given: str | int | os.PathLike[str]) -> Source:
    """A path, the number or name of a camera, or an `rtsp://`, `http://` or `https://` address.

    Nothing is opened. Raises VideoError for an address of another kind.
    """
    text = str(given) if isinstance(given, int) else os.fspath(given)
    scheme, colon, _ = text.partition("://")
    if colon and re.fullmatch(r"[A-Za-z][\w+.-]*", scheme):
        name = re.sub(r"(?<=://)([^/@:]*):[^/@]*@", r"\1:***@", text)
        match scheme.lower():
            case "rtsp":
                return Source(name, "rtsp", text)
            case "http" | "https":
                return Source(name, "http", text)
        raise VideoError(
            f"marey does not open {scheme}:// addresses",
            where=name,
            do="Give a file, a camera (0, /dev/video0), or an address: rtsp://, http://, https://.",
        )
    if text.isdecimal():
        return Source(text, "device", _numbered(int(text)))
    if text.startswith(("/dev/video", "video=")):
        return Source(text, "device", text)
    return Source(text, "file", text)


def _numbered(number: int) -> str:
    if _device_format() == "v4l2":
        return f"/dev/video{number}"
    if _device_format() != "dshow":
        return str(number)
    cameras = av.enumerate_input_devices("dshow")  # pragma: no cover  # Windows has names only
    names = [camera.description for camera in cameras if "video" in camera.media_types]
    if number >= len(names):
        raise VideoError("there is no such camera", where=number, do=f"There are: {names}.")
    return f"video={names[number]}"


def _device_format() -> str:
    return DEVICES.get(sys.platform, "v4l2")


def connect(source: Source, limits: Limits) -> InputContainer:
    """Open what a person named, by the door of its kind; VideoError where that fails."""
    if source.kind == "file":
        return open_container(source.address, limits)
    format = _device_format() if source.kind == "device" else None
    *others, last = _OPTIONS.get(format or source.kind, ({},))
    for options in others:
        with suppress(VideoError):
            return _connect(source, limits, format, options)
    return _connect(source, limits, format, last)


def _connect(
    source: Source, limits: Limits, format: str | None, options: dict[str, str]
) -> InputContainer:
    try:
        return av.open(
            source.address,
            format=format,
            metadata_errors="replace",
            options=limits.decoder_options,
            container_options={
                "protocol_whitelist": _PROTOCOLS[source.kind],
                "format_whitelist": format or _FORMATS[source.kind],
                **options,
            },
            timeout=(OPEN_SECONDS, SILENT_SECONDS),
        )
    except av.FFmpegError as error:
        raise VideoError(_why(source, error), where=source.name, do=_do(source.kind)) from error


def _why(source: Source, error: av.FFmpegError) -> str:
    if isinstance(error, av.error.ExitError):
        return f"did not answer within {OPEN_SECONDS:g} s"
    if isinstance(error, av.error.ArgumentError) and source.kind == "http":
        return "is not video in a container that marey opens (playlists are refused)"
    return f"cannot be opened ({error.strerror})"


def _do(kind: Kind) -> str:
    if kind == "http":
        return "Check the address, and that it is video and no page or playlist."
    if kind == "rtsp":
        return "Check the address, the password, and that the camera can be reached."
    cameras = sorted(str(path) for path in Path("/dev").glob("video[0-9]*"))
    there = f" There are: {', '.join(cameras)}." if cameras else ""
    return f"Check that the camera is there and that no other program uses it.{there}"
