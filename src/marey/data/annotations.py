"""Untrimmed videos and the events that people have marked in them."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from marey.data.event_checks import Checks, Marked, VideoFinder
from marey.data.event_files import read_lines
from marey.data.formats import COLUMNS, SPLITS, Sample, listed
from marey.data.manifest import Manifest
from marey.errors import DataError
from marey.files import whole_file
from marey.types import Event, Video, Window


@dataclass(frozen=True, slots=True)
class AnnotatedVideo:
    """One video, and all that happens in it, by time; the events' scores are 1.

    `name` is what the annotations call it, `span` its measured time. Videos of one `group` (a
    camera, a person) belong on the same side of any split.
    """

    name: str
    path: Path
    span: Window
    events: tuple[Event, ...] = ()
    split: str | None = None
    group: str | None = None


@dataclass(frozen=True, slots=True)
class Annotations:
    """Videos with their events; a label's number is its position in `labels`.

    `labels` are those of the whole data set, so that they agree between its splits. `warnings` tell
    what was odd but could be used.
    """

    videos: tuple[AnnotatedVideo, ...]
    labels: tuple[str, ...]
    root: Path
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        folder: str | os.PathLike[str] | None = None,
        labels: Sequence[str] | None = None,
        find: Callable[[str], Video] | None = None,
        skip: bool = False,
    ) -> Annotations:
        """Read a CSV `video,start,end,label[,split,group]`, or the JSON of ActivityNet.

        Times are seconds on the video's own clock, an empty one is the video's edge. A line with
        neither label nor times names a video in which nothing happens. Videos lie in `folder`
        (None: beside the file), or `find` gives what is known of them by name. `labels` are the
        only ones allowed (None: whatever the file names, sorted). With `skip`, videos that are not
        there or cannot be read are left out and told in `warnings`.

        Raises one DataError that lists every line that cannot be used: times that are no numbers,
        negative, reversed, without length or outside of the video, events of one label that
        overlap or stand there twice, unknown labels, and videos that are not there.
        """
        path = Path(path)
        root = path.parent if folder is None else Path(folder)
        lines = read_lines(path)
        checks = Checks(find or VideoFinder(root), labels, skip=skip)
        checks.read(lines)
        if checks.problems:
            wrong = len({problem.where for problem in checks.problems})
            told = "\n  ".join(map(str, checks.problems))
            raise DataError(
                f"{wrong} of {len(lines)} annotations cannot be used:\n  {told}",
                where=path,
                do="Mend them; nothing was begun.",
            )
        videos = tuple(_video(name, marked) for name, marked in checks.videos.items())
        named = {event.label for video in videos for event in video.events}
        if not named:
            raise DataError("holds no event", where=path, do="Annotate what is to be found.")
        known = tuple(sorted(named)) if labels is None else tuple(labels)
        return cls(videos, known, root, _told(checks))

    def __len__(self) -> int:
        return len(self.videos)

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that the videos name, in the order train, val, test."""
        named = {video.split for video in self.videos}
        return tuple(split for split in SPLITS if split in named)

    @property
    def truth(self) -> Mapping[str, tuple[Event, ...]]:
        """The events of each video by its name, as `measure_events` takes them."""
        return {video.name: video.events for video in self.videos}

    def split(self, name: str) -> Annotations:
        """The videos of one split; DataError if there are none."""
        videos = [video for video in self.videos if video.split == name]
        if not videos:
            has = ", ".join(self.splits) or "no splits"
            raise DataError(
                f"no video is of split {name!r}; the annotations name {has}",
                where=self.root,
                do="Add a split column, or leave the split out to use all videos.",
            )
        return self.with_videos(videos)

    def with_videos(self, videos: Iterable[AnnotatedVideo]) -> Annotations:
        """Other videos of the same data set: labels and root stay."""
        return replace(self, videos=tuple(videos))

    def stratified(self, folds: int, fold: int = 0, seed: int = 0) -> Annotations:
        """Every video with its split set: `val` in fold number `fold`, `train` elsewhere.

        As `Manifest.stratified`, which spreads the labels evenly: a video counts with each of its
        events, and stays whole.
        """
        samples = tuple(
            Sample(video.path, label, group=video.group)
            for video in self.videos
            for label in [event.label for event in video.events] or [""]
        )
        divided = Manifest(samples, self.labels, self.root).stratified(folds, fold, seed)
        sides = {sample.video: sample.split for sample in divided.samples}
        return self.with_videos(replace(v, split=sides[v.path]) for v in self.videos)

    def data_hash(self) -> str:
        """A SHA-256 over all names, times, labels and splits; the order of lines does not count."""
        rows = sorted(
            json.dumps([video.name, video.split, [[e.label, e.start, e.end] for e in video.events]])
            for video in self.videos
        )
        return hashlib.sha256("\n".join(rows).encode()).hexdigest()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the CSV that `read` reads, with the splits as they are and absolute video paths."""
        with (
            whole_file(path) as temporary,
            temporary.open("w", newline="", encoding="utf-8") as file,
        ):
            table = csv.DictWriter(file, COLUMNS)
            table.writeheader()
            for video in self.videos:
                row = {"video": video.path.resolve(), "split": video.split, "group": video.group}
                for event in video.events:
                    span = {"start": event.start, "end": event.end}
                    table.writerow(row | span | {"label": event.label})
                if not video.events:
                    table.writerow(row)


def _video(name: str, marked: Marked) -> AnnotatedVideo:
    video = marked.video
    return AnnotatedVideo(
        name,
        Path(video.path),
        Window(video.start, math.inf if video.end is None else video.end),
        tuple(sorted((event for event, _ in marked.events), key=lambda e: (e.start, e.end))),
        marked.split or None,
        marked.group or None,
    )


def _told(checks: Checks) -> tuple[str, ...]:
    told = left_out(checks.absent, len(checks.absent) + len(checks.videos))
    if checks.clipped:
        cut = listed(checks.clipped)
        told = (*told, f"events that go up to a frame beyond their video were cut: {cut}")
    return told


def left_out(lost: Mapping[str, str], videos: int) -> tuple[str, ...]:
    """One sentence on the videos, of so many, that were left out; `lost` has names and reasons."""
    if not lost:
        return ()
    reasons = listed([f"{name} ({reason.rstrip('.')})" for name, reason in lost.items()])
    return (f"{len(lost)} of {videos} videos left out: {reasons}",)
