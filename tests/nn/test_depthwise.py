from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from marey.nn.depthwise import depthwise

CHANNELS = 3


def gradients(call: object, *inputs: Tensor) -> list[Tensor | None]:
    leaves = [value.clone().requires_grad_() for value in inputs]
    out = call(*leaves)  # type: ignore[operator]
    generator = torch.Generator().manual_seed(1)
    out.backward(torch.randn(out.shape, generator=generator, dtype=out.dtype))
    return [out.detach(), *[leaf.grad for leaf in leaves]]


@given(
    n=st.integers(1, 3),
    t=st.integers(1, 6),
    kernel=st.integers(1, 5),
    outputs=st.integers(1, 2),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 2), st.integers(1, 2)),
    padding=st.tuples(st.integers(0, 4), st.integers(0, 2), st.integers(0, 1)),
    dilation=st.tuples(st.integers(1, 2), st.integers(1, 2), st.just(1)),
    last=st.booleans(),
)
def test_gradients_are_those_of_torch(
    n: int,
    t: int,
    kernel: int,
    outputs: int,
    stride: tuple[int, ...],
    padding: tuple[int, ...],
    dilation: tuple[int, ...],
    last: bool,
) -> None:
    if t + 2 * padding[0] <= (kernel - 1) * dilation[0]:
        return  # no output at all
    torch.manual_seed(0)
    clip = torch.randn(n, CHANNELS, t, 6, 5, dtype=torch.float64)
    if last:
        clip = clip.contiguous(memory_format=torch.channels_last_3d)
    weight = torch.randn(outputs * CHANNELS, 1, kernel, 3, 2, dtype=torch.float64)
    bias = torch.randn(outputs * CHANNELS, dtype=torch.float64)
    found = gradients(lambda *x: depthwise(*x, stride, padding, dilation), clip, weight, bias)
    expected = gradients(
        lambda *x: F.conv3d(*x, stride, padding, dilation, CHANNELS), clip, weight, bias
    )
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def run(clip: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return depthwise(clip, weight, bias, (1, 1, 1), (1, 1, 1), (1, 1, 1))


@pytest.mark.parametrize(("of_clip", "of_weight"), [(True, False), (False, True)])
def test_only_what_is_asked_for_is_computed(of_clip: bool, of_weight: bool) -> None:
    clip = torch.randn(1, 3, 4, 5, 5, requires_grad=of_clip)
    weight = torch.randn(3, 1, 3, 3, 3, requires_grad=of_weight)
    run(clip, weight).sum().backward()
    assert (clip.grad is not None, weight.grad is not None) == (of_clip, of_weight)


def test_a_bias_alone_learns() -> None:
    bias = torch.zeros(3, requires_grad=True)
    run(torch.randn(1, 3, 4, 5, 5), torch.randn(3, 1, 3, 3, 3), bias).sum().backward()
    torch.testing.assert_close(bias.grad, torch.full((3,), 100.0))


def test_inference_and_casts_are_left_to_torch() -> None:
    clip, weight = torch.randn(1, 3, 4, 5, 5), torch.randn(3, 1, 3, 3, 3, requires_grad=True)
    assert run(clip, weight).grad_fn.name() == "_DepthwiseBackward"  # type: ignore[union-attr]
    with torch.inference_mode():
        assert run(clip, weight).grad_fn is None
    with torch.autocast("cpu", torch.bfloat16):
        cast = run(clip, weight)
    assert cast.dtype == torch.bfloat16
    cast.float().sum().backward()
    assert weight.grad is not None
    assert weight.grad.dtype == torch.float32


def test_channels_last_memory_goes_through_both_ways() -> None:
    clip = torch.randn(2, 8, 4, 6, 6).contiguous(memory_format=torch.channels_last_3d)
    clip.requires_grad_()
    out = run(clip, torch.randn(8, 1, 3, 3, 3, requires_grad=True))
    assert out.is_contiguous(memory_format=torch.channels_last_3d)
    out.backward(torch.ones_like(out))
    assert clip.grad is not None
    assert clip.grad.is_contiguous(memory_format=torch.channels_last_3d)
