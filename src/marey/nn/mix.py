"""The layers that mix time: put into an image network by a rule, each sees folded frames.

Where a kernel spans time alone, time is treated as the height of a picture whose width is all of
H*W: in channels-last memory that is a free view, and the 2D convolution is several times as fast
on a CPU as a 3D one with the kernel k x 1 x 1 (`bench/rules.py`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import ModelError
from marey.nn.time import Clock, Ends, OverTime, by_clip


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


def over_time(
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
        return over_time(clip, self.weight, None, self.stride, padding, self.dilation, self.groups)

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
