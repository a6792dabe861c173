"""A network made ready to run: clips of uint8 frames in, logits out, whatever computes them."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from marey.types import Input, ModelCard

if TYPE_CHECKING:
    from marey.models._net import Net


class Runtime(Protocol):
    """What a task needs of a network; `warnings` are what a report of its results must say.

    `multilabel`: several classes may be true at once.
    """

    @property
    def input(self) -> Input: ...

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    @property
    def multilabel(self) -> bool: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...

    def __call__(self, clips: NDArray[np.uint8]) -> NDArray[np.float32]:
        """N T H W 3, already of the size that `input` asks for → N K, logits."""
        ...

    def card(self) -> ModelCard: ...


def load(model: str | os.PathLike[str] | Net, *, device: str | None = None) -> Runtime:
    """A network ready to run, by name, checkpoint folder, or itself.

    A bare name takes its default weights, or is refused: random weights label nothing. Raises
    ModelError or WeightsError.
    """
    from marey.models._registry import create_model, default_weights
    from marey.runtime.torch import TorchRuntime

    if isinstance(model, str | os.PathLike):
        model = create_model(default_weights(model))
    return TorchRuntime(model, device)
