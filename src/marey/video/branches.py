"""One decoding for several readers: each takes its frames at its own size and times, in a thread.

with open_video("match.mp4") as reader, Branches(reader, 2) as (small, large):
    ...  # in two threads: small.frames(size=112), large.frames()
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition
from types import TracebackType

from marey.video.cursor import Cursor
from marey.video.decode import Decoded, Decoder
from marey.video.read import Reader

HELD = 32
"""Frames, as they were decoded, that a branch may be behind the one that is furthest on."""


class Branches:
    """`count` readers of one video, each to be read once, by a thread of its own.

    Whoever needs a frame that is not there yet decodes it, for all. None gets further ahead of the
    slowest than `HELD` frames: it waits. A reader whose pass has ended, or that was closed, holds
    up nobody. No frame is sought. `reader` tells what decoding cost and what all have lost.
    """

    def __init__(self, reader: Reader, count: int) -> None:
        self._reader, self._decoding = reader, reader.decoding()
        self._readers = tuple(Branch(reader, self) for _ in range(count))
        self._waiting: dict[Branch, deque[Decoded]] = {one: deque() for one in self._readers}
        self._lock = Condition()
        self._ended = False

    def __enter__(self) -> tuple[Branch, ...]:
        self.decoder: Decoder = self._decoding.__enter__()
        return self._readers

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._lock:
            self._ended = True
            for frames in self._waiting.values():
                frames.clear()
            self._lock.notify_all()
            self._decoding.__exit__(kind, error, traceback)
        self._reader.counts.converted += sum(one.counts.converted for one in self._readers)

    def read(self, branch: Branch) -> Decoded | None:
        """The next frame of that branch, None at the end.

        ValueError where another thread has closed it: that is no end of the video.
        """
        with self._lock:
            self._lock.wait_for(lambda: self._free(branch))
            own = self._waiting.get(branch)
            if own is None:
                raise ValueError("the video is closed")
            if not own and not self._ended:
                self._decode()
            self._lock.notify_all()
            return own.popleft() if own else None

    def leave(self, branch: Branch) -> None:
        """It reads no more."""
        with self._lock:
            self._waiting.pop(branch, None)
            self._lock.notify_all()

    def _free(self, branch: Branch) -> bool:
        """Whether there is a frame for it, or room for one more to wait for the others."""
        own = self._waiting.get(branch)
        full = any(len(frames) >= HELD for frames in self._waiting.values())
        return own is None or bool(own) or self._ended or not full

    def _decode(self) -> None:
        decoded = self.decoder.read()
        if decoded is None:
            self._ended = True
            return
        for frames in self._waiting.values():
            frames.append(decoded)


class Branch(Reader):
    """A reader of `Branches`."""

    def __init__(self, reader: Reader, branches: Branches) -> None:
        super().__init__(*reader.parts())
        self._branches = branches

    def close(self) -> None:
        super().close()
        self._branches.leave(self)

    @contextmanager
    def _pass(self) -> Iterator[Cursor]:
        try:
            yield Cursor(_Source(self, self._branches), self.video, self._losses)
        finally:
            self._branches.leave(self)


class _Source:
    """What a branch's cursor moves over: forwards only."""

    sought = False

    def __init__(self, branch: Branch, branches: Branches) -> None:
        self._branch, self._branches = branch, branches
        self.whole = branches.decoder.whole

    @property
    def given(self) -> int:
        return self._branches.decoder.given

    @property
    def closed(self) -> bool:
        return self._branches.decoder.closed

    def read(self) -> Decoded | None:
        return self._branches.read(self._branch)

    def pays(self, time: float) -> bool:
        return False

    def seek(self, time: float) -> Decoded | None:
        raise NotImplementedError  # it never pays
