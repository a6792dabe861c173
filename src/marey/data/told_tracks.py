"""Who does what, told of tracks: a table of ids, labels and times becomes boxes in key frames.

Nobody draws boxes: `marey track` has found them, and a person says which id does what, when.
"""

from __future__ import annotations

import math
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marey.boxes import inside, visible
from marey.data._ava_lines import LineError, Problem, as_number, refuse
from marey.data.ava import ActionBoxes, KeyFrame
from marey.data.event_checks import VideoFinder
from marey.data.formats import listed, table_rows
from marey.data.key_frames import MarkedActions
from marey.errors import DataError
from marey.types import Report, Track, Video
from marey.video.read import open_video

COLUMNS = ("video", "id", "label", "start", "end")
STEP = 1.0
"""Seconds from one key frame to the next: AVA's."""


@dataclass(frozen=True, slots=True)
class Told:
    """Somebody does `label`, `start <= t < end`, seconds."""

    label: str
    start: float
    end: float


@dataclass(frozen=True, slots=True)
class FollowedVideo:
    """The tracks in a video, by id, and what is told of each."""

    video: Video
    tracks: Mapping[int, Track]
    told: dict[int, list[Told]]


def marked_by_tracks(
    table: str | os.PathLike[str],
    reports: Sequence[Report],
    *,
    folder: str | os.PathLike[str] | None = None,
    step: float = STEP,
) -> MarkedActions:
    """What is told in `table` of the tracks in `reports`, in a key frame each `step` seconds.

    The table has the columns `id` and `label`, and maybe `video` (its name; not needed where there
    is one report) and `start` and `end` (default: all of the track). Actions are its labels,
    numbered from 1 on by their alphabet. Whoever is followed in a video that the table names is
    told of: where no line says what a track does it does nothing, and it is learnt from, too.
    Videos are where the reports have them, or of that name in `folder`.

    Raises one DataError with every line that cannot be used: ids that there are not, times that
    mean nothing or at which nobody of that id is there; VideoError for videos that cannot be read.
    """
    path = Path(table)
    if not step > 0:
        raise DataError(f"a key frame each {step:g} s means nothing", do="Give seconds above 0.")
    known = _by_name(reports)
    named: dict[str, FollowedVideo] = {}
    problems = []
    for number, row in table_rows(path, ("id", "label"), COLUMNS):
        try:
            _take(row, known, named)
        except LineError as error:
            problems.append(Problem(f"{path}, line {number}", str(error), error.do))
    refuse(problems)
    told = (one for video in named.values() for own in video.told.values() for one in own)
    actions = dict(enumerate(sorted({one.label for one in told}), 1))
    lost = Counter[str]()
    rows = [row for name, one in named.items() for row in _rows(name, one, actions, step, lost)]
    if not rows:
        raise DataError("no key frame has anybody in it", where=path, do="Take a shorter step.")
    frames, boxes, done, people = zip(*rows, strict=True)
    return MarkedActions(
        ActionBoxes(
            frames,
            np.array(boxes, np.float64),
            np.array(done, np.int64),
            np.ones(len(rows)),
            np.array(people, np.int64),
        ),
        {name: _found(name, one.video, folder) for name, one in named.items()},
        actions,
        path,
        warnings=tuple(f"{what}: {count}" for what, count in lost.items() if count),
    )


def _by_name(reports: Sequence[Report]) -> dict[str, FollowedVideo]:
    """The reports by their videos' names without suffix; DataError where two have one."""
    found: dict[str, FollowedVideo] = {}
    for report in reports:
        name = Path(report.video.path).stem
        if name in found:
            raise DataError(f"two reports are of {name!r}", do="Give one report a video.")
        tracks = {track.id: track for track in report.tracks if track.id is not None}
        found[name] = FollowedVideo(report.video, tracks, {})
    return found


def _take(
    row: Mapping[str, str], known: Mapping[str, FollowedVideo], named: dict[str, FollowedVideo]
) -> None:
    """Put what a line tells to its track in `named`, where its video is from then on."""
    if None in row or None in row.values():
        raise LineError("has more or fewer cells than the header", "quote cells that hold a comma")
    cells = {name: (row.get(name) or "").strip() for name in COLUMNS}
    video = Path(cells["video"])
    alone = list(known)[:1] if len(known) == 1 and not cells["video"] else []
    name = next((name for name in (*alone, video.name, video.stem) if name in known), None)
    if name is None:
        raise LineError(f"no report is of the video {cells['video']!r}", f"known: {listed(known)}")
    if not cells["label"]:
        raise LineError("says nothing of what is done", "name it, or leave the line out")
    followed = known[name]
    id = as_number(cells["id"])
    if id not in followed.tracks:
        ids = listed([str(one) for one in followed.tracks]) or "nobody"
        raise LineError(f"nobody in {name} has the id {cells['id']!r}", f"there are {ids}")
    track = followed.tracks[int(id)]
    start = _seconds(cells["start"], -math.inf, "start")
    end = _seconds(cells["end"], math.inf, "end")
    if not ((start <= track.times) & (track.times < end)).any():
        span = f"{track.times[0]:g} to {track.times[-1]:g} s"
        raise LineError(
            f"from {start:g} to {end:g} s there is no {track.id}",
            f"it is there from {span}; times are seconds on the video's own clock",
        )
    followed.told.setdefault(int(id), []).append(Told(cells["label"], start, end))
    named[name] = followed


def _seconds(cell: str, otherwise: float, name: str) -> float:
    if not cell:
        return otherwise
    seconds = as_number(cell)
    if not 0 <= seconds < math.inf:
        raise LineError(f"the {name} is {cell!r}", "give seconds, such as 12.5")
    return seconds


def _rows(
    name: str,
    followed: FollowedVideo,
    actions: Mapping[int, str],
    step: float,
    lost: Counter[str],
) -> Iterator[tuple[KeyFrame, NDArray[np.float64], int, int]]:
    """Key frame, box in shares of the picture, action and person of everybody, by time.

    `lost` counts what is not told and what is left out.
    """
    size = followed.video.width, followed.video.height
    nothing = len(actions) + 1
    times = np.unique(np.concatenate([track.times for track in followed.tracks.values()]))
    for time in _each(times, step):
        frame = KeyFrame(name, round(1000 * time))
        for id, track in followed.tracks.items():
            for box in track.boxes[track.times == time].astype(np.float64):
                if not visible(box[None], *size).all():
                    lost["boxes with nothing of the picture, left out"] += 1
                    continue
                told = [one for one in followed.told.get(id, ()) if one.start <= time < one.end]
                labels = {one.label for one in told}
                does = [number for number, label in actions.items() if label in labels]
                lost["boxes of which no action is told, learnt as none"] += not does
                for action in does or [nothing]:
                    yield frame, inside(box, *size) / np.tile(size, 2), action, id


def _each(times: NDArray[np.float64], step: float) -> Iterator[float]:
    """Of ascending times the first, and then each that is a step or more after the last taken."""
    after = -math.inf
    for time in times.tolist():
        if time >= after:
            yield time
            after = time + step - 1e-6  # so that rounded times do not skip a frame


def _found(name: str, video: Video, folder: str | os.PathLike[str] | None) -> Video:
    if folder is not None:
        return VideoFinder(Path(folder))(name)
    with open_video(video.path, threads=1) as reader:
        return reader.video
