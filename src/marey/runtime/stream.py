"""Networks that look at frames as they come, ready to run: a state goes in and out with the frames.

What computes is torch, or a graph of one step: one frame of one stream and its state, each of whose
tensors is an input and an output. Where the graph is there, in a file or from an earlier run, it
needs no torch.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from marey.errors import ModelError
from marey.types import ModelCard

State = tuple[Any, ...]
"""Arrays or tensors, by what computes them; each has one entry a stream first, N …."""

Frames = NDArray[np.uint8]
Steps = Callable[[Frames, State | None], tuple[NDArray[np.float32], State]]


@dataclass(frozen=True, slots=True)
class Streamed:
    """How a network's answers come of a stream, and the shapes of its state for one stream.

    `answer`: of a clip it says the `mean` of what it says of the frames, or the `last`. `forgets`:
    what a frame changes is gone some frames later; otherwise its state should grow no older than
    the clips that it was trained on.
    """

    answer: Literal["mean", "last"]
    forgets: bool
    state: tuple[tuple[int, ...], ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Streamed:
        return cls(data["answer"], data["forgets"], tuple(map(tuple, data["state"])))


class How(Protocol):
    """What `Streamed` says of the answers, and the network itself too."""

    @property
    def answer(self) -> Literal["mean", "last"]: ...

    @property
    def forgets(self) -> bool: ...


class StreamRuntime:
    """A network ready to run frame by frame, by whatever computes its steps.

    `warnings` are what a report of its results must say. Several threads take turns.
    """

    def __init__(
        self,
        steps: Steps,
        how: How,
        card: ModelCard,
        labels: tuple[str, ...] | None,
        warnings: tuple[str, ...] = (),
    ) -> None:
        self._steps, self._card, self._warnings = steps, card, warnings
        self.input = card.prepare
        self.labels, self.multilabel = labels, card.multilabel
        self.answer, self.forgets = how.answer, how.forgets
        self.notes: list[str] = []

    @property
    def warnings(self) -> tuple[str, ...]:
        return (*self._warnings, *self.notes)

    def card(self) -> ModelCard:
        return self._card

    def step(self, frames: Frames, state: State | None = None) -> tuple[NDArray[np.float32], State]:
        """The next frames, uint8 N t H W 3, and what was before → logits, N t K, and the state.

        H and W are those of `input`. None begins N streams. However the frames are cut, the answers
        are the same. ModelError for other frames, and a state that is not of these streams.
        """
        size = (*self.input.size, 3)
        if frames.dtype != np.uint8 or frames.ndim != 5 or frames.shape[2:] != size:
            needed = " x ".join(map(str, size))
            raise ModelError(
                f"takes frames, uint8 N x t x {needed}; got {frames.dtype} {frames.shape}",
                where=self._card.name,
            )
        if not frames.size:
            raise ModelError(f"takes some frames; got {frames.shape}", where=self._card.name)
        return self._steps(frames, state)


class Graph(Protocol):
    """A graph ready to compute: all its outputs for all its inputs."""

    def all(self, *given: NDArray[Any]) -> list[NDArray[np.float32]]: ...


class OneByOne:
    """A graph of one frame of one stream, 1 1 H W 3, for any number of both.

    `shapes` are those of its state. One frame is what a camera gives, and more at once are no
    faster on a CPU.
    """

    def __init__(self, graph: Graph, shapes: Sequence[tuple[int, ...]]) -> None:
        self._graph, self._shapes = graph, shapes

    def __call__(
        self, frames: Frames, state: State | None
    ) -> tuple[NDArray[np.float32], tuple[NDArray[np.float32], ...]]:
        """Frames, N t H W 3, and the state before → logits, N t K, and the state."""
        needed = [(len(frames), *shape[1:]) for shape in self._shapes]
        if state is None:
            state = tuple(np.zeros(shape, np.float32) for shape in needed)
        elif [tuple(part.shape) for part in state] != needed:
            raise ModelError(
                f"a state does not fit: it should hold {needed}",
                do="Begin a new stream (state=None) where their number changes.",
            )
        found = [
            self._one(clip, [part[n : n + 1] for part in state]) for n, clip in enumerate(frames)
        ]
        logits = np.stack([logits for logits, _ in found])
        if len(found) == 1:  # a camera; joining would copy its state
            return logits, tuple(found[0][1])
        return logits, tuple(map(np.concatenate, zip(*(after for _, after in found), strict=True)))

    def _one(
        self, clip: Frames, state: list[NDArray[np.float32]]
    ) -> tuple[NDArray[np.float32], list[NDArray[np.float32]]]:
        """The frames of one stream, t H W 3 → logits, t K."""
        found = []
        for frame in clip:
            logits, *state = self._graph.all(frame[None, None], *state)
            found.append(logits[0, 0])
        return np.stack(found), state
