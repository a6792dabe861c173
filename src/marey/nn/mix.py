"""The layers that mix time: put into an image network by a rule, each sees folded frames.

Where a kernel spans time alone, time is treated as the height of a picture whose width is all of
H*W: in channels-last memory that is a free view, and the 2D convolution is several times as fast
on a CPU as a 3D one with the kernel k x 1 x 1 (`bench/rules.py`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import ModelError
from marey.nn.depthwise import depthwise
from marey.nn.time import Clock, Ends, OverTime, by_clip, fold


def _as_picture(clip: Tensor) -> Tensor:
    """N T C H W → N C T H*W: time is the height; a view in channels-last memory."""
    return clip.permute(0, 1, 3, 4, 2).flatten(2, 3).permute(0, 3, 1, 2)


def _as_frames(picture: Tensor, height: int) -> Tensor:
    """N C T H*W → (N*T) C H W, a view in channels-last memory."""
    n, c, t, _ = picture.shape
    return picture.permute(0, 2, 3, 1).reshape(n * t, height, -1, c).permute(0, 3, 1, 2)


def add_difference(kernel: Tensor, layer: OverTime, dim: int) -> None:
    """Add to each output of a kernel, O …, a random part of its own change over time, in place.

    a times (next - before) of what the present tap sees, with a drawn evenly from -1/2 to 1/2: all
    taps still sum to the present one's, so that a still clip changes nothing where the ends are
    replicated, and yet the order of frames matters from the first step. `dim` is that of the taps.
    """
    now = kernel.select(dim, layer.centre).clone()
    slope = torch.rand(len(kernel), device=kernel.device, dtype=kernel.dtype) - 0.5
    change = slope.view(-1, *[1] * (now.ndim - 1)) * now
    kernel.select(dim, min(layer.centre + 1, layer.kernel - 1)).add_(change)
    kernel.select(dim, max(layer.centre - 1, 0)).sub_(change)


def _over_time(
    clip: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: int,
    padding: int,
    dilation: int,
    groups: int,
) -> Tensor:
    """N T C H W, by a kernel over time alone, O I k → (N*T') C' H W."""
    picture, kernel = _as_picture(clip), weight[..., None]
    mixed = F.conv2d(picture, kernel, bias, (stride, 1), (padding, 0), (dilation, 1), groups)
    return _as_frames(mixed, clip.shape[3])


class TimeConv(OverTime):
    """A convolution over time alone, k x 1 x 1: dense, or with `groups` as in any convolution.

    `weight` is `outputs inputs/groups k`; `stride` keeps every stride-th frame. The kernel is zero
    but for the present frame's tap, which is the identity (where inputs and outputs differ in
    number, the first of them), so that nothing changes before training.
    """

    def __init__(
        self,
        inputs: int,
        outputs: int,
        clock: Clock,
        *,
        kernel: int = 3,
        dilation: int = 1,
        ends: Ends = "zeros",
        groups: int = 1,
        stride: int = 1,
    ) -> None:
        super().__init__(clock, kernel=kernel, dilation=dilation, ends=ends)
        self.groups, self.stride = groups, stride
        self.weight = nn.Parameter(torch.zeros(outputs, inputs // groups, kernel))
        with torch.no_grad():
            nn.init.dirac_(self.weight[..., self.centre : self.centre + 1], groups)

    def forward(self, frames: Tensor) -> Tensor:
        """(N*T) C H W → (N*T') C' H W."""
        clip, padding = self.clips(frames), 0
        if self.ends == "zeros":
            padding = self.before
        else:
            clip = self.surround(clip)
        return _over_time(clip, self.weight, None, self.stride, padding, self.dilation, self.groups)

    def extra_repr(self) -> str:
        return f"{self.weight.shape[0]}, {super().extra_repr()}"


class TemporalAggregation(TimeConv):
    """Each channel's weighted sum over neighbouring frames: a depthwise k x 1 x 1 (TAM).

    `init` is where training starts:

    * "identity": the present frame alone, no change at all.
    * "shift": an eighth of the channels looks at the next frame, an eighth at the one before, as
      in TSM, but learnable.
    * "difference": every channel adds a random part of its change over time (`add_difference`).
    * "paper": all weights drawn with std sqrt(2 / C), as the authors' code does, which disturbs a
      pretrained network.

    `relu` follows the sum in the authors' ResNets, where the input is never negative; behind a
    linear bottleneck it would cut off half the signal. `learn=False` fixes the kernel.

    TAM, Fan et al. 2019, arXiv 1912.00869. Checked by tests against a depthwise `nn.Conv3d`.
    """

    def __init__(
        self,
        channels: int,
        clock: Clock,
        *,
        kernel: int = 3,
        dilation: int = 1,
        ends: Ends = "zeros",
        init: Literal["identity", "shift", "difference", "paper"] = "identity",
        relu: bool = False,
        learn: bool = True,
    ) -> None:
        super().__init__(
            channels,
            channels,
            clock,
            kernel=kernel,
            dilation=dilation,
            ends=ends,
            groups=channels,
        )
        self.relu = relu
        with torch.no_grad():
            self._start(init)
        if not learn:
            weight = self.weight.detach()
            del self.weight
            self.register_buffer("weight", weight)

    def _start(self, init: str) -> None:
        weight, now = self.weight[:, 0], self.centre
        earlier, later = max(now - 1, 0), min(now + 1, self.kernel - 1)
        if init == "paper":
            nn.init.normal_(weight, std=math.sqrt(2 / len(weight)))
        elif init == "difference":
            add_difference(weight, self, 1)
        elif init == "shift":
            share = len(weight) // 8
            for part, tap in ((weight[:share], later), (weight[share : 2 * share], earlier)):
                part.zero_()
                part[:, tap] = 1

    def forward(self, frames: Tensor) -> Tensor:
        mixed = super().forward(frames)
        return mixed.relu() if self.relu else mixed


class TemporalShift(OverTime):
    """TSM: an eighth of the channels from the next frame, the next eighth from the one before.

    Causal ends leave out the first, as the authors' online networks do: one eighth comes from the
    frame before. Nothing is learnt and nothing multiplied.

    Lin et al. 2019, arXiv 1811.08383; mit-han-lab/temporal-shift-module@1f6a834.
    """

    def __init__(self, clock: Clock, *, share: int = 8, ends: Ends = "zeros") -> None:
        super().__init__(clock, kernel=2 if ends == "causal" else 3, ends=ends)
        self.share = share

    def forward(self, frames: Tensor) -> Tensor:
        """(N*T) C H W → the same shape."""
        clip = self.clips(frames)
        width = clip.shape[2] // self.share
        shifted = clip.clone()
        if self.ends == "causal":
            shifted[:, :, :width] = self.surround(clip[:, :, :width])[:, :-1]
        else:
            wide = self.surround(clip[:, :, : 2 * width])
            shifted[:, :, :width] = wide[:, 2:, :width]
            shifted[:, :, width : 2 * width] = wide[:, :-2, width:]
        return shifted.flatten(0, 1)

    def extra_repr(self) -> str:
        return f"share={self.share}, {super().extra_repr()}"


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
    `add_difference`. `pad` is applied to the folded frames
    first, for layers that pad by the size of the picture. `stride` keeps every stride-th frame.

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
        over_time = kernel.shape[-2:] == self.strides[1:] == (1, 1) and self.padding == (0, 0)
        if not over_time and _left_to_loops(clip, kernel, self.groups):
            return self._as_images(clip, kernel)
        if self.ends == "zeros":
            padding = self.before
        else:
            clip = self.surround(clip)
        if over_time:
            flat = kernel[..., 0, 0]
            return _over_time(
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


def _weighted(
    clip: Sequence[Tensor], weights: Sequence[Sequence[Tensor]], t: int, centre: int
) -> Tensor:
    """Frame t, N C H W, as the sum of its neighbours in the clip by their weights, N C 1 1.

    Frame by frame, as sums of whole clips spend most of their gradient on writing zeros: measured
    2 to 4 times as slow.
    """
    total: Tensor = clip[t] * weights[centre][t]
    for k, tap in enumerate(weights):
        if k != centre:
            seen = min(max(t + k - centre, 0), len(clip) - 1)
            total = torch.addcmul(total, clip[seen], tap[t])
    return total


class TemporalAdaptive(OverTime):
    """TANet's module: a kernel over time for each clip and channel, and a gate for each frame.

    The channel's course over the clip, averaged over space, gives by two linear layers (`G`) the
    kernel, softmax over its taps, and by two convolutions over time (`L`) a gate; the gated frames
    are convolved by that kernel. The linear layers fix the number of frames. `init="mean"` starts
    with equal taps and open gates, so that a still clip changes nothing (with the ends
    replicated); for that the gate is 2 * sigmoid, "paper" has it plain and draws everything.

    Liu et al. 2021, arXiv 2005.06803; liu-zhy/temporal-adaptive-module@5fcb46f.
    """

    def __init__(
        self,
        channels: int,
        frames: int,
        clock: Clock,
        *,
        kernel: int = 3,
        ends: Ends = "replicate",
        init: Literal["mean", "paper"] = "mean",
    ) -> None:
        super().__init__(clock, kernel=kernel, ends=ends)
        self.frames, self.open = frames, 1.0 if init == "paper" else 2.0
        squeezed = max(1, channels // 4)
        self.G = nn.Sequential(
            nn.Linear(frames, 2 * frames, bias=False),
            nn.BatchNorm1d(2 * frames),
            nn.ReLU(),
            nn.Linear(2 * frames, kernel, bias=False),
        )
        self.L = nn.Sequential(
            nn.Conv1d(channels, squeezed, kernel, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(squeezed),
            nn.ReLU(),
            nn.Conv1d(squeezed, channels, 1, bias=False),
        )
        if init == "mean":
            nn.init.zeros_(self.G[3].weight)  # type: ignore[arg-type]
            nn.init.zeros_(self.L[3].weight)  # type: ignore[arg-type]

    def forward(self, frames: Tensor) -> Tensor:
        """(N*T) C H W → the same shape."""
        clip = self.clips(frames)
        if clip.shape[1] != self.frames:
            raise ModelError(
                f"adaptive kernels are made for {self.frames} frames, got {clip.shape[1]}",
                do="Give as many frames as the network was made for.",
            )
        course = clip.mean((3, 4)).transpose(1, 2)  # N C T
        kernel = self.G(course.flatten(0, 1)).softmax(-1).reshape(*course.shape[:2], -1)
        gate = self.open * self.L(course).sigmoid().transpose(1, 2)[..., None, None]  # N T C 1 1
        # Gates and kernel are multiplied with each other, then once with the large clip. Beyond the
        # ends they are zero, or those of the end frames, so that any frame, or that one, will do.
        gates, taps = self.surround(gate), kernel.permute(2, 0, 1)[:, :, None, :, None, None]
        weights = [(gates[:, k : k + self.frames] * tap).unbind(1) for k, tap in enumerate(taps)]
        seen = clip.unbind(1)
        mixed = [_weighted(seen, weights, t, self.centre) for t in range(self.frames)]
        pixels = torch.stack([frame.permute(0, 2, 3, 1) for frame in mixed], 1)
        return pixels.flatten(0, 1).permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"frames={self.frames}, {super().extra_repr()}"


class TimePool(nn.Module):
    """Every second frame: as it is ("pick"), or the "max" or "mean" of it and its neighbours."""

    stride = 2

    def __init__(self, clock: Clock, op: Literal["max", "mean", "pick"] = "max") -> None:
        super().__init__()
        self.clock, self.op = clock, op

    def forward(self, frames: Tensor) -> Tensor:
        """(N*T) C H W → (N*ceil(T/2)) C H W."""
        clip = by_clip(frames, self.clock.clips)
        if self.op == "pick":
            return clip[:, ::2].flatten(0, 1)
        picture = _as_picture(clip)
        if self.op == "max":
            pooled = F.max_pool2d(picture, (3, 1), (2, 1), (1, 0))
        else:
            pooled = F.avg_pool2d(picture, (3, 1), (2, 1), (1, 0), count_include_pad=False)
        return _as_frames(pooled, frames.shape[2])

    def extra_repr(self) -> str:
        return self.op


class WholeClip(nn.Module):
    """`layer`, which averages over its picture, made to average over the clip.

    The frames of a clip are laid below each other as one tall picture, N C T*H W: a view in
    channels-last memory. For gates and norms, to which the arrangement of pixels means nothing.
    """

    def __init__(self, layer: nn.Module, clock: Clock) -> None:
        super().__init__()
        self.layer, self.clock = layer, clock

    def forward(self, frames: Tensor) -> Tensor:
        """(N*T) C H W → the same shape."""
        clip = by_clip(frames, self.clock.clips).transpose(1, 2)
        tall: Tensor = self.layer(clip.flatten(2, 3))
        return tall.reshape(clip.shape).transpose(1, 2).flatten(0, 1)
