"""Networks that are asked nothing twice: what they have said of a video is kept in its journal.

After a run that was killed the video is read from its beginning again, and the same is asked in the
same order: the answers are those that the earlier run was given, and then the network's. So nothing
else has a state on disk, and what follows from the answers is as if nothing had happened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from marey.boxes import Detections
from marey.data.box_files import BoxFile
from marey.outputs.journal import Journal, Row
from marey.runtime import Runtime
from marey.runtime.detector import Detector
from marey.tasks._actor_looks import JudgesBoxes

Answer = NDArray[np.float32]
Net = TypeVar("Net", bound=Runtime | JudgesBoxes | None)
Eye = TypeVar("Eye", bound=Detector | BoxFile)


@contextmanager
def remembered(net: Net, journal: Journal | None, part: str) -> Iterator[Net]:
    """A network of clips or of boxes in them, whose answers are kept in a `part` of `journal`."""
    if net is None or journal is None:
        yield net
        return
    with journal.part(part) as own, closing(own.rows()) as rows:
        kind: Any = _JudgesBoxes if isinstance(net, JudgesBoxes) else _JudgesClips
        yield cast(Net, kind(net, own, rows))


@contextmanager
def remembered_looks(detector: Eye, journal: Journal | None) -> Iterator[Eye]:
    """A detector, whose answers are kept; a file of boxes is there anyway."""
    if isinstance(detector, BoxFile) or journal is None:
        yield detector
        return
    with journal.part("looks") as own, closing(own.rows()) as rows:
        yield cast(Eye, _Looks(detector, own, rows))


class _Remembers:
    """What is said of `net` is true of it; its answers pass through `_said`."""

    def __init__(self, net: Any, journal: Journal, rows: Iterator[Row]) -> None:
        self._net, self._journal, self._rows = net, journal, rows
        self.labels, self.warnings, self.card = net.labels, net.warnings, net.card

    def _said(self, ask: Callable[[], Row]) -> Row:
        row = next(self._rows, None)
        if row is None:
            row = ask()
            self._journal.add(*row)
        return row


class _Judges(_Remembers):
    def __init__(self, net: Any, journal: Journal, rows: Iterator[Row]) -> None:
        super().__init__(net, journal, rows)
        self.input, self.multilabel = net.input, net.multilabel

    def _answer(self, ask: Callable[[], Answer]) -> Answer:
        def asked() -> Row:
            answer = ask()
            return Row(answer.ravel(), {"shape": list(answer.shape)})

        p, state = self._said(asked)
        return p.reshape(state["shape"])


class _JudgesClips(_Judges):
    def __call__(self, frames: NDArray[np.uint8], /) -> Answer:
        return self._answer(lambda: self._net(frames))


class _JudgesBoxes(_Judges):
    def judge(self, frames: NDArray[np.uint8], boxes: NDArray[np.float32], /) -> Answer:
        return self._answer(lambda: self._net.judge(frames, boxes))


class _Looks(_Remembers):
    """Of each thing: in which of the frames, x1 y1 x2 y2, score, number of the label."""

    def __init__(self, net: Detector, journal: Journal, rows: Iterator[Row]) -> None:
        super().__init__(net, journal, rows)
        self._names = list(net.labels)  # and what else it may say

    def __call__(self, frames: NDArray[np.uint8], /) -> list[Detections]:
        p, state = self._said(lambda: self._row(self._net(frames)))
        things, self._names = p.reshape(-1, 7), state["labels"]
        return [self._found(things[things[:, 0] == number, 1:]) for number in range(len(frames))]

    def _row(self, found: list[Detections]) -> Row:
        names = list(dict.fromkeys([*self._names, *(n for one in found for n in one.labels)]))
        numbers = {name: number for number, name in enumerate(names)}
        things = []
        for frame, one in enumerate(found):
            labels = [numbers[label] for label in one.labels]
            things.append(np.column_stack([[frame] * len(one), one.boxes, one.scores, labels]))
        return Row(np.concatenate(things).astype(np.float32).ravel(), {"labels": names})

    def _found(self, things: Answer) -> Detections:
        labels = tuple(self._names[number] for number in things[:, 5].astype(int).tolist())
        return Detections(things[:, :4], things[:, 4], labels)
