"""A source read by a thread of its own, which makes its clips and puts them on its tray."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from threading import Condition, Thread
from threading import Event as Signal

from marey.tasks._live_clips import Clips, SaveClips
from marey.tasks._live_score import LiveScorer
from marey.tasks._live_tray import Policy, Tray
from marey.types import Event
from marey.video.clips import clips
from marey.video.clock import Clock
from marey.video.live import LiveReader, Manner
from marey.video.record import Recorder
from marey.video.sources import Source
from marey.video.windows import window_length

_PATIENCE = 16  # times as many clips as usual may wait where all are wanted and none can be held up
_SLOW = 10  # frames a second of a slow camera, whose windows are long
_BEHIND = 10.0  # seconds after which, besides windows, the beginning of an event is known
_NOTES = 100  # kept for who does not fetch them
_GOODBYE = 1.0  # seconds that a thread may take to end: one that waits for the network takes longer


class Feed:
    """The reader and the tray of one source; `tell` gets what a person should know, in words."""

    def __init__(
        self,
        source: Source,
        scorer: LiveScorer,
        *,
        policy: Policy,
        manner: Manner,
        clock: Clock,
        stop: Signal,
        ready: Condition,
        tell: Callable[[str, str], None],
        save: SaveClips | None = None,
    ) -> None:
        self.source = source
        self._scorer, self._tell, self._stop = scorer, tell, stop
        self._notes: deque[str] = deque(maxlen=_NOTES)
        self._recorder: Recorder | None = None
        self._save = save
        if save:
            seconds = save.before + 2 * window_length(scorer.input, _SLOW) + _BEHIND
            self._recorder = Recorder(Path(save.folder), seconds, tell=self.say)
        waits = source.kind == "file"
        most = scorer.at_once * (1 if policy != "all" else 2 if waits else _PATIENCE)
        self.tray = Tray(policy, most, ready, stop, waits=waits)
        self.reader = LiveReader(
            source,
            scorer.input.size,
            manner=manner,
            clock=clock,
            stop=stop,
            tell=self.say,
            gap=self.tray.gap,
            tap=self._recorder,
        )
        self._waited_for = False
        self._thread = Thread(target=self._run, name=f"reads {source.name}", daemon=True)

    def clips(self, name: Callable[[Event], str]) -> Clips | None:
        """What keeps the video around events, if that is wanted."""
        if self._recorder is None or self._save is None:
            return None
        return Clips(self._recorder, self._save, name)

    def start(self) -> None:
        self._thread.start()

    def join(self) -> None:
        """Wait for the thread, which `stop` or the end of the source ends.

        Not for long: what waits for the network in vain ends by itself when that times out.
        """
        if self._thread.ident is not None and not self._waited_for:
            self._thread.join(_GOODBYE)
            self._waited_for = True

    def say(self, words: str) -> None:
        self._notes.append(words)
        self._tell(self.source.name, words)

    def notes(self) -> tuple[str, ...]:
        """What was said since this was last asked."""
        said = []
        while self._notes:
            said.append(self._notes.popleft())
        return tuple(said)

    def _run(self) -> None:
        for _ in self.turns():
            pass

    def turns(self) -> Iterator[None]:
        """Read the source; a turn ends with each clip that was made."""
        error: BaseException | None = None
        prepare = self._scorer.input
        try:
            with closing(self.reader.stretches()) as stretches:
                for stretch in stretches:
                    plan = self._scorer.plan(stretch.video)
                    for clip in clips(
                        stretch, plan, size=prepare.resize, interpolation=prepare.interpolation
                    ):
                        if not stretch.complete(clip.window):
                            self.tray.leave_out(clip)
                            continue
                        self.tray.put(clip, self.reader.due(float(clip.times[-1])))
                        yield
                    cut_short = self.reader.broken or self._stop.is_set()
                    if self.source.kind == "file" and not cut_short:
                        for words in stretch.lost():
                            self.say(words)
        except Exception as caught:  # raised where the clips are used
            error = caught
        self.tray.end(error)
