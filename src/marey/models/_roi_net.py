"""What every network is that judges boxes in a clip, and its maps as a network of their own."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from marey.errors import ModelError
from marey.models._net import Net
from marey.nn.heads import Head
from marey.nn.roi import BoxMax

Boxes = Tensor | Sequence[Tensor]


class RoiNet(Net):
    """A clip and boxes in it in, logits of each box out. Abstract, as `Net`.

    Without boxes it is a network like any other: it judges the whole picture.
    """

    head: BoxMax

    def __init__(self, body: nn.Module, head: BoxMax) -> None:
        super().__init__(body, head)

    def forward(self, clip: Tensor, boxes: Boxes | None = None) -> Tensor:
        """N 3 T H W → N K; with boxes B K, in their order.

        `boxes` are a tensor a clip, each B 4 (x1 y1 x2 y2 in pixels of the clip), or one of all,
        B 5, with the number of the clip first. ModelError for others, and for what is no clip.
        """
        self._check(clip)
        maps = self.body(clip)
        return self.head(maps, self._rows(clip, boxes))  # type: ignore[no-any-return]

    def maps_and_rest(self) -> tuple[nn.Module, nn.Module]:
        raise ModelError(
            "windows cannot share frames: it judges boxes in a clip",
            where=self.name,
            do="Leave out `shared`.",
        )

    def _rows(self, clip: Tensor, boxes: Boxes | None) -> Tensor:
        clips, _, _, height, width = clip.shape
        if boxes is None:
            picture = clip.new_tensor([[0, 0, width, height]])
            numbers = torch.arange(clips, dtype=clip.dtype, device=clip.device)[:, None]
            return torch.cat([numbers, picture.expand(clips, 4)], 1)
        if not isinstance(boxes, Tensor):
            if len(boxes) != clips:
                raise self._wrong(f"{len(boxes)} tensors of boxes for {clips} clips")
            parts = [nn.functional.pad(part, (1, 0), value=k) for k, part in enumerate(boxes)]
            boxes = torch.cat(parts) if parts else clip.new_empty(0, 5)
        if boxes.ndim != 2 or boxes.shape[1] != 5:
            raise self._wrong(f"boxes {tuple(boxes.shape)}")
        if len(boxes) and not 0 <= boxes[:, 0].min() <= boxes[:, 0].max() < clips:
            raise self._wrong(f"a box of a clip that is not among the {clips}")
        return boxes.to(clip)

    def _wrong(self, got: str) -> ModelError:
        return ModelError(f"takes boxes, B 5 or B 4 a clip, got {got}", where=self.name)


class Maps(Net):
    """The body of `net` by itself: clips in, their maps averaged over time out, N C H W.

    Everything is shared with `net`. What a runtime gives for it, `net.head` makes logits of. Its
    input is of whole pictures, 16:9 as most are: runtimes make that graph first.
    """

    def __init__(self, net: RoiNet) -> None:
        super().__init__(net.body, OverTime())
        self.least, self.options = net.least, net.options
        self.architecture = f"{net.architecture}-maps"  # by which its graphs are kept
        self.name, self.licence = net.name, net.licence
        short = net.input.resize
        size = short if isinstance(short, tuple) else (short, 16 * short // 9)
        self.input = replace(net.input, size=size)
        self.report, self.multilabel = net.report, net.multilabel
        self._channels = net.head.linear.in_features
        self.eval()

    @property
    def classes(self) -> int:
        """C."""
        return self._channels


class OverTime(Head):
    """N C T H W → N C H W, the mean over time."""

    linear: nn.Linear  # there is none

    def __init__(self) -> None:
        super().__init__(0.0, None)

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(2)
