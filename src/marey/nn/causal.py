"""Layers over time that look back only, for clips N C T H W, and what they remember of a stream.

A layer that needs earlier frames takes what it kept of them from a `Memory` and leaves there what
it will need next. It holds nothing itself: one network serves any number of streams, from any
thread, and what a stream remembers is a plain tuple of tensors.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from marey.errors import ModelError


class Memory:
    """The memory of a whole clip: nothing was before it, and nothing will come after it."""

    def take(self, start: Tensor) -> Tensor:
        """What a layer remembers; `start`, of the same shape, where nothing was before."""
        return start

    def keep(self, value: Tensor) -> None:
        """Leave `value` for the same layer at the next step."""


class Stream(Memory):
    """The memory of a stream at one step: layers take and keep in the order in which they run.

    `past` is the `state` that the step before ended with, None where the stream begins. Raises
    ModelError where that is of another network, of other streams or of another picture size.
    """

    def __init__(self, past: Sequence[Tensor] | None = None) -> None:
        self._past = past
        self._kept: list[Tensor] = []

    def take(self, start: Tensor) -> Tensor:
        if self._past is None:
            return start
        position = len(self._kept)
        if position == len(self._past):
            raise ModelError(f"a state of {position} tensors is of another network")
        past = self._past[position]
        if past.shape != start.shape:
            raise ModelError(
                f"a state does not fit these frames: it holds {tuple(past.shape)} where "
                f"{tuple(start.shape)} is needed",
                do="Begin a new stream (state=None) where the batch or the picture size changes.",
            )
        return past

    def keep(self, value: Tensor) -> None:
        # A copy: a slice would keep all of the tensor that it was cut from.
        self._kept.append(value.clone())

    @property
    def state(self) -> tuple[Tensor, ...]:
        """What the layers have kept; every tensor has one entry a stream first, N …."""
        if self._past is not None and len(self._past) != len(self._kept):
            raise ModelError(f"a state of {len(self._past)} tensors is of another network")
        return tuple(self._kept)


CLIP = Memory()


class Remembers(nn.Module):
    """Base of what is called with a memory: `forward(x, memory)`."""


class Chain(Remembers, nn.Sequential):
    """Layers in a row; those that remember are given the memory."""

    def forward(self, x: Tensor, memory: Memory = CLIP) -> Tensor:
        for layer in self:
            x = layer(x, memory) if isinstance(layer, Remembers) else layer(x)
        return x


class CausalConv3d(Remembers, nn.Conv3d):
    """A convolution over time alone, of each frame and the `kernel` - 1 before it; zeros first."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, groups: int = 1) -> None:
        super().__init__(inputs, outputs, (kernel, 1, 1), groups=groups, bias=False)

    def forward(self, x: Tensor, memory: Memory = CLIP) -> Tensor:
        before = self.kernel_size[0] - 1
        earlier = memory.take(x.new_zeros(*x.shape[:2], before, *x.shape[3:]))
        if torch.compiler.is_compiling():
            # OpenVINO lays out memory itself, and would copy it for each of the views below.
            x = torch.cat([earlier, x], 2)
        else:
            # Joined as N T H W C, which is how channels-last memory lies, and so stays.
            pixels = torch.cat([part.permute(0, 2, 3, 4, 1) for part in (earlier, x)], 1)
            x = pixels.permute(0, 4, 1, 2, 3)
        memory.keep(x[:, :, x.shape[2] - before :])
        return super().forward(x)


class CumulativeMean(Remembers):
    """N C T … → N C T …: at each frame, the mean of all frames so far.

    It never forgets: a stream without end must be begun anew now and then.
    """

    def forward(self, x: Tensor, memory: Memory = CLIP) -> Tensor:
        # A channel of ones counts the frames. Sums in half precision would soon be too coarse.
        counted = torch.cat([x, torch.ones_like(x[:, :1])], 1)
        sums = counted.cumsum(2, dtype=torch.promote_types(x.dtype, torch.float32))
        sums = sums + memory.take(torch.zeros_like(sums[:, :, :1]))
        memory.keep(sums[:, :, -1:])
        return (sums[:, :-1] / sums[:, -1:]).to(x.dtype)
