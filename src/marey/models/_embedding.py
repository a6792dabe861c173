"""A network without its last layer: what it sees in a clip, before any class is decided on."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from marey.models._net import Net, digest
from marey.nn.heads import Head


class Embedding(Net):
    """Clips in, features out, N D: what the head of `net` sees of each frame, averaged over time.

    Everything is shared with `net`. `network` is the hash of all that the features depend on; two
    networks that differ in their last layers only have one.
    """

    def __init__(self, net: Net) -> None:
        super().__init__(net.body, Averaged(net.head))
        self.least = net.least
        self.architecture, self.options = net.architecture, net.options
        self.name, self.input, self.licence = net.name, net.input, net.licence
        self.report = net.report
        self.eval()
        self.network = digest(self)
        self._mixes_time = net.mixes_time
        self._width = self._measured()

    @property
    def classes(self) -> int:
        """D, the length of a vector."""
        return self._width

    @property
    def mixes_time(self) -> bool:
        return self._mixes_time

    @property
    def by_frame(self) -> bool:
        return not self.mixes_time

    @torch.inference_mode()
    def _measured(self) -> int:
        """Only a run can tell: bodies differ, and so does what stands before their last layers."""
        shape = 1, len(self.input.mean), self.input.frames, *self.input.size
        parameter = next(self.parameters())
        clip = torch.zeros(shape, dtype=parameter.dtype, device=parameter.device)
        return int(self(clip).shape[1])


class Averaged(Head):
    """What `head` makes of each frame, averaged over time: N C T H W → N D."""

    linear: nn.Linear  # there is none

    def __init__(self, head: Head) -> None:
        super().__init__(0.0, head.frame)

    def forward(self, x: Tensor) -> Tensor:
        return self.per_frame(x).mean(2)
