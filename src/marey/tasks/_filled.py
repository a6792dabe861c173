"""Ids for what was seen, as whole tracks: from where they began, without gaps, and steady.

A frame waits until nothing that is still to come can change it: as long as a thing may be out of
sight and still be the same one.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from marey.boxes import NOTHING, Detections, box_iou
from marey.tasks._followed import Followed
from marey.tasks._trail import Trail
from marey.types import Frame, Image

NOBODY = -1
_GREW = 3  # looks that a tracker may take to believe in a track
_SAME = 0.3  # IoU of a thing with itself, one look before


class Look(NamedTuple):
    """A frame, and what the detector found in it; None where it did not look."""

    frame: Frame
    found: Detections | None


class Identify(Protocol):
    """What tells which detections are the same thing: `tasks/_trackers.py`."""

    def __call__(self, time: float, found: Detections, image: Image) -> NDArray[np.int64]: ...

    def forget(self) -> None: ...


@dataclass(slots=True)
class _Moment:
    """A frame that waits; the ids in it, and whether each was seen; detections without an id."""

    look: Look
    time: float
    ids: dict[int, bool] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)

    @property
    def found(self) -> Detections:
        return self.look.found or NOTHING


class Filler:
    """Gives every frame with its boxes, `patience` seconds after it came.

    A track begins at the detections that it grew out of, before the tracker believed in it. Where
    it is not seen for at most `patience` its boxes lie between those before and after; later it is
    another track. Boxes are smoothed over `smooth` seconds before and after. Cuts, and stretches
    longer than `patience` without a frame, end all. `lose` is told how many detections with a score
    of at least `sure` no track was made of.
    """

    def __init__(
        self,
        identify: Identify,
        *,
        patience: float,
        smooth: float = 0.0,
        cuts: Sequence[float] = (),
        sure: float = 0.0,
        lose: Callable[[str, int], None] = lambda what, count: None,
    ) -> None:
        self._identify, self._patience, self._smooth = identify, patience, smooth
        self._cuts, self._sure, self._lose = deque(sorted(cuts)), sure, lose
        self._held: deque[_Moment] = deque()
        self._ids: dict[int, int] = {}  # the tracker's to ours
        self._trails: dict[int, Trail] = {}
        self._count = 0

    def __call__(self, looks: Iterable[Look]) -> Generator[Followed]:
        before: float | None = None
        for look in looks:
            now = float(look.frame.time)
            if before is not None and (self._cut(now) or now - before > self._patience):
                yield from self._end()
            before = now
            self._held.append(_Moment(look, now))
            if look.found is None:
                continue
            self._look(self._held[-1])
            while now - self._held[0].time >= self._patience:
                yield self._out()
        yield from self._end()

    def _cut(self, now: float) -> bool:
        passed = False
        while self._cuts and self._cuts[0] <= now:
            self._cuts.popleft()
            passed = True
        return passed

    def _look(self, moment: _Moment) -> None:
        self._ids = {
            raw: id
            for raw, id in self._ids.items()
            if id in self._trails and moment.time - self._trails[id].end <= self._patience
        }
        told = self._identify(moment.time, moment.found, moment.look.frame.image)
        moment.free = np.flatnonzero(told < 0).tolist()
        for place in np.flatnonzero(told >= 0).tolist():
            raw = int(told[place])
            if raw not in self._ids:
                self._count += 1
                self._ids[raw] = self._count
            id = self._ids[raw]
            for earlier, grown in [*self._grown_from(moment, place, id), (moment, place)]:
                self._see(id, earlier, grown)

    def _see(self, id: int, moment: _Moment, place: int) -> None:
        """`id` is in this moment, and in all since it was seen before."""
        found = moment.found
        if id not in self._trails:
            self._trails[id] = Trail(found.labels[place])
        else:
            last = self._trails[id].end
            for between in self._held:
                if last < between.time < moment.time:
                    between.ids[id] = False
        moment.ids[id] = True
        self._trails[id].add(moment.time, found.boxes[place], float(found.scores[place]))

    def _grown_from(self, moment: _Moment, place: int, id: int) -> list[tuple[_Moment, int]]:
        """The detections, in the looks just before, that a track grew out of; in order.

        A tracker takes some looks to believe in a new track, and some in an old one again.
        """
        grown: list[tuple[_Moment, int]] = []
        box, label = moment.found.boxes[place], moment.found.labels[place]
        since = self._trails[id].end if id in self._trails else -math.inf
        looks = (each for each in reversed(self._held) if each.look.found is not None)
        for earlier in islice(looks, 1, 1 + _GREW):
            if earlier.time <= since:
                break
            free = [k for k in earlier.free if earlier.found.labels[k] == label]
            overlap = box_iou(box[None], earlier.found.boxes[free])[0]
            if not (overlap >= _SAME).any():
                break
            best = free[int(overlap.argmax())]
            earlier.free.remove(best)
            grown.append((earlier, best))
            box = earlier.found.boxes[best]
        return grown[::-1]

    def _end(self) -> Generator[Followed]:
        """All that waits; what comes is new."""
        self._ids.clear()
        self._identify.forget()
        while self._held:
            yield self._out()
        self._trails.clear()

    def _out(self) -> Followed:
        moment = self._held.popleft()
        if lost := int((moment.found.scores[moment.free] >= self._sure).sum()):
            self._lose("detections that belong to no track", lost)
        # A track is in all frames from its first to its last, so the next one tells.
        later = self._held[0].ids if self._held else {}
        followed = self._followed(moment, tuple(sorted(id for id in moment.ids if id not in later)))
        for id in followed.ended:
            del self._trails[id]
        return followed

    def _followed(self, moment: _Moment, ended: tuple[int, ...]) -> Followed:
        ids = sorted(moment.ids)
        trails = [self._trails[id] for id in ids]
        boxes = [trail.at(moment.time, self._smooth, self._patience) for trail in trails]
        return Followed(
            frame=moment.look.frame,
            ids=np.array(ids, np.int64),
            labels=tuple(trail.label for trail in trails),
            boxes=np.array([box for box, _ in boxes], np.float32).reshape(-1, 4),
            scores=np.array([score for _, score in boxes], np.float32),
            seen=np.array([moment.ids[id] for id in ids], np.bool_),
            ended=ended,
        )


def unfollowed(looks: Iterable[Look]) -> Generator[Followed]:
    """Every frame as it comes, with what was found in it, which nothing follows."""
    for look in looks:
        found = look.found or NOTHING
        count = len(found)
        yield Followed(
            frame=look.frame,
            ids=np.full(count, NOBODY, np.int64),
            labels=found.labels,
            boxes=found.boxes,
            scores=found.scores,
            seen=np.ones(count, np.bool_),
        )
