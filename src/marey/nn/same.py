"""TensorFlow's SAME padding: as many outputs as strides begin in the input.

What is odd goes to the end, so it depends on the size: stride 2 pads a kernel of 3 by (0, 1) where
the size is even, and by (1, 1) where it is odd. PyTorch's symmetric padding would shift the picture
by a pixel.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


def same(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """How much to pad before and after an axis of `size`."""
    total = max(kernel - 1 - (size - 1) % stride, 0)
    return total // 2, total - total // 2


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int]) -> Tensor:
    """Zeros around the last axes of `x`, one for each number of `kernel`."""
    sizes = x.shape[-len(kernel) :]
    pads = [same(*axis) for axis in zip(sizes, kernel, stride, strict=True)]
    return F.pad(x, [side for pad in reversed(pads) for side in pad]) if any(map(any, pads)) else x


class SameConv3d(nn.Conv3d):
    """A convolution over N C T H W with SAME padding; `padding` stays at its default."""

    def forward(self, x: Tensor) -> Tensor:
        pads = [
            same(*axis) for axis in zip(x.shape[2:], self.kernel_size, self.stride, strict=True)
        ]
        if all(before == after for before, after in pads):  # the common case needs no copy
            around = [before for before, _ in pads]
            return F.conv3d(
                x, self.weight, self.bias, self.stride, around, self.dilation, self.groups
            )
        return super().forward(pad_same(x, self.kernel_size, self.stride))
