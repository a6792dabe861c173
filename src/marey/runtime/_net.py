"""What all runtimes share: what they say of their network, and what may be given to them."""

from __future__ import annotations

from typing import Any, overload

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marey.errors import ModelError
from marey.models._net import Net
from marey.types import Input, ModelCard

Array = NDArray[Any]


class NetRuntime:
    """A network ready to run; it takes the network over: device, evaluation mode, memory format.

    Subclasses compute: `frames`, uint8 N T H W 3, and `clips`, normalised N 3 T H W, both to N K.
    """

    runtime: str  # what computes, as reports name it
    precision: str  # and in which numbers
    difference: float | None = None
    """How far its logits were from the network's, of the largest; None: it is not converted."""

    def __init__(self, net: Net) -> None:
        if len(net.input.mean) != 3:
            raise ModelError(
                f"takes {len(net.input.mean)} channels, optical flow; marey reads colours only",
                where=net.name,
                do="Call the network itself on flow of your own.",
            )
        self.net = net.eval()
        self.notes: list[str] = []

    @property
    def input(self) -> Input:
        return self.net.input

    @property
    def labels(self) -> tuple[str, ...] | None:
        return self.net.labels

    @property
    def multilabel(self) -> bool:
        return self.net.multilabel

    @property
    def warnings(self) -> tuple[str, ...]:
        notes = (*self.net.report.warnings, *self.notes)
        if (self.net.licence or "").startswith("research-only"):
            notes = (*notes, f"{self.net.name}: licence of the weights: {self.net.licence}")
        return notes

    def card(self) -> ModelCard:
        return ModelCard(
            name=self.net.name,
            licence=self.net.licence,
            classes=self.net.classes,
            runtime=self.runtime,
            precision=self.precision,
            input=self.input,
            multilabel=self.multilabel,
            difference=self.difference,
            mixes_time=self.net.mixes_time,
            by_frame=self.net.by_frame,
            network=self.net.network,
        )

    @overload
    def __call__(self, given: Tensor, /) -> Tensor: ...
    @overload
    def __call__(self, given: Array, /) -> NDArray[np.float32]: ...
    @torch.inference_mode()
    def __call__(self, given: Tensor | Array, /) -> Tensor | NDArray[np.float32]:
        """Frames, uint8 N T H W 3, or normalised clips, float N 3 T H W → N K, logits.

        A tensor gives a tensor, an array an array. ModelError for anything else.
        """
        x = given if isinstance(given, Tensor) else torch.from_numpy(np.ascontiguousarray(given))
        if x.ndim == 5 and x.dtype == torch.uint8 and x.shape[-1] == 3:
            logits = self.frames(x)
        elif x.ndim == 5 and x.is_floating_point() and x.shape[1] == 3:
            logits = self.clips(x)
        else:
            raise ModelError(
                f"takes frames, uint8 N T H W 3, or normalised clips, float N 3 T H W; got "
                f"{str(x.dtype).removeprefix('torch.')} {tuple(x.shape)}",
                where=self.net.name,
            )
        return logits if isinstance(given, Tensor) else logits.float().cpu().numpy()

    def frames(self, frames: Tensor) -> Tensor:
        raise NotImplementedError

    def clips(self, clips: Tensor) -> Tensor:
        raise NotImplementedError
