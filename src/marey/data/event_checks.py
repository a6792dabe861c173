"""What is wrong with lines that mark events: all of it at once, before work begins."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from marey.data.event_files import Line, Problem
from marey.data.formats import SPLITS
from marey.errors import MareyError, VideoError
from marey.types import Event, Video
from marey.video.read import find_videos, open_video

_USUAL_FRAME = 0.04  # seconds, where a video does not say
_ROUNDED = 1e-3  # seconds; times that programs wrote with three decimals are not odd


@dataclass(slots=True)
class Marked:
    """A video while its lines are read: what it is, and the events with the lines they stand in."""

    video: Video
    split: str = ""
    group: str = ""
    events: list[tuple[Event, str]] = field(default_factory=list)


class VideoFinder:
    """Names in annotations to videos, opened: paths below `root`, or file names without suffix.

    ActivityNet's ids are found as its downloads are named too, `v_ID.mp4`.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._by_stem: dict[str, list[Path]] | None = None

    def __call__(self, name: str) -> Video:
        """VideoError if there is none of that name, or it cannot be read."""
        path = self.root / name
        with open_video(path if path.is_file() else self._by_name(name), threads=1) as reader:
            return reader.video

    def _by_name(self, name: str) -> Path:
        if self._by_stem is None:
            self._by_stem = {}
            for path in find_videos(self.root):
                self._by_stem.setdefault(path.stem, []).append(path)
        found = self._by_stem.get(name) or self._by_stem.get(f"v_{name}") or []
        if len(found) != 1:
            files = " and ".join(map(str, found)) or "no file"
            raise VideoError(f"there is {files} of the name {name!r} in {self.root}")
        return found[0]


class Checks:
    """Reads lines into `videos`; `problems` holds what cannot be used, `clipped` what was cut.

    Why videos cannot be read is in `absent`; with `skip` that is no problem of their lines.
    """

    def __init__(
        self, find: Callable[[str], Video], labels: Sequence[str] | None, *, skip: bool = False
    ) -> None:
        self.find, self.labels, self.skip = find, labels, skip
        self.videos: dict[str, Marked] = {}
        self.problems: list[Problem] = []
        self.clipped: list[str] = []
        self.absent: dict[str, str] = {}

    def read(self, lines: Sequence[Line | Problem]) -> None:
        """Take every line; then look which of them contradict each other."""
        for line in lines:
            if isinstance(line, Problem):
                self.problems.append(line)
            else:
                self._line(line)
        for marked in self.videos.values():
            self._overlaps(marked.events)
        order = {line.where: number for number, line in enumerate(lines)}
        self.problems.sort(key=lambda problem: order[problem.where])

    def _report(self, line: Line, what: str, do: str) -> None:
        self.problems.append(Problem(line.where, what, do))

    def _line(self, line: Line) -> None:
        marked = self._video(line)
        if marked is not None:
            self._sides(line, marked)
        if not line.label and line.start == line.end == "":
            return  # a video, or a part of it, in which nothing happens
        known = self._label(line)
        times = self._times(line)
        if marked is None or times is None:
            return
        inside = self._inside(line, times, marked.video)
        if inside is not None and known:
            marked.events.append((Event(line.label, *inside, 1.0), line.where))

    def _video(self, line: Line) -> Marked | None:
        name = line.video
        if name not in self.videos and name not in self.absent:
            try:
                if not name:
                    raise VideoError("the line names no video")
                self.videos[name] = Marked(self.find(name))
            except MareyError as error:
                self.absent[name] = error.what if error.where is None else str(error)
        if name in self.absent and not (name and self.skip):
            self._report(line, self.absent[name].rstrip("."), "mend its name or leave it out")
        return self.videos.get(name)

    def _sides(self, line: Line, marked: Marked) -> None:
        """A video is of one split and one group, wherever a line names them."""
        if line.split and line.split not in SPLITS:
            self._report(line, f"unknown split {line.split!r}", f"choose from {', '.join(SPLITS)}")
            return
        for what in ("split", "group"):
            said, before = getattr(line, what), getattr(marked, what)
            if said and before and said != before:
                told = f"the {what} is {said!r}, but {before!r} in a line before"
                self._report(
                    line, told, f"a video is of one {what}: name the same in all its lines"
                )
            elif said:
                setattr(marked, what, said)

    def _label(self, line: Line) -> bool:
        if not line.label:
            self._report(line, "the event has no label", "name it, or leave its times out as well")
        elif self.labels is not None and line.label not in self.labels:
            near = get_close_matches(line.label, self.labels, n=3) or self.labels
            self._report(line, f"unknown label {line.label!r}", f"known are {', '.join(near)}")
        else:
            return True
        return False

    def _times(self, line: Line) -> tuple[float | None, float | None] | None:
        """Start and end as numbers, None for the video's edge; None if they mean nothing."""
        try:
            start, end = (_seconds(getattr(line, name), name) for name in ("start", "end"))
        except ValueError as error:
            self._report(line, str(error), "give seconds, such as 12.5")
            return None
        if start is None or end is None or start < end:
            return start, end
        if start == end:
            self._report(line, f"the event at {start:g} s has no length", "make its end later")
        else:
            told = f"the event ends at {end:g} s, before it starts at {start:g} s"
            self._report(line, told, "exchange the two")
        return None

    def _inside(
        self, line: Line, times: tuple[float | None, float | None], video: Video
    ) -> tuple[float, float] | None:
        """The event's times within the video; up to a frame too much is cut off and told."""
        low, high = video.start, math.inf if video.end is None else video.end
        start, end = (low if times[0] is None else times[0], high if times[1] is None else times[1])
        frame = float(1 / video.fps) if video.fps else _USUAL_FRAME
        early, late = low - start, end - high
        kept = max(start, low), min(end, high)
        span = f"the video lasts from {low:g} to {high:g} s"
        if kept[0] >= kept[1]:
            told = f"the event at {start:g} to {end:g} s is outside; {span}"
        elif early > frame + _ROUNDED:
            told = f"the event starts at {start:g} s, {early:.3g} s too early; {span}"
        elif late > frame + _ROUNDED:
            told = f"the event ends at {end:g} s, {late:.3g} s too late; {span}"
        elif kept[1] == math.inf:
            told = "the event has no end, and the video's is not known"
        else:
            if max(early, late) > _ROUNDED:
                self.clipped.append(line.where)
            return kept
        self._report(line, told, "times are seconds on the video's own clock: mend them")
        return None

    def _overlaps(self, events: list[tuple[Event, str]]) -> None:
        """Two events of one label at the same moment are one event, or one of them is wrong."""
        last: dict[str, tuple[Event, str]] = {}
        # Stable: of two equal lines the second is the one reported.
        for event, where in sorted(events, key=lambda one: (one[0].start, one[0].end)):
            other, place = last.get(event.label, (None, ""))
            if other is not None and event == other:
                self.problems.append(
                    Problem(where, f"is the same as {place}", "remove one of them")
                )
                continue
            if other is not None and event.start < other.end:
                what = f"the event overlaps that of {place}, which has the same label"
                self.problems.append(Problem(where, what, "join them, or let one end earlier"))
            if other is None or event.end > other.end:
                last[event.label] = event, where


def _seconds(value: Any, name: str) -> float | None:
    if value == "":
        return None
    try:
        seconds = float(value)
    except (TypeError, ValueError):
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise ValueError(f"the {name} is {value!r}")
    return seconds
