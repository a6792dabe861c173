"""Media files are opened here and nowhere else: local, regular, and of a known container."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import av
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from marey.errors import VideoError
from marey.video.limits import Limits
from marey.video.losses import Losses

# FFmpeg also reads playlists and scripts (hls, dash, concat, sdp, image sequences): files that name
# other files. Only containers that hold their own frames are let in, and only the `file` protocol,
# so that opening a file from a stranger never opens a second one.
CONTAINERS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2"),
    *("matroska", "webm"),
    *("avi", "mpegts", "mpeg", "flv", "ogg", "gif"),
)
# An MPEG program stream states times only now and then; after a seek FFmpeg counts on from a guess.
UNSEEKABLE = ("mpeg",)
VIDEO_SUFFIXES = frozenset(
    [
        *(".mp4", ".m4v", ".mov", ".3gp", ".3g2", ".mj2", ".mkv", ".webm", ".avi"),
        *(".ts", ".mts", ".m2ts", ".mpg", ".mpeg", ".vob", ".flv", ".ogv", ".gif"),
    ]
)
_NOT_MOVING = Disposition.attached_pic | Disposition.timed_thumbnails


def open_container(path: str, limits: Limits) -> InputContainer:
    """Open a local media file with nothing but its own bytes at FFmpeg's disposal."""
    check_file(path, limits)
    try:
        return av.open(
            "file:" + os.path.abspath(path),  # noqa: PTH100, resolve() would follow links
            metadata_errors="replace",  # tags are often not UTF-8, and no reason to refuse a video
            options=limits.decoder_options,
            container_options={
                "format_whitelist": ",".join(CONTAINERS),
                "protocol_whitelist": "file",
                "enable_drefs": "0",
            },
        )
    except av.FFmpegError as error:
        raise unreadable(path, error) from error


def check_file(path: str, limits: Limits) -> None:
    """Raise VideoError unless `path` is a regular, non-empty file within the limit on bytes."""
    try:
        status = Path(path).stat()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise VideoError(
            f"cannot be opened ({reason})", where=path, do="Check the path and its permissions."
        ) from error
    if not stat.S_ISREG(status.st_mode):
        raise VideoError("is not a regular file", where=path, do="Give the path of a video file.")
    if status.st_size == 0:
        raise VideoError("is empty (0 bytes)", where=path, do="Copy or download it again.")
    limits.check(path, "bytes", status.st_size, f"has {status.st_size:,} bytes")


def unreadable(path: str, error: av.FFmpegError) -> VideoError:
    """The one error for a file that FFmpeg will not open, in a person's words."""
    if isinstance(error, av.error.PermissionError):
        return VideoError("may not be read", where=path, do="Check its permissions.")
    if isinstance(error, av.error.ArgumentError):
        # What FFmpeg answers when the container it recognised is not on the whitelist.
        return VideoError(
            "is not in a container that marey opens (playlists and scripts are refused)",
            where=path,
            do=f"Containers: {', '.join(CONTAINERS)}. Convert it, e.g. to mp4.",
        )
    return VideoError(
        f"cannot be read: damaged, cut off before its index, or not a video ({error.strerror})",
        where=path,
        do="Copy or download it again, or repair it; if it plays elsewhere, convert it to mp4.",
    )


def choose_stream(path: str, container: InputContainer, losses: Losses) -> VideoStream:
    """The video stream to read: the default one, else the largest; cover art is no video."""
    videos = [s for s in container.streams.video if not s.disposition & _NOT_MOVING]
    if not videos:
        what = "holds audio only" if container.streams.audio else "holds no video stream"
        raise VideoError(what, where=path, do="Give a file with moving pictures.")
    decodable = [s for s in videos if s.codec_context is not None]
    if not decodable:
        raise VideoError(
            "is in a codec that this FFmpeg has no decoder for",
            where=path,
            do="Convert it, e.g. to H.264 in mp4.",
        )

    def rank(stream: VideoStream) -> tuple[bool, int]:
        return bool(stream.disposition & Disposition.default), stream.width * stream.height

    best = max(decodable, key=rank)
    if len(videos) > 1:
        losses.note(
            f"{len(videos)} video streams: stream {best.index} ({best.width}x{best.height}) is read"
        )
    return best


def video_streams(container: InputContainer) -> int:
    """How many streams of moving pictures there are, cover art not counted."""
    return sum(not s.disposition & _NOT_MOVING for s in container.streams.video)
