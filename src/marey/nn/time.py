"""Time in an image network: frames folded into the batch, and the layers that look across them.

An image network's layers see `(N*T) C H W` and need not know of time; only a layer that mixes time
asks the shared `Clock` how many frames belong to one clip. Norms, squeeze-and-excitation, blur
pools and functional code of any image network so work unchanged, and per frame.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn


def fold(clip: Tensor) -> Tensor:
    """N C T H W → (N*T) C H W; a free view where the clip lies in channels-last memory."""
    n, c, t, h, w = clip.shape
    return clip.transpose(1, 2).reshape(n * t, c, h, w)


def unfold(frames: Tensor, t: int) -> Tensor:
    """(N*T) C H W → N C T H W, a view: the inverse of `fold`."""
    return frames.reshape(-1, t, *frames.shape[1:]).transpose(1, 2)


@dataclass
class Clock:
    """How many frames a clip has: written by `Folded`, read by the layers that mix time.

    One clock belongs to one network and one forward pass at a time; two threads that call the same
    network with clips of different lengths need a copy each.
    """

    frames: int = 1


class Folded(nn.Sequential):
    """An image network's layers, run on every frame: N 3 T H W → N C T H' W'."""

    def __init__(self, layers: OrderedDict[str, nn.Module], clock: Clock) -> None:
        super().__init__(layers)
        self.clock = clock

    def forward(self, clip: Tensor) -> Tensor:
        frames = clip.shape[2]
        self.clock.frames = frames
        return unfold(super().forward(fold(clip)), frames)  # type: ignore[no-untyped-call]


class TemporalAggregation(nn.Module):
    """Each channel's weighted sum over the frame before, this one and the next: a depthwise 3x1x1.

    Beyond the ends of the clip there are zeros. `init="identity"` starts as no change at all;
    `init="paper"` draws all three weights with std sqrt(2 / C), as the authors' code does, which
    disturbs a pretrained network from the first step. `relu` follows the sum in the authors'
    ResNets, where the input is never negative; behind a linear bottleneck it would cut off half
    the signal.

    TAM, Fan et al. 2019, arXiv 1912.00869. Checked by tests against a depthwise `nn.Conv3d`.
    """

    def __init__(
        self,
        channels: int,
        clock: Clock,
        *,
        init: Literal["identity", "paper"] = "identity",
        relu: bool = False,
    ) -> None:
        super().__init__()
        self.clock = clock
        self.relu = relu
        # Three vectors, as published. Being 1-d they are spared weight decay, as norms are: it
        # would pull the kernel from the identity to silence.
        self.prev = nn.Parameter(torch.zeros(channels))
        self.curr = nn.Parameter(torch.ones(channels))
        self.next = nn.Parameter(torch.zeros(channels))
        if init == "paper":
            for weight in self.parameters():
                nn.init.normal_(weight, std=(2 / channels) ** 0.5)

    def forward(self, frames: Tensor) -> Tensor:
        """(N*T) C H W → the same shape, in the same memory format."""
        clip = frames.reshape(-1, self.clock.frames, *frames.shape[1:])  # N T C H W
        before, now, after = (
            weight.to(clip.dtype).view(-1, 1, 1) for weight in (self.prev, self.curr, self.next)
        )
        mixed = clip * now
        mixed[:, 1:].addcmul_(clip[:, :-1], before)
        mixed[:, :-1].addcmul_(clip[:, 1:], after)
        mixed = mixed.flatten(0, 1)
        return mixed.relu() if self.relu else mixed

    def extra_repr(self) -> str:
        return f"{self.curr.numel()}, relu={self.relu}"


def aggregate(blocks: Iterable[nn.Module], clock: Clock, *, relu: bool) -> None:
    """Set a `TemporalAggregation` before the first convolution of each residual block in `blocks`.

    It stands inside the residual branch, so the shortcut carries each frame unmixed; blocks
    without a shortcut are left alone. The blocks are timm's EfficientNet ones: `has_skip` tells
    whether there is a shortcut. The convolution `name` becomes a sequence of `name.mix` and
    `name.conv`.
    """
    for block in blocks:
        if not getattr(block, "has_skip", False):
            continue
        name, conv = next(
            (name, child) for name, child in block.named_children() if isinstance(child, nn.Conv2d)
        )
        mix = TemporalAggregation(conv.in_channels, clock, relu=relu)
        setattr(block, name, nn.Sequential(OrderedDict(mix=mix, conv=conv)))
