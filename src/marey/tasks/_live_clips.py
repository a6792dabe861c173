"""Which video to keep: that around each event, begun while the event lasts."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from marey.types import Event
from marey.video.record import Recorder


@dataclass(frozen=True, slots=True)
class SaveClips:
    """Write the video from `before` seconds before each event until `after` it into `folder`."""

    folder: str | Path
    before: float = 5.0
    after: float = 5.0

    def __post_init__(self) -> None:
        if min(self.before, self.after) < 0:
            raise ValueError(f"before and after must not be negative, got {self}")


class Clips:
    """The clips of one source's events; `name` gives an event's clip its name."""

    def __init__(self, recorder: Recorder, save: SaveClips, name: Callable[[Event], str]) -> None:
        self._recorder, self._save, self._name = recorder, save, name
        self._begun: dict[tuple[str, float], Path | None] = {}  # by label and start

    def follow(self, ended: Iterable[Event], under_way: Iterable[Event]) -> dict[Event, Path]:
        """Begin and end clips; the paths that those of the `ended` events will have."""
        paths: dict[Event, Path] = {}
        for event in ended:
            path = self._begin(event)
            del self._begun[event.label, event.start]
            if path is not None:
                self._recorder.end(path, event.end + self._save.after)
                paths[event] = path
        wanted = {(event.label, event.start): event for event in under_way}
        for key in [key for key in self._begun if key not in wanted]:
            path = self._begun.pop(key)
            if path is not None:
                self._recorder.cancel(path)
        for event in wanted.values():
            self._begin(event)
        return paths

    def _begin(self, event: Event) -> Path | None:
        key = event.label, event.start
        if key not in self._begun:
            start = event.start - self._save.before
            self._begun[key] = self._recorder.begin(self._name(event), start)
        return self._begun[key]

    def close(self) -> None:
        """Clips end with what there is."""
        self._recorder.close()
