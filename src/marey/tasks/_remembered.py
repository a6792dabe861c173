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

    def _said(self, ask: Callable[[], Answer]) -> Answer:
        row = next(self._rows, None)
        if row is not None:
            return row.p.reshape(row.state["shape"])
        answer = ask()
        self._journal.add(answer.ravel(), {"shape": list(answer.shape)})
        return answer


class _Judges(_Remembers):
    def __init__(self, net: Any, journal: Journal, rows: Iterator[Row]) -> None:
        super().__init__(net, journal, rows)
        self.input, self.multilabel = net.input, net.multilabel


class _JudgesClips(_Judges):
    def __call__(self, frames: NDArray[np.uint8], /) -> Answer:
        return self._said(lambda: self._net(frames))


class _JudgesBoxes(_Judges):
    def judge(self, frames: NDArray[np.uint8], boxes: NDArray[np.float32], /) -> Answer:
        return self._said(lambda: self._net.judge(frames, boxes))


class _Looks(_Remembers):
    """A row a detection: which of the frames, x1 y1 x2 y2, score, number of the label."""

    def __call__(self, frames: NDArray[np.uint8], /) -> list[Detections]:
        rows = self._said(lambda: self._rows_of(self._net(frames)))
        return [self._found(rows[rows[:, 0] == number, 1:]) for number in range(len(frames))]

    def _rows_of(self, found: list[Detections]) -> Answer:
        numbers = {label: number for number, label in enumerate(self.labels)}
        rows = []
        for frame, one in enumerate(found):
            labels = [numbers[label] for label in one.labels]
            rows.append(np.column_stack([[frame] * len(one), one.boxes, one.scores, labels]))
        return np.concatenate(rows).astype(np.float32)

    def _found(self, rows: Answer) -> Detections:
        labels = tuple(self.labels[number] for number in rows[:, 5].astype(int).tolist())
        return Detections(rows[:, :4], rows[:, 4], labels)
