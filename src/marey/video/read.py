"""Reading videos: the one door through which media come in.

    with open_video("goal.mp4") as reader:
        for frame in reader.frames(times=(0.5, 1.5, 2.5), size=128):
            frame.image, frame.time

`docs/video.md` states how each awkward kind of file behaves.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from marey.errors import DataError, VideoError
from marey.types import Frame, Interpolation, Video
from marey.video.container import VIDEO_SUFFIXES
from marey.video.cursor import Cursor
from marey.video.decode import Counts, Decode, Decoded, Decoder
from marey.video.geometry import Converter, Display
from marey.video.limits import Limits
from marey.video.losses import Losses
from marey.video.probe import probe

__all__ = ["VIDEO_SUFFIXES", "Counts", "Decode", "Limits", "Reader", "find_videos", "open_video"]


def open_video(
    path: str | os.PathLike[str],
    *,
    limits: Limits | None = None,
    threads: int = 0,
    decode: Decode = "all",
) -> Reader:
    """Open a media file: look what is in it and find where it really ends, without decoding it.

    `threads` decode (0: as many as FFmpeg finds right, one more than there are cores). `decode`
    spares time: "references" passes over frames from which no other is predicted, "keys" over all
    but those that stand alone. The frame before is shown in their place, and the warnings say how
    many there were and how far behind that was.

    Raises VideoError for what is not a regular file in a known container, holds no frame that can
    be decoded, or exceeds `limits`.
    """
    limits = limits or Limits()
    losses = Losses()
    video, display = probe(os.fspath(path), limits, losses)
    return Reader(video, display, limits, losses, threads, decode)


class Reader:
    """An opened video: `video` says what it is, `frames` gives its pictures, as often as asked.

    Every pass over the file decodes for itself. `counts` sums what they cost, `warnings` what they
    lost.
    """

    def __init__(
        self,
        video: Video,
        display: Display,
        limits: Limits,
        losses: Losses,
        threads: int,
        decode: Decode,
    ) -> None:
        self.video = video
        self.counts = Counts()
        self._display, self._limits, self._losses = display, limits, losses
        self._lost = losses.begin()
        self._threads, self._decode = threads, decode
        self._stale = 0.0
        self._open: set[Decoder] = set()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def parts(self) -> tuple[Video, Display, Limits, Losses, int, Decode]:
        """What another reader of the same video, which tells its losses here, is made of."""
        return (
            *(self.video, self._display, self._limits),
            *(self._losses, self._threads, self._decode),
        )

    def close(self) -> None:
        """Give the file back; passes still under way end."""
        self._closed = True
        for decoder in self._open:
            decoder.close()

    def warnings(self) -> list[str]:
        """What is odd about the video and what was lost so far, in words with counts."""
        words = self._losses.words()
        if self._decode != "all":
            skipped, every = self.counts.skipped, self.counts.skipped + self.counts.decoded
            words.append(
                f"{skipped} of {every} frames were not decoded, as asked; "
                f"those used in their place were up to {self._stale:.2f} s behind"
            )
        return words

    def lost(self) -> dict[str, Any]:
        """What was lost so far, JSON-ready, for a run that goes on later: see `go_on`."""
        return self._losses.state()

    def go_on(self, lost: dict[str, Any]) -> None:
        """What an earlier run had `lost` before the place from which this one reads on."""
        self._losses.go_on(lost)

    def lose(self, what: str, count: int = 1) -> None:
        """Count a loss that the reader's user met, so that it stands among the warnings."""
        self._lost[what] += count

    def frames(
        self,
        *,
        times: Iterable[float] | None = None,
        since: float | None = None,
        size: tuple[int, int] | int | None = None,
        interpolation: Interpolation = "bilinear",
    ) -> Iterator[Frame]:
        """Every frame in order of presentation, with `since` from the one shown then on; with
        `times`, for each time the frame shown then.

        `times` are seconds that never decrease, taken one by one as frames are. A time before the
        first frame gets the first; a time at or past the end of the last frame ends the iteration.
        Times for which the same frame is shown get the same `Frame`, converted once. Only frames
        wanted are converted, and a long way to the next one is sought rather than decoded.

        `size` is H W as displayed, or the short side; the decoder's own scaler does it.
        """
        if self._closed:
            raise ValueError("the video is closed")
        lost, path = self._losses.begin(), self.video.path
        convert = Converter(self._display, size, interpolation, lost, path)
        return self._all(since, convert) if times is None else self._shown_at(times, convert)

    def _all(self, since: float | None, convert: Converter) -> Iterator[Frame]:
        with self._pass() as cursor:
            decoded = cursor.next() if since is None else cursor.at(since)
            while decoded is not None:
                yield self._frame(decoded, convert)
                decoded = cursor.next()

    def _shown_at(self, times: Iterable[float], convert: Converter) -> Iterator[Frame]:
        before = -math.inf
        decoded: Decoded | None = None
        with self._pass() as cursor:
            for time in times:
                if not time >= before:
                    raise ValueError(f"times must not decrease, got {time} after {before}")
                before = time
                shown = cursor.at(time)
                if shown is None:
                    return
                self._stale = max(self._stale, time - float(shown.time + shown.shown))
                if shown is not decoded:
                    decoded, frame = shown, self._frame(shown, convert)
                yield frame

    @contextmanager
    def _pass(self) -> Iterator[Cursor]:
        with self.decoding() as decoder:
            yield Cursor(decoder, self.video, self._losses)

    @contextmanager
    def decoding(self) -> Iterator[Decoder]:
        """A decoder at the video's beginning, closed behind the block."""
        decoder = Decoder(
            self.video.path,
            self._limits,
            self._losses,
            self.counts,
            start=self.video.start,
            threads=self._threads,
            decode=self._decode,
        )
        self._open.add(decoder)
        try:
            yield decoder
        finally:
            self._open.discard(decoder)
            decoder.close()

    def _frame(self, decoded: Decoded, convert: Converter) -> Frame:
        image = convert(decoded.frame)
        self.counts.converted += 1
        return Frame(image, decoded.time)


def nothing_decoded(path: str | os.PathLike[str]) -> VideoError:
    """The error of whoever found no frame to work with in a video that opened."""
    return VideoError(
        "no frame could be decoded", where=path, do="Run `marey check` on it to see why."
    )


def find_videos(folder: str | os.PathLike[str]) -> list[Path]:
    """The video files under `folder`, by suffix, sorted; hidden ones are left out.

    Raises DataError if there is none.
    """
    root = Path(folder)
    if not root.is_dir():
        raise DataError("is not a folder", where=root, do="Give a folder that holds videos.")
    found = sorted(
        path
        for path in root.rglob("*")
        if path.suffix.lower() in VIDEO_SUFFIXES
        and not any(part.startswith(".") for part in path.relative_to(root).parts)
        and path.is_file()
    )
    if not found:
        raise DataError(
            "holds no video",
            where=root,
            do=f"Files are recognised by suffix: {' '.join(sorted(VIDEO_SUFFIXES))}.",
        )
    return found
