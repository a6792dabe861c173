"""Events as WebVTT: players show each while it lasts.

W3C, "WebVTT: The Web Video Text Tracks Format". A cue an event, in order of their starts; cues may
overlap, and are then shown together. Times are from the first frame on, as players count, not by
the container's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import TextIO

from marey.types import Event, Report


def write_vtt(reports: Iterable[Report], file: TextIO) -> None:
    """The events of the one report there is."""
    (report,) = reports
    file.write("WEBVTT\n")
    for event in sorted(report.events, key=lambda event: event.start):
        file.write(f"\n{_cue(event, report.video.start)}\n")


def _cue(event: Event, zero: float) -> str:
    """The times and the text, without blank lines; what could be taken for markup is escaped."""
    start = max(0, round(1000 * (event.start - zero)))
    end = max(start + 1, round(1000 * (event.end - zero)))  # an empty cue is an error
    label = escape(" ".join(event.label.split()), quote=False)
    return f"{_clock(start)} --> {_clock(end)}\n{label} {event.score:.2f}"


def _clock(milliseconds: int) -> str:
    """00:00:07.500; hours have as many digits as they need, but two at least."""
    seconds, rest = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes // 60:02}:{minutes % 60:02}:{seconds:02}.{rest:03}"
