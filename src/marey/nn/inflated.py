"""Image convolutions inflated: kernels over space and time at once, made from 2D ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.nn.depthwise import depthwise
from marey.nn.mix import add_difference, over_time
from marey.nn.time import Clock, Ends, OverTime, fold


def _left_to_loops(clip: Tensor, kernel: Tensor, groups: int) -> bool:
    """Whether torch would not give a 3D convolution of N T C H W to oneDNN.

    One small clip it leaves to loops of its own (`use_mkldnn` in ATen's Convolution.cpp), which are
    some ten times as slow, and forget channels-last memory for all layers that follow.
    """
    if clip.device.type != "cpu" or torch.compiler.is_compiling():
        return False
    n, t, c, height, _ = clip.shape
    small = n == 1 and c * t * height <= 20480 and min(kernel.shape[-2:]) <= 3
    return small and groups == 1


class SpaceTimeConv(OverTime):
    """An image convolution inflated: k x kh x kw over space and time at once.

    Made from the image convolution `conv`, whose kernel becomes the present frame's tap
    (`init="centre"`, a still clip's answer is unchanged), or each tap's, divided by their number
    (`init="mean"`, I3D; unchanged with the ends replicated); `init="difference"` is the centre and
    `add_difference`. `pad` is applied to the folded frames first, for layers that pad by the size
    of the picture. `stride` keeps every stride-th frame.

    I3D, Carreira and Zisserman 2017, arXiv 1705.07750.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        clock: Clock,
        *,
        kernel: int = 3,
        dilation: int = 1,
        ends: Ends = "zeros",
        init: Literal["centre", "mean", "difference"] = "centre",
        stride: int = 1,
        pad: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(clock, kernel=kernel, dilation=dilation, ends=ends)
        self.init, self.groups, self.pad = init, conv.groups, pad
        self.strides = (stride, *conv.stride)
        self.dilations = (dilation, *conv.dilation)
        self.padding = (0, 0) if pad else conv.padding
        self.weight = nn.Parameter(self.inflate(conv.weight.detach()))
        self.bias = conv.bias

    def inflate(self, weight: Tensor) -> Tensor:
        """O I kh kw → O I k kh kw, by `init`."""
        if self.init == "mean":
            return weight[:, :, None].expand(-1, -1, self.kernel, -1, -1) / self.kernel
        around = (0, 0, 0, 0, self.centre, self.kernel - 1 - self.centre)
        kernel = F.pad(weight[:, :, None], around)
        if self.init == "difference":
            add_difference(kernel, self, 2)
        return kernel

    def taps(self) -> Tensor:
        """The kernel, O I k kh kw."""
        return self.weight

    def offset(self) -> Tensor | None:
        """The bias, O."""
        return self.bias

    def forward(self, frames: Tensor) -> Tensor:
        """(N*T) C H W → (N*T') C' H' W'."""
        clip, padding = self.clips(self.pad(frames) if self.pad else frames), 0
        kernel, offset = self.taps(), self.offset()
        alone = kernel.shape[-2:] == self.strides[1:] == (1, 1) and self.padding == (0, 0)
        if not alone and _left_to_loops(clip, kernel, self.groups):
            return self._as_images(clip, kernel)
        if self.ends == "zeros":
            padding = self.before
        else:
            clip = self.surround(clip)
        if alone:
            flat = kernel[..., 0, 0]
            return over_time(
                clip, flat, offset, self.strides[0], padding, self.dilation, self.groups
            )
        clip = clip.transpose(1, 2)
        around = (padding, *self.padding)
        if self.groups == clip.shape[1]:
            return fold(depthwise(clip, kernel, offset, self.strides, around, self.dilations))
        mixed = F.conv3d(clip, kernel, offset, self.strides, around, self.dilations, self.groups)
        return fold(mixed)

    def _as_images(self, clip: Tensor, kernel: Tensor) -> Tensor:
        """The same of N T C H W as images, each the frames that the kernel sees over each other."""
        wide = self.surround(clip).permute(0, 1, 3, 4, 2)
        steps = range(0, self.kernel * self.dilation, self.dilation)
        length = wide.shape[1] - steps[-1]
        seen = [wide[:, step : step + length : self.strides[0]] for step in steps]
        images = torch.cat(seen, -1).flatten(0, 1).permute(0, 3, 1, 2)
        flat = kernel.transpose(1, 2).flatten(1, 2)  # O k*I kh kw
        strides, dilations = self.strides[1:], self.dilations[1:]
        return F.conv2d(images, flat, self.offset(), strides, self.padding, dilations)

    def extra_repr(self) -> str:
        outputs, inputs, *size = self.taps().shape
        shape = "x".join(map(str, size))
        return (
            f"{inputs * self.groups}, {outputs}, {shape}, stride={self.strides}, ends={self.ends!r}"
        )


class GivenCentreConv(SpaceTimeConv):
    """An inflated convolution whose present tap is computed by the image layer itself, `space`.

    For layers that standardise their kernel: `kernel_of` gives what they convolve with, and the
    taps of the other frames are plain weights beside it, zero at first or `add_difference`'s.
    """

    def __init__(
        self,
        conv: nn.Conv2d,
        clock: Clock,
        *,
        kernel_of: Callable[[nn.Conv2d], Tensor],
        kernel: int = 3,
        dilation: int = 1,
        ends: Ends = "zeros",
        init: Literal["centre", "difference"] = "centre",
        stride: int = 1,
        pad: Callable[[Tensor], Tensor] | None = None,
    ) -> None:
        super().__init__(
            conv,
            clock,
            kernel=kernel,
            dilation=dilation,
            ends=ends,
            init=init,
            stride=stride,
            pad=pad,
        )
        with torch.no_grad():
            taps = self.inflate(kernel_of(conv))
        beside = [taps[:, :, : self.centre], taps[:, :, self.centre + 1 :]]
        self.weight = nn.Parameter(torch.cat(beside, 2))
        self.bias = None
        self.space, self.kernel_of = conv, kernel_of

    def taps(self) -> Tensor:
        now = self.kernel_of(self.space)[:, :, None]
        return torch.cat(
            [self.weight[:, :, : self.centre], now, self.weight[:, :, self.centre :]], 2
        )

    def offset(self) -> Tensor | None:
        return self.space.bias
