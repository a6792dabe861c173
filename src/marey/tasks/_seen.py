"""What is seen of a video while its scores pass by: the best labels of each window, and in all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from marey.errors import ModelError
from marey.types import ModelCard, Ranked, Score, Scores, Video

Progress = Callable[[float, float | None], None]
"""Called with the seconds done and the seconds in all, None where nobody knows."""


class Seen:
    """The best `top` of `labels`; of more than `most` windows none is kept, which is told."""

    def __init__(self, labels: Sequence[str], top: int, most: int | None = None) -> None:
        self.count = 0
        self.windows: list[Ranked] = []
        self._labels, self._top, self._most = labels, top, most
        self._total: NDArray[np.floating] = np.zeros(len(labels))

    def passing(
        self, scored: Iterable[Scores], video: Video, progress: Progress | None
    ) -> Iterator[Scores]:
        """The scores, looked at on their way."""
        for scores in scored:
            self._add(scores)
            if progress:
                progress(scores.window.end - video.start, video.duration)
            yield scores

    def _add(self, scores: Scores) -> None:
        self.count += 1
        self._total += scores.p
        if self._most is not None and self.count > self._most:
            self.windows.clear()
            return
        span = scores.window
        self.windows.append(Ranked(span.start, span.end, rank(scores.p, self._labels, self._top)))

    @property
    def top(self) -> tuple[Score, ...]:
        """Of the mean over all windows."""
        return rank(self._total / self.count, self._labels, self._top)

    def warnings(self) -> list[str]:
        if self._most is None or self.count <= self._most:
            return []
        return [f"the scores of {self.count} windows are too many for a report, and left out"]


def rank(p: NDArray[np.floating], labels: Sequence[str], top: int) -> tuple[Score, ...]:
    """The `top` best of K scores, best first."""
    order = np.argsort(-p, kind="stable")[:top]
    return tuple(Score(labels[k], float(p[k])) for k in order)


class Named(Protocol):
    """A network ready to run, as far as its classes go."""

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    def card(self) -> ModelCard: ...


def labels_of(runtime: Named) -> Sequence[str]:
    """A name for each of the network's classes; those without a label go by their number.

    ModelError for one that was made ready to give features.
    """
    card = runtime.card()
    if card.network is not None:
        raise ModelError(
            "gives features, not scores", where=card.name, do="Compile it without `features`."
        )
    return runtime.labels or [f"class {k}" for k in range(card.classes)]
