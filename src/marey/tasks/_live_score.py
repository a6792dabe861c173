"""From the clips of live sources to scores: windows for any network, or frames into a state.

One network serves several sources: what they have ready at the same time is looked at together.
"""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import count
from typing import Any, Literal, NamedTuple, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from marey.runtime import Runtime
from marey.tasks.classify import sigmoid, softmax
from marey.types import Clip, Input, ModelCard, Scores, Video, Window
from marey.video.clips import Plan
from marey.video.windows import Picks, pick, window_length, windows

_SLACK = 1e-6  # seconds by which sums of floats that should be equal may differ
_EVER = sys.maxsize  # frames
_PARTS = 4  # of a clip's time, from one answer to the next, if nothing else is asked for


class LiveScorer(Protocol):
    """Which frames a network looks at, and what it says of them.

    Sources go by number; `plan` is called by the thread that reads one, all else by one other.
    """

    input: Input
    at_once: int
    """Clips of one source that go into one run of the network; more need not wait."""

    def plan(self, video: Video) -> Plan:
        """The frames of each clip of a stretch of video."""
        ...

    def score(self, turn: Mapping[int, Sequence[Clip]]) -> dict[int, list[Scores]]:
        """What the next clips of some sources give."""
        ...

    def forget(self, source: int) -> None:
        """What follows does not go on from what was."""
        ...


class Windows:
    """A window at a time, by any network, each `step` seconds after the one before.

    With `average`, logits are averaged over the windows whose middles lie so many seconds back.
    """

    at_once = 1

    def __init__(
        self, runtime: Runtime, *, step: float | None = None, average: float | None = None
    ) -> None:
        self.input = runtime.input
        self._runtime, self._step, self._average = runtime, step, average or 0.0
        self._means: dict[int, Mean] = {}

    def plan(self, video: Video) -> Plan:
        length = window_length(self.input, video.fps)
        duration = math.inf if video.duration is None else video.duration
        spans = windows(duration, length, self._step or length / _PARTS, start=video.start)
        return ((span, pick(span, self.input, video.fps)) for span in spans)

    def score(self, turn: Mapping[int, Sequence[Clip]]) -> dict[int, list[Scores]]:
        clips = [(source, clip) for source, given in turn.items() for clip in given]
        logits = self._runtime(np.stack([clip.frames for _, clip in clips]))
        found: dict[int, list[Scores]] = {source: [] for source in turn}
        for (source, clip), row in zip(clips, logits, strict=True):
            mean = self._means.setdefault(source, Mean(self._average))
            found[source].append(_scores(mean.add(clip.window, row), self._runtime.multilabel))
        return found

    def forget(self, source: int) -> None:
        self._means.pop(source, None)


@runtime_checkable
class Stepping(Protocol):
    """A network that looks at frames as they come, and keeps a state between them.

    `answer`: of a clip it says the `mean` of what it says of the frames, or the `last`. `forgets`:
    what a frame changes is gone some frames later; if not, no state should grow older than the
    network's clip, which is what it was trained on.
    """

    @property
    def input(self) -> Input: ...

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    @property
    def multilabel(self) -> bool: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...

    @property
    def answer(self) -> Literal["mean", "last"]: ...

    @property
    def forgets(self) -> bool: ...

    def card(self) -> ModelCard: ...

    def step(self, frames: NDArray[np.uint8], state: Any) -> tuple[NDArray[np.float32], Any]:
        """The next frames, N t H W 3, after `state` (None: nothing) → logits N t K, the state."""
        ...


