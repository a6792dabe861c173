"""Boxes in a clip: what its maps show there, to logits."""

from __future__ import annotations

from torch import Tensor
from torchvision.ops import roi_align

from marey.nn.heads import Head, classifier

GRID = (7, 7)


class BoxMax(Head):
    """The mean over time, each box of it as a grid of 7x7, of that the largest values, linear.

    `stride` is how many pixels of the clip a pixel of the maps stands for. A cell of the grid is
    the mean of points a pixel of the map apart or nearer, and a pixel of the map is taken to lie at
    its corner (He et al. 2017, "Mask R-CNN", without the half pixel that came later).
    """

    def __init__(self, channels: int, classes: int, dropout: float = 0.0, *, stride: int) -> None:
        super().__init__(dropout, None)
        self.stride = stride
        self.linear = classifier(channels, classes)

    def forward(self, x: Tensor, boxes: Tensor) -> Tensor:
        """N C T H W and boxes, B 5 (number of the clip, x1 y1 x2 y2 in its pixels) → B K."""
        grids = roi_align(x.mean(2), boxes, GRID, 1 / self.stride, sampling_ratio=0, aligned=False)
        return self.logits(grids.amax((2, 3)))
