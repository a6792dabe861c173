"""Tracks and the shots of their video: nobody is followed from one shot to the next."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from marey.types import Event, Track


def split_at(
    tracks: Sequence[Track], events: Sequence[Event], cuts: Sequence[float]
) -> tuple[tuple[Track, ...], tuple[Event, ...]]:
    """The tracks, none of which goes on over one of `cuts` (seconds, increasing), and the events.

    What is behind a cut has a new id, and no box there that nobody saw lies next to the cut. Events
    go to the part of their actor that is there in their middle.
    """
    fresh = count(1 + max((track.id or 0 for track in tracks), default=0))
    parts: list[Track] = []
    ids: dict[tuple[int, int], int] = {}  # by the old id and the number of the shot
    for track in tracks:
        if track.id is None:
            parts.append(track)
            continue
        shots = np.searchsorted(cuts, track.times, side="right")
        if shots[0] == shots[-1]:
            parts.append(track)
            continue
        for place, shot in enumerate(np.unique(shots)):
            known = np.flatnonzero((shots == shot) & track.seen)
            if len(known):
                ids[track.id, int(shot)] = new = track.id if place == 0 else next(fresh)
                part = track.only(slice(known[0], known[-1] + 1))
                parts.append(replace(part, id=new))
    moved = []
    for event in events:
        shot = bisect_right(cuts, (event.start + event.end) / 2)
        actor = None if event.actor is None else ids.get((event.actor, shot), event.actor)
        moved.append(replace(event, actor=actor))
    return tuple(parts), tuple(moved)
