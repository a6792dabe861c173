"""One of the sources that are watched: what is seen of it becomes moments."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from marey.errors import MareyError
from marey.tasks._live_feed import Feed
from marey.tasks._live_moment import Counts, Happened, Moment
from marey.tasks._live_tray import Waiting
from marey.tasks._seen import rank
from marey.tasks.events import Finder
from marey.types import Event, Scores
from marey.video.clock import Clock

_SEEN = ("start", "end", "time", "lag", "top")  # of a moment, what the network saw


class Watched:
    """One source: its feed, its events, and what was said of it."""

    def __init__(
        self, feed: Feed, finder: Finder, labels: Sequence[str], top: int, clock: Clock
    ) -> None:
        self.feed, self.over = feed, False
        self.error: MareyError | None = None
        self._clips = feed.clips(self._clip_name)
        self._finder, self._labels, self._top, self._clock = finder, labels, top, clock
        self._dropped = 0
        self._last: Moment | None = None

    def moment(self, scores: Scores, newest: Waiting) -> Moment:
        ended = self._finder.feed(scores)
        clip = newest.clip
        self._last = self._say(
            ended,
            [],
            start=scores.window.start,
            end=scores.window.end,
            time=float(clip.times[-1]),
            lag=self._clock.now() - newest.due,
            top=rank(scores.p, self._labels, self._top),
        )
        return self._last

    def gap(self) -> Iterator[Moment]:
        """The source is away: events do not go on over that."""
        ended, cut = self._finder.close()
        if ended or cut:
            yield self._unseen(ended, cut)

    def last_moment(self, error: BaseException | None = None, *, asked: bool = False) -> Moment:
        """With all that is left to say; an error that is not the source's is raised.

        Events under way end with the video; a loss, or a person who has `asked`, cuts them off.
        """
        self.over = True
        if error is not None and not isinstance(error, MareyError):
            raise error
        self.error = error
        self.feed.join()
        self.feed.tray.close()
        ended, cut = self._finder.close()
        if not asked and error is None:
            ended, cut = [*ended, *cut], []
        last = self._unseen(ended, cut, over=True, error=error)
        self.close()
        return last

    def close(self) -> None:
        if self._clips:
            self._clips.close()

    def _clip_name(self, event: Event) -> str:
        """The source, what happened, and when: by the calendar, or in a file."""
        source, at = self.feed.source, self._at(event)
        name = Path(source.name).stem if source.kind == "file" else source.name
        name = name.rpartition("://")[2].rpartition("@")[2]
        when = f"{event.start:.2f}s" if at is None else at.replace(":", "").replace("-", "")
        return f"{name}_{event.label}_{when}"

    def _unseen(self, ended: Sequence[Event], cut: Sequence[Event], **more: Any) -> Moment:
        """A moment with nothing new to see."""
        if self._last is not None:
            more |= {name: getattr(self._last, name) for name in _SEEN}
        return self._say(ended, cut, **(dict.fromkeys(_SEEN, 0.0) | {"top": ()} | more))

    def _say(self, ended: Sequence[Event], cut: Sequence[Event], **seen: Any) -> Moment:
        under_way = self._finder.under_way()
        happened = (*ended, *cut)
        paths = self._clips.follow(happened, under_way) if self._clips else {}
        tray, reader = self.feed.tray, self.feed.reader
        dropped = tray.dropped + reader.discarded
        before, self._dropped = self._dropped, dropped
        return Moment(
            source=self.feed.source.name,
            fps=reader.fps,
            dropped=dropped - before,
            under_way=tuple(under_way),
            events=tuple(self._happened(event, event in cut, paths) for event in happened),
            counts=Counts(reader.read, tray.used, dropped, tray.skipped, reader.reconnects),
            notes=self.feed.notes(),
            **seen,
        )

    def _happened(self, event: Event, cut: bool, paths: Mapping[Event, Path]) -> Happened:
        clip = str(paths[event]) if event in paths else None
        return Happened(**asdict(event), cut=cut, at=self._at(event), clip=clip)

    def _at(self, event: Event) -> str | None:
        if self.feed.source.kind == "file":
            return None
        ago = self._clock.now() - self.feed.reader.due(event.start)
        start = datetime.fromtimestamp(self._clock.wall() - ago, UTC)
        return start.isoformat(timespec="milliseconds").replace("+00:00", "Z")
