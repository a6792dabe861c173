"""What a network has said of one video so far, on disk: a run that was stopped goes on there."""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from marey.files import stamps, unwritable

P = NDArray[np.float32]


class Row(NamedTuple):
    """What was said, float32 of one axis, and what must be known to go on after it."""

    p: P
    state: dict[str, Any]


class Journal:
    """A file with a line for each answer, on disk before the next one is computed.

    It belongs to `video` as it is now and to `settings`, all else that the answers depend on: begun
    under others, or not readable, it begins again. The line that a kill cut off is not there.
    Nothing is opened before it is used. Where several networks speak of the video, each has a
    `part`. Raises OutputError where the file cannot be written.
    """

    def __init__(
        self, path: Path, video: str | os.PathLike[str], settings: Mapping[str, Any]
    ) -> None:
        self.path, self._video, self._settings = path, video, settings
        about = {"video": [os.fspath(video), stamps(video)], "settings": settings}
        self._head = json.dumps(about, sort_keys=True) + "\n"
        self._file: BinaryIO | None = None
        self._goes_on = False
        self._state: dict[str, Any] | None = None

    def part(self, name: str) -> Journal:
        """A journal beside this one, for one of several that speak of the same video."""
        path = self.path.with_name(f"{self.path.name}-{name}")
        return Journal(path, self._video, self._settings)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file:
            self._file.close()
            self._file = None

    def rows(self) -> Generator[Row]:
        """What an earlier run has left; to be read to its end before anything is added."""
        try:
            file = self.path.open("r+b")
        except OSError:
            return
        with file:
            self._goes_on = file.readline() == self._head.encode()
            if not self._goes_on:
                return
            while line := file.readline():
                try:
                    kept = json.loads(line)
                    p = np.frombuffer(base64.b64decode(kept["p"]), "<f4")
                    self._state = kept.get("state", self._state)
                except (ValueError, KeyError, TypeError):
                    file.seek(-len(line), os.SEEK_CUR)
                    file.truncate()
                    break
                yield Row(p, self._state or {})

    def add(self, p: P, state: dict[str, Any]) -> None:
        """Keep an answer, and what must be known to go on after it."""
        line: dict[str, Any] = {"p": base64.b64encode(p.astype("<f4").tobytes()).decode()}
        if state != self._state:
            line["state"] = self._state = state
        try:
            if self._file is None:
                self._file = self.path.open("ab" if self._goes_on else "wb")
                if not self._goes_on:
                    self._file.write(self._head.encode())
            self._file.write((json.dumps(line) + "\n").encode())
            self._file.flush()
        except OSError as error:
            raise unwritable(self.path, error) from error