class Stream:
    """Frame by frame, by a network that keeps a state for each source.

    Logits are averaged over the last `average` seconds; by default over as many frames as the
    network's clip has, if the mean of these is its answer to the clip, and else not at all. An
    answer comes every `step` seconds, by default four in the time of a clip.
    """

    at_once = 12

    def __init__(
        self, runtime: Stepping, *, step: float | None = None, average: float | None = None
    ) -> None:
        self.input = runtime.input
        self._runtime, self._step = runtime, step
        # The clip's answer, where nothing else is asked for.
        last = average is None and runtime.answer == "last"
        self._average = 0.0 if last else average
        self._stretch = _EVER if runtime.forgets else max(1, runtime.input.frames // 2)
        self._memories: dict[int, _Memory] = {}
        self._means: dict[int, Mean] = {}
        self._due: dict[int, float] = {}

    def plan(self, video: Video) -> Plan:
        return _frame_by_frame(self.input, video)

    def score(self, turn: Mapping[int, Sequence[Clip]]) -> dict[int, list[Scores]]:
        return {source: list(self._of(source, clips)) for source, clips in turn.items()}

    def _of(self, source: int, clips: Sequence[Clip]) -> Iterator[Scores]:
        memory = self._memories.setdefault(source, _Memory(self._runtime, self._stretch))
        found = memory.step(np.concatenate([clip.frames for clip in clips]))
        most = self.input.frames if self._average is None else None
        mean = self._means.setdefault(source, Mean(self._average, most))
        for clip, (row, seen) in zip(clips, found, strict=True):
            span = clip.window
            of = span
            if self._runtime.answer == "last":
                of = Window(span.end - seen * (span.end - span.start), span.end)
            answer = mean.add(of, row)
            step = self._step or self.input.frames * (span.end - span.start) / _PARTS
            due = self._due.setdefault(source, span.start + step)
            if span.end > due - _SLACK:
                self._due[source] = due + step * (1 + math.floor((span.end - due + _SLACK) / step))
                yield _scores(answer, self._runtime.multilabel)

    def forget(self, source: int) -> None:
        for kept in (self._memories, self._means, self._due):
            kept.pop(source, None)


class _Memory:
    """The state of one source, never older than twice `stretch` frames.

    Two states then go side by side, each begun anew when it is so old, the one halfway through the
    other, and the older one answers: it has seen a stretch at least, but for the very beginning.
    """

    def __init__(self, runtime: Stepping, stretch: int) -> None:
        self._runtime, self._stretch = runtime, stretch
        self._states: list[Any] = [None]  # the older first
        self._left = stretch  # frames until the older one goes, or gets company
        self._seen = 0  # frames, by the older one

    def step(self, frames: NDArray[np.uint8]) -> list[tuple[NDArray[np.float32], int]]:
        """The next frames, t H W 3 → of each the logits, K, and how many frames they are of."""
        found = []
        while len(frames):
            if self._left == 0:
                self._states, self._left = [self._states[-1], None], self._stretch
                self._seen = self._stretch
            part, frames = frames[: self._left], frames[self._left :]
            stepped = [self._runtime.step(part[None], state) for state in self._states]
            self._states = [state for _, state in stepped]
            found += [(row, self._seen + k) for k, row in enumerate(stepped[0][0][0], start=1)]
            self._seen += len(part)
            self._left -= len(part)
        return found


def _frame_by_frame(input: Input, video: Video) -> Plan:
    """A clip of one frame each time that the network wants one, without an end."""
    spacing = window_length(input, video.fps) / input.frames
    # Picks as `pick` makes them: in the middle of a frame's time, at the network's rate or at its
    # places between.
    offset = spacing / (2 * input.every)
    for k in count():
        start = video.start + k * spacing
        yield Window(start, start + spacing), Picks((start + offset,))


class Answer(NamedTuple):
    """Logits (K) and the time that they are of."""

    window: Window
    logits: NDArray[np.float32]


class Mean:
    """The mean of the answers whose middles lie less than `seconds` back, or of the last `most`."""

    def __init__(self, seconds: float | None, most: int | None = None) -> None:
        self._seconds = math.inf if seconds is None else seconds
        self._answers: deque[Answer] = deque(maxlen=most)

    def add(self, window: Window, logits: NDArray[np.float32]) -> Answer:
        answers = self._answers
        answers.append(Answer(window, logits))
        while len(answers) > 1 and answers[0].window.middle <= window.middle - self._seconds:
            answers.popleft()
        mean = np.stack([answer.logits for answer in answers]).mean(0, dtype=np.float32)
        return Answer(Window(answers[0].window.start, window.end), np.asarray(mean, np.float32))


def _scores(answer: Answer, multilabel: bool) -> Scores:
    p_of = sigmoid if multilabel else softmax
    return Scores(answer.window, p_of(answer.logits[None])[0])
