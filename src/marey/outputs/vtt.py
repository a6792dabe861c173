"""Events and tracks as WebVTT: players show each while it lasts.

W3C, "WebVTT: The Web Video Text Tracks Format". A cue an event or a track, in order of their
starts; cues may overlap, and are then shown together. Times are from the first frame on, as players
count, not by the container's clock.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from html import escape
from typing import TextIO

from marey.types import Event, Report, Track


def write_vtt(reports: Iterable[Report], file: TextIO) -> None:
    """The events and tracks of the one report there is; a track without an id is none."""
    (report,) = reports
    file.write("WEBVTT\n")
    cues = [_of_event(event) for event in report.events]
    cues += [_of_track(track) for track in report.tracks if track.id is not None]
    for cue in sorted(cues, key=lambda cue: cue.start):
        file.write(f"\n{_cue(cue, report.video.start)}\n")


def _of_event(event: Event) -> Event:
    """With its actor's id, as tracks have theirs."""
    return event if event.actor is None else replace(event, label=f"{event.label} {event.actor}")


def _of_track(track: Track) -> Event:
    """That it is in the picture, and how sure that is on the whole."""
    start, end = float(track.times[0]), float(track.times[-1])
    return Event(f"{track.label} {track.id}", start, end, float(track.scores.mean()))


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
