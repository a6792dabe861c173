"""Reports kept beside their output until it is whole: a run that was stopped goes on from them."""

from __future__ import annotations

import base64
import glob
import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from marey.files import Stamp, stamps, unwritable
from marey.outputs.journal import Journal
from marey.types import Report, Track

_HASH = 12  # digits in the name of a video's journal


class Part:
    """What was done towards `output`, in the file `output.part`: a line of settings, then reports.

    `settings` is all that the reports depend on besides the videos. A part that was begun with
    others, or is of another making, is put aside: `warnings` says so, and how many reports an
    earlier run left, and of how many videos it did not come to the end. A video that has changed
    since is not done. Raises OutputError where the file cannot be written.
    """

    def __init__(self, output: str | os.PathLike[str], settings: Mapping[str, Any]) -> None:
        self.path = Path(f"{os.fspath(output)}.part")
        self._prefix = f"{self.path.name}-"
        self.warnings: list[str] = []
        self._settings = settings
        self._begun: set[Path] = set()
        self._places: dict[str, tuple[list[Stamp], int]] = {}
        head = json.dumps({"settings": settings}, sort_keys=True) + "\n"
        try:
            whole = self._found(head.encode())
            self._file = self.path.open("r+b" if whole else "w+b")
            self._file.truncate(whole)
            self._file.seek(whole)
            if not whole:
                self._append(head)
                self._forget_journals()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _found(self, head: bytes) -> int:
        """The bytes of an earlier run that are good; the line that a kill cut off is not."""
        if not self.path.exists():
            return 0
        with self.path.open("rb") as file:
            if file.readline() != head:
                self.warnings.append("was begun with other settings; begins again")
                return 0
            end = len(head)
            for line in file:
                try:
                    video, seen = json.loads(line)["source"]
                    seen = [Stamp(*stamp) for stamp in seen]
                except (ValueError, KeyError, TypeError):
                    break
                self._places[video] = seen, end
                end += len(line)
        if self._places:
            self.warnings.append(f"{len(self._places)} videos are there from an earlier run")
        begun = len({path.name.removeprefix(self._prefix)[:_HASH] for path in self._journals()})
        if begun:
            self.warnings.append(f"{begun} videos were begun in an earlier run")
        return end

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.close()
        if not (self._places or self._journals()):
            self.path.unlink(missing_ok=True)

    def __contains__(self, video: str | os.PathLike[str]) -> bool:
        done = self._places.get(os.fspath(video))
        return done is not None and done[0] == stamps(video)

    def add(self, video: str | os.PathLike[str], report: Report) -> None:
        """Keep a report, on disk before this returns."""
        place, seen = self._file.tell(), stamps(video)
        row = {"source": [os.fspath(video), seen], "report": replace(report, tracks=()).to_dict()}
        try:
            self._append(json.dumps(row, ensure_ascii=False)[:-1] + ', "tracks": [')
            for number, track in enumerate(report.tracks):
                self._append(("," if number else "") + json.dumps(_packed(track)))
            self._append("]}\n")
        except OSError as error:
            raise unwritable(self.path, error) from error
        self._places[os.fspath(video)] = seen, place
        self._forget_journals(self._journal_of(video).name)

    def journal(self, video: str | os.PathLike[str]) -> Journal | None:
        """What is known of a video that is not done yet; None for one that is given again."""
        path = self._journal_of(video)
        if path in self._begun:
            return None
        self._begun.add(path)
        return Journal(path, video, self._settings)

    def _journal_of(self, video: str | os.PathLike[str]) -> Path:
        name = hashlib.blake2b(os.fspath(video).encode(), digest_size=_HASH // 2).hexdigest()
        return self.path.with_name(self._prefix + name)

    def _journals(self, begin: str = "") -> list[Path]:
        """Those of all videos and their parts, or those whose names so begin."""
        return list(self.path.parent.glob(f"{glob.escape(begin or self._prefix)}*"))

    def _forget_journals(self, begin: str = "") -> None:
        for path in self._journals(begin):
            path.unlink(missing_ok=True)

    def _append(self, line: str) -> None:
        self._file.write(line.encode())
        self._file.flush()

    def reports(self, videos: Iterable[str | os.PathLike[str]]) -> Iterator[Report]:
        """The reports of those that are done, in this order, read back one by one."""
        with self.path.open("rb") as file:
            for video in videos:
                if video in self:
                    file.seek(self._places[os.fspath(video)][1])
                    row = json.loads(file.readline())
                    tracks = tuple(_unpacked(**track) for track in row["tracks"])
                    yield replace(Report.from_dict(row["report"]), tracks=tracks)

    def remove(self) -> None:
        """The output is whole: this is not needed any more."""
        self._places.clear()
        self._forget_journals()


_COLUMNS = {"times": "<f8", "boxes": "<f4", "scores": "<f4", "seen": "?"}


def _packed(track: Track) -> dict[str, Any]:
    """JSON-ready and exact, 39 bytes a box: what a report's JSON holds takes 100."""
    columns = {
        name: base64.b64encode(getattr(track, name).astype(kind).tobytes()).decode()
        for name, kind in _COLUMNS.items()
    }
    return {"id": track.id, "label": track.label, **columns}


def _unpacked(id: int | None, label: str, **columns: str) -> Track:
    times, boxes, scores, seen = (
        np.frombuffer(base64.b64decode(columns[name]), kind) for name, kind in _COLUMNS.items()
    )
    return Track(id, label, times, boxes.reshape(-1, 4), scores, seen)
