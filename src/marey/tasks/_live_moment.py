"""What a person is told of a live source, moment by moment."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from marey.errors import MareyError
from marey.types import Event, Score


@dataclass(frozen=True, slots=True)
class Happened(Event):
    """An event that has ended, or that the end of what was seen has `cut` off.

    `at` is when it started by the calendar (ISO 8601, UTC), None for a file; `clip` the file in
    which the video around it is kept, whole some seconds later.
    """

    cut: bool = False
    at: str | None = None
    clip: str | None = None


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of a source's frames since the beginning, and how often it was away.

    Of the frames `read`, those `used` were looked at; those `dropped` came too fast, or so late
    that they were not even decoded, or before a window was whole; the network asked for no others.
    `skipped` counts clips that were not looked at, whose frames may have been in others.
    """

    read: int
    used: int
    dropped: int
    skipped: int
    reconnects: int


@dataclass(frozen=True, slots=True)
class Moment:
    """What is seen of a source at a moment, and what has happened since the moment before.

    `start` to `end` is the time of the frames looked at, in seconds on the source's clock, `time`
    that of the newest of them, `lag` the seconds from when that was due here until now. `fps` is
    the source's measured frame rate. `dropped` counts frames since the last moment. `top` are the
    best labels, `under_way` the events that have begun, `events` those that have ended. `notes`
    tell what was out of the ordinary.

    The last moment of a source is `over`, with its `error`, if that is what ended it; it repeats
    the scores of the one before, or has none.
    """

    source: str
    start: float
    end: float
    time: float
    lag: float
    fps: float | None
    dropped: int
    top: tuple[Score, ...]
    under_way: tuple[Event, ...]
    events: tuple[Happened, ...]
    counts: Counts
    notes: tuple[str, ...] = ()
    over: bool = False
    error: MareyError | None = None

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `docs/live.md` says what is what."""
        return asdict(self) | {"error": None if self.error is None else str(self.error)}
