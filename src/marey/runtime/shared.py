"""A network for clips that lie close: where it never strides time, they share their frames."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from marey.errors import ModelError
from marey.runtime import FILES, Runtime, by_name, compile, make_ready
from marey.types import Input, ModelCard

LENGTH = 4
"""Clips that a stretch is as long as, about: each stretch begins and ends with padding."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """A run over a stretch of video: `clips` clips, one every `hop` frames.

    `runtime` takes stretches, uint8 N L H W 3, to N*clips K.
    """

    hop: int
    clips: int
    runtime: Runtime

    @property
    def frames(self) -> int:
        """L, in a stretch."""
        return self.runtime.input.frames


class SharedRuntime:
    """The network called `model`, which gives the clips of whole stretches at once.

    By itself it is what `compile` gives. `stretch(hop)` is for clips that begin `hop` frames after
    one another: its body passes each frame about once. Where the body mixes time, the answers are
    near those to the clips by themselves, and not the same (`marey.models._shared.Shared`). Raises
    ModelError for a network that strides time, and as `compile` does.
    """

    def __init__(
        self,
        model: str | os.PathLike[str],
        *,
        runtime: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        if Path(model).suffix in FILES:
            raise ModelError(
                "windows of an exported file cannot share frames",
                where=model,
                do="Leave out `shared`, or name the network.",
            )
        self._model, self._runtime, self._precision = model, runtime, precision
        self._threads = threads
        self.alone: Runtime = compile(model, runtime=runtime, precision=precision, threads=threads)
        self.input: Input = self.alone.input
        self.labels, self.multilabel = self.alone.labels, self.alone.multilabel
        self._stretches: dict[int, Stretch] = {}
        self._making = Lock()

    @property
    def same(self) -> bool:
        """Whether clips give what they give by themselves: no frame's features depend on others."""
        card = self.alone.card()
        return not (card.mixes_time or card.by_frame)

    @property
    def warnings(self) -> tuple[str, ...]:
        also = [note for made in self._stretches.values() for note in made.runtime.warnings]
        return tuple(dict.fromkeys((*self.alone.warnings, *also)))

    def card(self) -> ModelCard:
        return self.alone.card()

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.float32]:
        return self.alone(frames)

    def stretch(self, hop: int) -> Stretch:
        """For clips that begin `hop` frames after one another; made when it is first asked for."""
        with self._making:
            if hop not in self._stretches:
                clips = -(-(LENGTH - 1) * self.input.frames // hop) + 1
                self._stretches[hop] = Stretch(hop, clips, self._compiled(hop, clips))
            return self._stretches[hop]

    def _compiled(self, hop: int, clips: int) -> Runtime:
        model, shared = self._model, (hop, clips)
        how = self._runtime, self._precision, 1, self._threads
        make = partial(make_ready, model, *how, None, False, {}, shared=shared)
        return by_name(model, make, *how, shared=shared)
