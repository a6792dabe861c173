"""Things that are followed frame by frame, as whole tracks."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

import numpy as np

from marey.tasks._filled import NOBODY
from marey.tasks._followed import Followed
from marey.types import Track


class _Growing:
    """A track that is not whole yet: 29 bytes a box."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.times, self.boxes = array("d"), array("f")
        self.scores, self.seen = array("f"), array("b")

    def add(self, time: float, box: Iterable[float], score: float, seen: bool) -> None:
        self.times.append(time)
        self.boxes.extend(box)
        self.scores.append(score)
        self.seen.append(seen)

    def whole(self, id: int) -> Track:
        return Track(
            id=None if id == NOBODY else id,
            label=self.label,
            times=np.array(self.times, np.float64),
            boxes=np.array(self.boxes, np.float32).reshape(-1, 4),
            scores=np.array(self.scores, np.float32),
            seen=np.array(self.seen, np.bool_),
        )


def collect(found: Iterable[Followed]) -> tuple[Track, ...]:
    """The tracks in frames that follow each other, by id; things without one by their label.

    No image is kept: an hour of ten people, at 25 frames a second, takes 26 MB.
    """
    growing: dict[tuple[int, str], _Growing] = {}
    for moment in found:
        time = float(moment.frame.time)
        for id, label, box, score, seen in zip(
            moment.ids.tolist(),
            moment.labels,
            moment.boxes.tolist(),
            moment.scores.tolist(),
            moment.seen.tolist(),
            strict=True,
        ):
            key = id, label
            if key not in growing:
                growing[key] = _Growing(label)
            growing[key].add(time, box, score, seen)
    return tuple(growing.pop(key).whole(key[0]) for key in sorted(growing))
