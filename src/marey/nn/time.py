"""Time in an image network: frames folded into the batch, and the layers that look across them.

An image network's layers see `(N*T) C H W` and need not know of time; only a layer that mixes time
asks the shared `Clock` how many clips are folded. Norms, squeeze-and-excitation, blur pools and
functional code of any image network so work unchanged, and per frame. The layers that mix are in
`marey.nn.mix`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import ModelError
from marey.nn.causal import Memory

Ends = Literal["zeros", "replicate", "causal"]
"""What a kernel sees beyond a clip: zeros on both sides, the end frames again, or zeros before the
clip and nothing after it, so that no frame depends on a later one."""


def fold(clip: Tensor) -> Tensor:
    """N C T H W → (N*T) C H W; a free view where the clip lies in channels-last memory."""
    return clip.transpose(1, 2).flatten(0, 1)


def by_clip(frames: Tensor, clips: int) -> Tensor:
    """(N*T) … → N T …, a view, for N = `clips`."""
    return frames.reshape(clips, -1, *frames.shape[1:])


def unfold(frames: Tensor, clips: int) -> Tensor:
    """(N*T) C H W → N C T H W, a view, for N = `clips`: the inverse of `fold`."""
    return by_clip(frames, clips).transpose(1, 2)


@dataclass
class Clock:
    """How many clips, and frames of each, lie in the batch: written by `Folded`, read by layers.

    One clock belongs to one network and one forward pass at a time; two threads that call the same
    network with different batches need a copy each. `memory` is what causal layers keep of a
    stream (`marey.nn.causal`); None outside of one.
    """

    clips: int = 1
    frames: int | None = None
    memory: Memory | None = field(default=None, repr=False)


class Folded(nn.Module):
    """An image network, run on every frame: N 3 T H W → N C T' H' W'.

    `method` is what maps frames to features: `forward_features` of timm's networks, or `forward`.
    Features that are no maps, (N*T) C, come as N C T' 1 1. `stride` is by how much the layers of
    the network shorten time; `last` says that its maps are (N*T) H W C.
    """

    def __init__(
        self,
        net: nn.Module,
        clock: Clock,
        *,
        method: str = "forward",
        stride: int = 1,
        last: bool = False,
    ) -> None:
        super().__init__()
        self.net, self.clock, self.method = net, clock, method
        self.stride, self.last = stride, last

    def forward(self, clip: Tensor) -> Tensor:
        clips, frames = clip.shape[0], clip.shape[2]
        if frames < self.stride:
            raise ModelError(
                f"a clip of {frames} frames is shorter than the stride over time, {self.stride}",
                do=f"Give at least {self.stride} frames.",
            )
        self.clock.clips, self.clock.frames = clips, frames
        maps: Tensor = getattr(self.net, self.method)(fold(clip))
        if self.last:
            maps = maps.permute(0, 3, 1, 2)
        return unfold(maps if maps.ndim == 4 else maps[..., None, None], clips)


class OverTime(nn.Module):
    """Base of what mixes frames: a kernel over time, and what it sees beyond the ends."""

    def __init__(
        self, clock: Clock, *, kernel: int = 3, dilation: int = 1, ends: Ends = "zeros"
    ) -> None:
        super().__init__()
        if kernel < 1 or dilation < 1 or (kernel % 2 == 0 and ends != "causal"):
            raise ModelError(
                f"a kernel over time must be odd, or causal; got {kernel} with dilation {dilation}"
            )
        self.clock, self.kernel, self.dilation, self.ends = clock, kernel, dilation, ends

    @property
    def centre(self) -> int:
        """The tap of the present frame."""
        return self.kernel - 1 if self.ends == "causal" else self.kernel // 2

    @property
    def before(self) -> int:
        """How many earlier frames the kernel reaches."""
        return self.centre * self.dilation

    @property
    def after(self) -> int:
        """How many later frames the kernel reaches."""
        return (self.kernel - 1 - self.centre) * self.dilation

    def clips(self, frames: Tensor) -> Tensor:
        """(N*T) C H W → N T C H W, a view; ModelError if these are not the clip's frames."""
        clips, most = self.clock.clips, self.clock.frames
        if most is not None and frames.shape[0] > clips * most:
            raise ModelError(
                f"a layer over time gets {frames.shape[0]} pictures of {clips} clips of {most} "
                "frames: the network cuts frames of this size into windows before it",
                do="Give pictures of the network's own size, or leave the layer out (`match`).",
            )
        return by_clip(frames, clips)

    def surround(self, clip: Tensor) -> Tensor:
        """N T C H W → N before+T+after C H W, with what the kernel sees beyond the ends."""
        # Joined as N T H W C, which is how channels-last memory lies, and so stays.
        pixels = clip.permute(0, 1, 3, 4, 2)
        if self.ends == "replicate":
            first, last = pixels[:, :1], pixels[:, -1:]
            around = [first] * self.before, [last] * self.after
            pixels = torch.cat([*around[0], pixels, *around[1]], 1)
        elif self.ends == "zeros" or self.clock.memory is None or not self.before:
            pixels = F.pad(pixels, (0, 0, 0, 0, 0, 0, self.before, self.after))
        else:
            memory = self.clock.memory
            nothing = pixels.new_zeros(len(pixels), self.before, *pixels.shape[2:])
            pixels = torch.cat([memory.take(nothing), pixels], 1)
            memory.keep(pixels[:, -self.before :])
        return pixels.permute(0, 1, 4, 2, 3)

    def extra_repr(self) -> str:
        dilated = f", dilation={self.dilation}" if self.dilation > 1 else ""
        return f"kernel={self.kernel}{dilated}, ends={self.ends!r}"
