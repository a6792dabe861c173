"""Cameras, streams and files, live: what is seen, and the events in it as they happen."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from threading import Condition
from threading import Event as Signal

from marey.runtime import Runtime
from marey.runtime.live import compile_live
from marey.tasks._live_clips import SaveClips
from marey.tasks._live_feed import Feed
from marey.tasks._live_moment import Counts, Happened, Moment
from marey.tasks._live_score import LiveScorer, Stepping, Stream, Windows
from marey.tasks._live_tray import Gap, Over, Policy, Waiting
from marey.tasks._live_watched import Watched
from marey.tasks._seen import labels_of
from marey.tasks.classify import DEFAULT_MODEL
from marey.tasks.events import Finder, Rules
from marey.video.clock import Clock
from marey.video.limits import Limits
from marey.video.live import Manner
from marey.video.sources import Source, find_source

__all__ = ["Counts", "Happened", "Moment", "SaveClips", "watch"]

_POLL = 0.1  # seconds until one who waits looks whether the wish to watch has ended

Told = Callable[[str, str], None]
"""Called with a source's name and what a person should know of it; by any thread."""


Given = str | int | os.PathLike[str]


def watch(
    source: Given | Sequence[Given],
    model: str | Runtime | Stepping = DEFAULT_MODEL,
    *,
    policy: Policy | None = None,
    fast: bool = False,
    windows: bool = False,
    step: float | None = None,
    average: float | None = None,
    top: int = 3,
    threshold: float = 0.5,
    thresholds: Mapping[str, float] | None = None,
    leave: float | None = None,
    gap: float = 0.0,
    shortest: float = 0.0,
    background: Collection[str] | None = None,
    clips: SaveClips | None = None,
    seconds: float | None = None,
    patience: float = 300.0,
    limits: Limits | None = None,
    tell: Told | None = None,
    stop: Signal | None = None,
    clock: Clock | None = None,
) -> Generator[Moment]:
    """What happens in a camera (0, `/dev/video0`), a stream (`rtsp://`, `http(s)://`) or a file.

    Several sources share the network. Each is read by a thread of its own, whatever becomes of the
    moments; what waits for the network is bounded, and `policy` says what happens when that is not
    enough: `latest` looks at the newest, `drop` leaves out what comes, `all` holds the source up,
    which only a file allows. A file is played in real time, or `fast`, at any speed, and then by
    default with `all`.

    A network that looks back only, given by its name, gets frame by frame and keeps a state for
    each source; an answer comes every `step` seconds, by default four in the time of its clip, and
    never more than one a frame. All others, and these with `windows`, look at windows as long as
    the clip; one follows `step` seconds after another, by default a quarter of it. `average`
    averages logits over so many seconds: by default over a clip's frames where their mean is the
    network's answer to the clip, and else not at all. `threshold` to `background`
    make events of the scores as in `detect`, but for its suppression, which looks ahead. `clips`
    keeps the video around them. A network that was made ready is taken as it is: by `marey.compile`
    for windows, by `marey.compile_stream` frame by frame.

    The generator ends with the sources, after `seconds`, or when `stop` is set: what is under way
    then is told as cut off. Closing it ends all without a word. A stream or camera that goes away
    is looked for during `patience` seconds, as `tell` and the moments' notes say. What cannot be is
    raised at once: VideoError for an address, ModelError, WeightsError. A source that fails ends
    with an error in its last moment, the others go on, and at last that error is raised.
    """
    given = [source] if isinstance(source, str | int | os.PathLike) else list(source)
    sources = _named_apart([find_source(each) for each in given])
    if not sources:
        raise ValueError("there is nothing to watch")
    runtime = compile_live(model, windows=windows) if isinstance(model, str) else model
    rules = Rules.of(
        labels_of(runtime),
        threshold=threshold,
        thresholds=thresholds,
        leave=leave,
        gap=gap,
        shortest=shortest,
        background=background,
    )
    watching = _Watching(_scorer(runtime, step, average), rules, top, tell, stop, clock or Clock())
    for each in sources:
        chosen = policy or ("all" if fast and each.kind == "file" else "latest")
        manner = Manner(fast, chosen != "all", patience, limits or Limits())
        watching.add(each, chosen, manner, clips)
    return watching.moments(seconds)


def _scorer(runtime: Runtime | Stepping, step: float | None, average: float | None) -> LiveScorer:
    if isinstance(runtime, Stepping):
        return Stream(runtime, step=step, average=average)
    return Windows(runtime, step=step, average=average)


def _named_apart(sources: Sequence[Source]) -> list[Source]:
    """The sources, with other names for those that are given twice."""
    found: Counter[str] = Counter()
    named = []
    for source in sources:
        found[source.name] += 1
        again = found[source.name]
        named.append(replace(source, name=f"{source.name} #{again}") if again > 1 else source)
    return named


class _Watching:
    """Turns over all sources, by the one thread that runs the network."""

    def __init__(
        self,
        scorer: LiveScorer,
        rules: Rules,
        top: int,
        tell: Told | None,
        stop: Signal | None,
        clock: Clock,
    ) -> None:
        self._scorer, self._rules, self._top = scorer, rules, top
        self._tell, self._clock = tell or (lambda name, words: None), clock
        self._asked, self._stop = stop, Signal()
        self._ready = Condition()
        self._watched: list[Watched] = []

    def add(self, source: Source, policy: Policy, manner: Manner, save: SaveClips | None) -> None:
        feed = Feed(
            source,
            self._scorer,
            policy=policy,
            manner=manner,
            clock=self._clock,
            stop=self._stop,
            ready=self._ready,
            tell=self._tell,
            save=save,
        )
        finder = Finder(self._rules)
        self._watched.append(Watched(feed, finder, self._rules.labels, self._top, self._clock))

    def moments(self, seconds: float | None) -> Generator[Moment]:
        end = None if seconds is None else self._clock.now() + seconds
        try:
            for watched in self._watched:
                watched.feed.start()
            while not self._enough(end):
                yield from self._turn()
            self._stop.set()
            for watched in self._watched:
                if not watched.over:
                    watched.feed.join()
                    yield watched.last_moment(asked=True)
        finally:
            self._stop.set()
            for watched in self._watched:
                watched.feed.join()
                watched.close()
        for watched in self._watched:
            if watched.error:
                raise watched.error

    def _enough(self, end: float | None) -> bool:
        """Wait until there is something to do; whether there is nothing more."""
        with self._ready:
            while not any(watched.feed.tray.waiting for watched in self._watched):
                if all(watched.over for watched in self._watched) or self._ended(end):
                    return True
                self._ready.wait(_POLL)
        return self._ended(end)

    def _ended(self, end: float | None) -> bool:
        asked = self._asked is not None and self._asked.is_set()
        return asked or (end is not None and self._clock.now() >= end)

    def _turn(self) -> Iterator[Moment]:
        """Whatever is ready of each source, its clips looked at together."""
        taken: dict[int, list[Waiting]] = {}
        for number, watched in enumerate(self._watched):
            found = watched.feed.tray.take(self._scorer.at_once)
            if isinstance(found, Gap):
                self._scorer.forget(number)
                yield from watched.gap()
            elif isinstance(found, Over):
                last = watched.last_moment(found.error)
                if last.error and not all(each.over for each in self._watched):
                    self._tell(last.source, f"given up: {last.error.what}")
                yield last
            elif found:
                taken[number] = found
        if taken:
            clips = {n: [waiting.clip for waiting in found] for n, found in taken.items()}
            for number, scored in self._scorer.score(clips).items():
                for scores in scored:
                    yield self._watched[number].moment(scores, taken[number][-1])
