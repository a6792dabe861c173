"""Networks that judge boxes in clips, ready to run: frames and boxes in, logits of each box out."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from marey.runtime import FILES, PRECISIONS, RUNTIMES, Runtime, compile, make_ready, one_of
from marey.types import Input, ModelCard

if TYPE_CHECKING:
    from marey.models._net import Net
    from marey.models._roi_net import RoiNet


def compile_actions(
    model: str | os.PathLike[str] | Net,
    *,
    runtime: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> Runtime | RoiRuntime:
    """A network for `marey.tasks.actors`: of clips, as `compile` makes it, or of boxes in them.

    Takes what `compile` takes. Raises ModelError and WeightsError.
    """
    how: dict[str, Any] = {"runtime": runtime, "precision": precision, "threads": threads}
    if isinstance(model, str | os.PathLike) and Path(model).suffix in FILES:
        return compile(model, **how)
    from marey.models._create import create_model
    from marey.models._registry import default_weights, takes_boxes
    from marey.models._roi_net import RoiNet

    if isinstance(model, str | os.PathLike) and takes_boxes(model):
        one_of("runtime", runtime, RUNTIMES)
        one_of("precision", precision, PRECISIONS)
        model = create_model(default_weights(model))
    return RoiRuntime(model, **how) if isinstance(model, RoiNet) else compile(model, **how)


class RoiRuntime:
    """The maps of `net` by the runtime that `compile` would choose, what boxes show in torch.

    Almost all work is in the maps, which all boxes of a clip share. A graph is for pictures of one
    shape: that of 16:9 is made at once, others when they first come. The head is computed on the
    CPU, in float32; several threads take turns.
    """

    def __init__(
        self,
        net: RoiNet,
        *,
        runtime: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        from marey.models._roi_net import Maps

        self.net = net.eval()
        self._maps = make_ready(Maps(net), runtime, precision, 1, threads, None, False, {})
        self._head = net.head.cpu()
        self._turn = Lock()

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
        return self._maps.warnings

    def card(self) -> ModelCard:
        """`difference` is that of the maps."""
        return replace(self._maps.card(), classes=self.net.classes, input=self.input)

    def judge(self, frames: NDArray[np.uint8], boxes: NDArray[np.float32]) -> NDArray[np.float32]:
        """N T H W 3 and B 5 (number of the clip, x1 y1 x2 y2 in its pixels) → B K, logits.

        The short side of the frames is what `input.resize` says, the long one any.
        """
        import torch

        maps = torch.from_numpy(self._maps(frames))
        with self._turn, torch.inference_mode():
            logits = self._head(maps[:, :, None], torch.from_numpy(boxes))
        found: NDArray[np.float32] = logits.numpy()
        return found
