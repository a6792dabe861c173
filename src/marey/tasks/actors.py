"""Who does what: what is followed through a video goes by, and what each of it does is found.

    acting = Acting(runtime, video, threshold=0.5)
    for followed in acting(follow(reader)): ...
    acting.events, acting.warnings()

One decoding, one detection: frames pass through unchanged, at once, in order. Windows are those of
the video, as `marey detect` lays them out, and of each window the network is asked once for every
actor in it, several at a time. What it says of an actor is a curve a label, as of a video, and the
events in it have the actor's id.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from marey.boxes import inside, visible
from marey.runtime import Runtime
from marey.tasks._actor_looks import Alone, Boxes, JudgesBoxes, Together
from marey.tasks._followed import Followed
from marey.tasks._seen import labels_of
from marey.tasks._spent import Spent
from marey.tasks.classify import sigmoid, softmax
from marey.tasks.events import Finder, Rules, suppress
from marey.types import Event, Frame, Scores, Video, Window
from marey.video.clips import Gathered, Schedule
from marey.video.tubes import SMOOTH, RecentBoxes
from marey.video.windows import pick, window_length, windows

Heard = Callable[[int, Scores], None]
"""Is told what the network says of an actor, window by window."""


@dataclass(slots=True)
class Actor:
    """Somebody who is followed: since when, until when, and what is known of them so far."""

    first: float
    until: float
    finder: Finder
    where: RecentBoxes = field(default_factory=RecentBoxes)
    events: list[Event] = field(default_factory=list)
    judged: Window | None = None  # the last window


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A frame that `moments` moments of windows show, until its boxes can be smoothed."""

    frame: Frame
    who: tuple[int, ...]
    moments: int


