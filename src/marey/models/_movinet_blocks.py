"""The blocks of MoViNet, and what they look like in its base and in its stream networks."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.models._movinet_sizes import Kernel
from marey.nn.causal import CLIP, CausalConv3d, Chain, CumulativeMean, Memory, Remembers
from marey.nn.same import SameConv3d, pad_same
from marey.nn.time import fold, unfold
from marey.nn.widths import eights

Sizes = tuple[int, int, int]
Activation = Callable[[], nn.Module]


def unit(kernel: nn.Conv3d, activation: Activation | None = None) -> Chain:
    """A convolution, its norm, and an activation except at the end of a branch."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(conv=kernel)
    layers["norm"] = nn.BatchNorm3d(kernel.out_channels, eps=1e-3, momentum=0.01)
    if activation:
        layers["act"] = activation()
    return Chain(layers)


def conv(
    inputs: int, outputs: int, kernel: Sizes = (1, 1, 1), stride: int = 1, groups: int = 1
) -> nn.Conv3d:
    """A convolution with SAME padding that strides over height and width."""
    return SameConv3d(inputs, outputs, kernel, (1, stride, stride), groups=groups, bias=False)


def space_time(channels: int, kernel: Kernel, stride: int) -> Chain:
    """The depthwise convolution of the base networks, over space and time at once."""
    time, space = kernel
    return Chain(
        unit(conv(channels, channels, (time, space, space), stride, channels), nn.SiLU),
    )


def space_then_past(channels: int, kernel: Kernel, stride: int) -> Chain:
    """That of the stream networks: each frame by itself, then, if at all, with those before it."""
    time, space = kernel
    layers = Chain(
        unit(conv(channels, channels, (1, space, space), stride, channels), nn.Hardswish),
    )
    if time > 1:
        past = CausalConv3d(channels, channels, time, groups=channels)
        layers.append(unit(past, nn.Hardswish))
    return layers


class Excite(nn.Module):
    """Channels weighed by what the whole clip holds of each."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = eights(channels // 4)
        self.fc1 = nn.Conv3d(channels, hidden, 1)
        self.fc2 = nn.Conv3d(hidden, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        gates: Tensor = self.fc2(F.silu(self.fc1(x.mean((2, 3, 4), keepdim=True))))
        return x * gates.sigmoid()


class CausalExcite(Remembers):
    """Channels weighed, frame by frame, by what was there so far and by what is there now."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        hidden = eights(channels // 2)
        self.so_far = CumulativeMean()
        self.fc1 = nn.Conv3d(2 * channels, hidden, 1)
        self.fc2 = nn.Conv3d(hidden, channels, 1)

    def forward(self, x: Tensor, memory: Memory = CLIP) -> Tensor:
        now = x.mean((3, 4), keepdim=True)
        seen = torch.cat([self.so_far(now, memory), now], 1)
        gates: Tensor = self.fc2(F.hardswish(self.fc1(seen)))
        # TensorFlow's hard sigmoid; PyTorch's has a slope of 1/6.
        return x * (0.2 * gates + 0.5).clamp(0, 1)


class SamePool(nn.Module):
    """The mean over 3x3 pixels at stride 2, SAME: of the real pixels of each window only."""

    def forward(self, x: Tensor) -> Tensor:
        frames = fold(x)
        real = torch.ones_like(frames[:1, :1])
        return unfold(_mean_of_nine(frames) / _mean_of_nine(real), x.shape[0])


def _mean_of_nine(frames: Tensor) -> Tensor:
    return F.avg_pool2d(pad_same(frames, (3, 3), (2, 2)), 3, 2)


@dataclass(frozen=True, slots=True)
class Kind:
    """What tells base from stream networks: activation, depthwise part and excitation."""

    activation: Activation
    depthwise: Callable[[int, Kernel, int], nn.Module]
    excite: Callable[[int], nn.Module]
    streams: bool


BASE = Kind(nn.SiLU, space_time, Excite, streams=False)
STREAM = Kind(nn.Hardswish, space_then_past, CausalExcite, streams=True)


class Block(Remembers):
    """Widen, look, weigh and narrow, scaled by `alpha`, beside a shortcut."""

    def __init__(
        self, inputs: int, expanded: int, outputs: int, kernel: Kernel, stride: int, kind: Kind
    ) -> None:
        super().__init__()
        self.branch = Chain(
            OrderedDict(
                expand=unit(conv(inputs, expanded), kind.activation),
                depthwise=kind.depthwise(expanded, kernel, stride),
                se=kind.excite(expanded),
                project=unit(conv(expanded, outputs)),
            )
        )
        self.shortcut: nn.Module = nn.Identity()
        if stride > 1 or inputs != outputs:
            self.shortcut = unit(conv(inputs, outputs))
        self.pool = SamePool() if stride > 1 else nn.Identity()
        self.alpha = nn.Parameter(torch.zeros(()))

    def forward(self, x: Tensor, memory: Memory = CLIP) -> Tensor:
        mixed: Tensor = self.shortcut(self.pool(x)) + self.alpha * self.branch(x, memory)
        return mixed
