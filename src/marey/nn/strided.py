"""Strided convolutions that torch must not take the gradient of.

On processors without AVX-512 torch 2.14.1 writes beyond its memory, and sooner or later crashes, in
the weight gradient of a 2D convolution of two to seven channels with a 1 x 1 kernel and a stride,
in channels-last memory. The first layers of RepVGG and FastViT have one of three channels. To take
every so many pixels and then convolve each is the same, and does not go there.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from torch import Tensor, nn

_CHANNELS = range(2, 8)


def pick_pixels_first(net: nn.Module) -> None:
    """Change such convolutions in place: the same numbers, by a stride of one."""
    for layer in net.modules():
        if (
            isinstance(layer, nn.Conv2d)
            and layer.in_channels in _CHANNELS
            and (layer.kernel_size, layer.padding) == ((1, 1), (0, 0))
            and layer.stride != (1, 1)
        ):
            layer.register_forward_pre_hook(partial(_picked, layer.stride))
            layer.stride = (1, 1)


def _picked(stride: tuple[int, ...], layer: nn.Module, given: tuple[Any, ...]) -> Tensor:
    (maps,) = given
    picked: Tensor = maps[..., :: stride[0], :: stride[1]]
    return picked