class Acting:
    """Finds the actions of what is followed through one `video`: call it once, on all of it.

    `runtime` is what `marey.runtime.roi.compile_actions` makes. A network of clips sees each actor
    alone: the tube, smoothed over `SMOOTH` seconds to either side and padded (`video/tubes.py`), at
    the network's size. One of boxes in clips sees the whole picture, once for all actors.

    Windows are as long as the network's clip, each `step` seconds (by default half a window) after
    the one before. An actor is judged in those that show it in half of their frames or more (of
    boxes: in the middle one), and the window counts as far as the actor is there. `threshold`,
    `thresholds`, `leave`, `gap`, `shortest` and `background` make events of that as `detect` does;
    where classes exclude each other, of two events of an actor that overlap by more than `overlap`
    (tIoU) the surer is kept. `only` are the labels of what can act; None: whatever is followed.

    `heard` is told all scores. Held are the crops of actors (or the scaled pictures) in the windows
    that overlap the present, whole frames for `SMOOTH` seconds, and of actors that are gone their
    events. Raises ModelError, and ValueError, as `Rules.of` does.
    """

    def __init__(
        self,
        runtime: Runtime | JudgesBoxes,
        video: Video,
        *,
        threshold: float = 0.5,
        thresholds: Mapping[str, float] | None = None,
        leave: float | None = None,
        gap: float = 0.0,
        shortest: float = 0.0,
        background: Collection[str] | None = None,
        overlap: float = 0.5,
        step: float | None = None,
        only: Collection[str] | None = None,
        heard: Heard | None = None,
        spent: Spent | None = None,
    ) -> None:
        self._rules = Rules.of(
            labels_of(runtime),
            threshold=threshold,
            thresholds=thresholds,
            leave=leave,
            gap=gap,
            shortest=shortest,
            background=background,
        )
        self._runtime, self._video, self._overlap = runtime, video, overlap
        self._only, self._heard, self._spent = only, heard, spent or Spent()
        self._look: Any = Together(runtime) if isinstance(runtime, JudgesBoxes) else Alone(runtime)
        self._read = sigmoid if runtime.multilabel else softmax
        length = window_length(runtime.input, video.fps)
        duration = math.inf if video.duration is None else video.duration
        spans = windows(duration, length, step or length / 2, start=video.start)
        plan = ((span, pick(span, runtime.input, video.fps)) for span in spans)
        self._schedule: Schedule[Any] = Schedule(plan)
        self._moments = iter(self._schedule)
        self._next = next(self._moments, math.inf)
        self._actors: dict[int, Actor] = {}
        self._ended: set[int] = set()
        self._waiting: deque[_Wanted] = deque()
        self._last: tuple[Frame, tuple[int, ...]] | None = None
        self._step = 0.0  # seconds between the last two frames
        self._lost: Counter[str] = Counter()
        self._events: list[Event] = []

    def __call__(self, followed: Iterator[Followed]) -> Iterator[Followed]:
        """The frames as they come; the events are there when they have passed."""
        for one in followed:
            self._take(one)
            yield one
        self._end()

    @property
    def events(self) -> tuple[Event, ...]:
        """Of the actors that are gone, in order of their starts."""
        found = sorted(self._events, key=lambda e: (e.start, e.end, e.label, e.actor))
        return tuple(found)

    def warnings(self) -> list[str]:
        """What was lost, repeated or left out, in words with counts."""
        counts = self._lost + Counter({_FILLED: self._look.filled})
        return [f"{what}: {count}" for what, count in counts.items() if count]

    def _take(self, one: Followed) -> None:
        time = float(one.frame.time)
        self._shown_until(time)
        who = tuple(self._enter(one, time))
        self._ended.update(self._actors.keys() & one.ended)
        self._last = one.frame, who
        self._cut(time - SMOOTH)
        for gathered in self._schedule.finished(time):
            self._judge(gathered)
        self._leave()

    def _shown_until(self, time: float) -> None:
        """The last frame was shown until `time`: it has the moments before, the first all.

        Who has ended was there as long as frames usually are: a gap in the video is none of theirs.
        """
        if self._last is None:
            return
        frame, who = self._last
        shown = time - float(frame.time)
        usual = min(shown, self._step or shown)
        for actor in who:
            self._actors[actor].until = float(frame.time) + usual if actor in self._ended else time
        self._step = shown
        moments = 0
        while self._next < time:
            moments += 1
            self._next = next(self._moments, math.inf)
        if moments:
            self._waiting.append(_Wanted(frame, who, moments))

    def _enter(self, one: Followed, time: float) -> Iterator[int]:
        """The ids of those in a frame who can act and whose boxes have something of the picture."""
        size = self._video.width, self._video.height
        for actor, label, box in zip(one.ids.tolist(), one.labels, one.boxes, strict=True):
            if self._only is not None and label not in self._only:
                continue
            if actor < 0:
                self._lost["boxes that nothing follows, of which no action is told"] += 1
                continue
            if not visible(box[None], *size)[0]:
                self._lost["boxes outside of the picture, or empty, left out"] += 1
                continue
            known = self._actors.get(actor)
            if known is None:
                known = self._actors[actor] = Actor(time, time, Finder(self._rules))
            self._ended.discard(actor)
            known.where.add(time, inside(box.astype(np.float64), *size))
            yield actor

    def _cut(self, by: float) -> None:
        """Keep what is wanted of the frames whose boxes can be smoothed: those up to `by`."""
        while self._waiting and float(self._waiting[0].frame.time) <= by:
            wanted = self._waiting.popleft()
            kept = self._look.keep(wanted.frame.image, self._boxes(wanted))
            for _ in range(wanted.moments):
                self._schedule.deliver(kept)
        oldest = self._waiting[0].frame if self._waiting else self._last and self._last[0]
        if oldest:
            for actor in self._actors.values():
                actor.where.forget(float(oldest.time) - SMOOTH)

    def _boxes(self, wanted: _Wanted) -> Boxes:
        height, width = wanted.frame.image.shape[:2]
        scale = np.tile((width / self._video.width, height / self._video.height), 2)
        time = float(wanted.frame.time)
        here = [actor for actor in wanted.who if actor in self._actors]  # not gone in a gap
        return {actor: scale * self._actors[actor].where.at(time) for actor in here}

    def _judge(self, gathered: Gathered[Any]) -> None:
        spans = {}
        window = gathered.window
        for actor in self._look.there(gathered.slots):
            known = self._actors.get(actor)
            if known is None:  # gone in a gap, through which the last frame is shown
                continue
            span = Window(max(window.start, known.first), min(window.end, known.until))
            if span.start < span.end and span != known.judged:  # else it has been seen
                spans[actor] = known.judged = span
        if not spans:
            return
        before = self._look.clips
        with self._spent.on("network"):
            p = self._read(self._look.logits(gathered.slots, list(spans)))
        self._spent.clips += self._look.clips - before
        self._lost["frames repeated for want of others"] += gathered.picks.padded
        self._lost["frames past the end filled with the last one"] += gathered.missing
        for (actor, span), row in zip(spans.items(), p, strict=True):
            scores = Scores(span, row)
            if self._heard:
                self._heard(actor, scores)
            self._actors[actor].events += self._actors[actor].finder.feed(scores)

    def _leave(self) -> None:
        """Those who have ended and are in no window that is still to come."""
        here = self._last[1] if self._last else ()
        for actor in sorted(self._ended.difference(here)):
            if self._actors[actor].until <= self._schedule.since:
                self._ended.discard(actor)
                self._gone(actor)

    def _gone(self, actor: int) -> None:
        known = self._actors.pop(actor)
        if known.judged is None:
            self._lost["actors seen too short to tell what they do"] += 1
            return
        over, cut_off = known.finder.close()
        across = not self._runtime.multilabel
        events = suppress([*known.events, *over, *cut_off], self._overlap, across=across)
        self._events += [replace(event, actor=actor) for event in events]

    def _end(self) -> None:
        if self._last is not None:
            self._shown_until(self._last_end())
            self._last = None
        self._cut(math.inf)
        for gathered in self._schedule.rest():
            self._judge(gathered)
        for actor in sorted(self._actors):
            self._gone(actor)

    def _last_end(self) -> float:
        """When the last frame's time ends: a frame later, or a little more if the video says so."""
        assert self._last is not None
        time = float(self._last[0].time)
        step = self._step or float(1 / (self._video.fps or 25))
        promised = self._video.end
        if promised is None:
            return time + step
        return max(min(promised, time + 4 * step), math.nextafter(time, math.inf))


_FILLED = "frames of actors' clips repeated, as the actor was not there"
