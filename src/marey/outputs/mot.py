"""Tracks as MOT's text, which trackers' evaluations read: a line a box, without a head.

motchallenge.net: `frame,id,left,top,width,height,score,-1,-1,-1`, in order of frames, which count
from 1, as ids do; without a tracker the id is -1.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TextIO

import numpy as np

from marey.types import Report
from marey.video.numbers import Numbers
from marey.video.read import open_video

NO_ID = -1
Line = tuple[int, int, float, float, float, float, float]


def write_mot(reports: Iterable[Report], file: TextIO) -> None:
    """The boxes of the one report there is, also those between looks."""
    (report,) = reports
    for frame, id, left, top, width, height, score in mot_rows(report):
        box = f"{left:.2f},{top:.2f},{width:.2f},{height:.2f}"
        file.write(f"{frame},{id},{box},{score:.4f},-1,-1,-1\n")


def mot_rows(report: Report) -> Iterator[Line]:
    """Frame, id, left, top, width, height and score of every box, in order of frames."""
    if not report.tracks:
        return
    numbers, tracks = frame_numbers(report), report.tracks
    frames = np.concatenate([[numbers[time] for time in t.times.tolist()] for t in tracks])
    ids = np.repeat(
        [NO_ID if t.id is None else t.id for t in tracks], [len(t.times) for t in tracks]
    )
    boxes = np.concatenate([t.boxes for t in tracks])
    scores = np.concatenate([t.scores for t in tracks])
    for k in np.lexsort((ids, frames)).tolist():
        x1, y1, x2, y2 = boxes[k].tolist()
        yield int(frames[k]), int(ids[k]), x1, y1, x2 - x1, y2 - y1, float(scores[k])


def frame_numbers(report: Report) -> dict[float, int]:
    """The number of the frame at each time that a box has.

    Where frames do not come at one rate the video tells, which is decoded once more; VideoError if
    it is gone.
    """
    times = sorted({time for track in report.tracks for time in track.times.tolist()})
    numbers = Numbers(report.video)
    if (found := numbers.all(times)) is not None:
        return dict(zip(times, found, strict=True))
    with open_video(report.video.path) as reader:
        shown = (float(frame.time) for frame in reader.frames(size=(16, 16)))
        return {time: numbers.next(time) for time in shown}


def unwritten(report: Report) -> list[str]:
    """What MOT's text does not hold of a report, in words."""
    labels = list(dict.fromkeys(track.label for track in report.tracks))
    if not labels:
        return ["there were no tracks to write"]
    return [f"the labels are not in it: {', '.join(labels)}"] if len(labels) > 1 else []
