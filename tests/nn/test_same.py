from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from marey.nn.same import SameConv3d, pad_same, same


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "pads"),
    [
        (224, 7, 2, (2, 3)),
        (97, 7, 2, (3, 3)),
        (56, 3, 2, (0, 1)),
        (49, 3, 2, (1, 1)),
        (7, 3, 1, (1, 1)),
        (8, 2, 2, (0, 0)),
        (9, 2, 2, (0, 1)),
        (8, 1, 2, (0, 0)),
        (1, 3, 2, (1, 1)),
    ],
)
def test_the_odd_pixel_is_padded_last(
    size: int, kernel: int, stride: int, pads: tuple[int, int]
) -> None:
    assert same(size, kernel, stride) == pads
    assert (size + sum(pads) - kernel) // stride + 1 == -(-size // stride)


def test_only_the_named_axes_are_padded() -> None:
    x = torch.ones(1, 1, 4, 6, 5)
    padded = pad_same(x, (3, 2), (1, 2))
    assert padded.shape == (1, 1, 4, 8, 6)
    assert padded.sum() == x.sum()
    assert pad_same(x, (1, 1, 1), (2, 2, 2)) is x


@pytest.mark.parametrize("sizes", [(4, 6, 8), (5, 7, 9), (4, 7, 8), (1, 1, 2)])
def test_a_convolution_pads_first(sizes: tuple[int, int, int]) -> None:
    torch.manual_seed(0)
    conv = SameConv3d(2, 3, (3, 3, 7), stride=(1, 2, 2))
    x = torch.randn(2, 2, *sizes)
    padded = pad_same(x, conv.kernel_size, conv.stride)
    torch.testing.assert_close(conv(x), F.conv3d(padded, conv.weight, conv.bias, conv.stride))
