"""The layers of image networks that need understanding before time can be put into them."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from marey.errors import ModelError
from marey.nn.mix import WholeClip
from marey.nn.time import Clock

Pad = Callable[[Tensor], Tensor]
KernelOf = Callable[[Any], Tensor]


def geometry(name: str, conv: nn.Conv2d) -> tuple[Pad | None, KernelOf | None]:
    """How a convolution pads and what it convolves with, where that is not as in `nn.Conv2d`.

    ModelError, by its name, for one that does something else.
    """
    from timm.layers import (
        Conv2dSame,
        ScaledStdConv2d,
        ScaledStdConv2dSame,
        StdConv2d,
        StdConv2dSame,
        pad_same,
    )

    if parametrize.is_parametrized(conv) or conv._forward_pre_hooks:
        raise _unknown(name, conv, "computes its kernel from something else")
    kind = type(conv)
    same = partial(
        pad_same,
        kernel_size=list(conv.kernel_size),
        stride=list(conv.stride),
        dilation=list(conv.dilation),
    )
    if kind is Conv2dSame:
        return same, None
    if kind in (StdConv2d, ScaledStdConv2d):
        return None, _standardised
    if kind in (StdConv2dSame, ScaledStdConv2dSame):
        return (same if conv.same_pad else None), _standardised
    if kind.forward is nn.Conv2d.forward and kind._conv_forward is nn.Conv2d._conv_forward:
        return _own_pad(conv), None
    raise _unknown(name, conv, "has a forward of its own")


def _own_pad(conv: nn.Conv2d) -> Pad | None:
    """Padding that a convolution over space and time has no word for, done before it."""
    if conv.padding_mode == "zeros" and not isinstance(conv.padding, str):
        return None
    mode = "constant" if conv.padding_mode == "zeros" else conv.padding_mode
    return partial(F.pad, pad=conv._reversed_padding_repeated_twice, mode=mode)


def _unknown(name: str, conv: nn.Conv2d, why: str) -> ModelError:
    return ModelError(
        f"{type(conv).__name__} {why}, which cannot be given a kernel over time",
        where=name,
        do="Use 'tam', 'shift' or 'split', which leave the layer as it is, or other `layers`.",
    )


def _standardised(conv: Any) -> Tensor:
    """Mean 0 and variance 1 for each output, scaled by the layer's gain where it has one."""
    gain = conv.gain.flatten() * conv.scale if hasattr(conv, "gain") else None
    flat = conv.weight.flatten(1)[None]
    standard = F.batch_norm(flat, None, None, weight=gain, training=True, eps=conv.eps)
    return standard.view_as(conv.weight)


def gates(net: nn.Module, clock: Clock) -> list[tuple[str, nn.Module, str]]:
    """What averages over the picture to gate or norm it, made to average over the whole clip.

    Squeeze-and-excitation in its usual forms, group norms and global response norms: name, the new
    module, and a word for it.
    """
    from timm.layers import CecaModule, EcaModule, EffectiveSEModule, GlobalContext, SEModule
    from timm.layers.grn import GlobalResponseNorm
    from timm.models import hgnet, senet
    from timm.models._efficientnet_blocks import SqueezeExcite
    from torchvision.ops import SqueezeExcitation

    kinds = (
        *(SEModule, SqueezeExcite, EffectiveSEModule, EcaModule, CecaModule, GlobalContext),
        *(hgnet.EseModule, senet.SEModule, SqueezeExcitation),
    )
    found: list[tuple[str, nn.Module, str]] = []
    for name, module in net.named_modules():
        if isinstance(module, kinds):
            found.append((name, WholeClip(module, clock), "gate by the whole clip"))
        elif isinstance(module, nn.GroupNorm) or (
            isinstance(module, GlobalResponseNorm) and module.channel_dim == 1
        ):
            found.append((name, WholeClip(module, clock), "norm over the whole clip"))
    return found
