"""A depthwise convolution over space and time whose gradients are fast on a CPU.

oneDNN runs it forwards as fast as it should be, but its gradients by a general loop: 30 to 120 ms
where the image convolution's, three times over, are 8 to 15 (`bench/rules.py --train`). Those are
what is used here: tap by tap over time, each is an image convolution of the frames it looks at.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

Sizes = tuple[int, ...]
"""Of time, height and width."""


def depthwise(
    clip: Tensor,
    weight: Tensor,
    bias: Tensor | None,
    stride: Sizes,
    padding: Sizes,
    dilation: Sizes,
) -> Tensor:
    """N C T H W, C' 1 k kh kw → N C' T' H' W': `F.conv3d` with C groups, zeros all around."""
    needed = torch.is_grad_enabled() and (clip.requires_grad or weight.requires_grad)
    if (
        needed
        and clip.device.type == "cpu"
        and not torch.is_autocast_enabled("cpu")  # whose casts torch's own gradient undoes
        and not torch.compiler.is_compiling()
    ):
        mixed: Tensor = _Depthwise.apply(clip, weight, bias, stride, padding, dilation)
        return mixed
    return F.conv3d(clip, weight, bias, stride, padding, dilation, clip.shape[1])


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        clip: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        stride: Sizes,
        padding: Sizes,
        dilation: Sizes,
    ) -> Tensor:
        ctx.save_for_backward(clip, weight)
        ctx.geometry = stride, padding, dilation
        return F.conv3d(clip, weight, bias, stride, padding, dilation, clip.shape[1])

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        clip, weight = ctx.saved_tensors
        stride, padding, dilation = ctx.geometry
        of_clip, of_weight, of_bias = ctx.needs_input_grad[:3]
        # Time before channels: a frame is then an image, and frames of one clip a batch of them.
        frames, grads = clip.transpose(1, 2), grad.transpose(1, 2)
        sums = torch.zeros_like(frames) if of_clip else None
        kernel = torch.zeros_like(weight) if of_weight else None
        for tap in range(weight.shape[2]):
            seen, made = _pairs(
                clip.shape[2], grad.shape[2], tap * dilation[0] - padding[0], stride[0]
            )
            for n in range(len(clip)):
                if made.start >= made.stop:
                    continue
                to_frames, to_weight, _ = torch.ops.aten.convolution_backward(
                    grads[n, made],
                    frames[n, seen],
                    weight[:, :, tap],
                    None,
                    stride[1:],
                    padding[1:],
                    dilation[1:],
                    False,
                    (0, 0),
                    clip.shape[1],
                    (of_clip, of_weight, False),
                )
                if sums is not None:
                    sums[n, seen] += to_frames
                if kernel is not None:
                    kernel[:, :, tap] += to_weight
        offset = grad.sum((0, 2, 3, 4)) if of_bias else None
        return None if sums is None else sums.transpose(1, 2), kernel, offset, None, None, None


def _pairs(frames: int, outputs: int, offset: int, stride: int) -> tuple[slice, slice]:
    """Which frames a tap looks at, and for which outputs: output o sees frame o*stride + offset."""
    first = max(0, -(offset // stride))
    last = min(outputs - 1, (frames - 1 - offset) // stride)
    start = first * stride + offset
    return slice(start, last * stride + offset + 1, stride), slice(first, last + 1)
