"""A network as torch computes it fastest on a CPU: the same function, in another form.

Two things hold torch back there (`bench/prepared.py`). It keeps some convolutions from oneDNN, and
it reads and writes every map once more for the norm behind a convolution.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from copy import deepcopy
from itertools import chain
from typing import Any

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from marey.models._net import Net
from marey.models.resnet3d import Space, SpaceTime
from marey.nn.causal import CausalConv3d
from marey.nn.inflated import SpaceTimeConv
from marey.nn.same import SameConv3d

_CONVOLUTIONS = {
    *(nn.Conv2d, nn.Conv3d, Space, SpaceTime, Conv2dSame, SameConv3d, CausalConv3d, SpaceTimeConv)
}
"""Whose outputs are linear in `weight`, plus `bias`. Others, subclasses too, keep their norms."""

_NORMS = {nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, BatchNormAct2d}


class OneDnn(TorchFunctionMode):
    """While it is entered, oneDNN computes all convolutions of float32 maps on the CPU.

    ATen leaves some to loops of its own (`use_mkldnn` in its Convolution.cpp): on one thread those
    whose kernel is 1 x 1 in space, on any number those of one small clip. These loops are slower,
    and forget channels-last memory for all layers that follow.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        given = kwargs or {}
        if func in (torch.conv2d, torch.conv3d):
            return _convolution(func, *args, **given)
        return func(*args, **given)


def _convolution(
    func: Any,
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Tensor:
    known = input.dtype == weight.dtype == torch.float32 and input.device.type == "cpu"
    made: Tensor
    if not known or input.ndim != weight.ndim or not input.numel() or isinstance(padding, str):
        made = func(input, weight, bias, stride, padding, dilation, groups)
        return made
    axes = weight.ndim - 2
    sizes = [(one,) * axes if isinstance(one, int) else one for one in (padding, stride, dilation)]
    made = torch.ops.aten.mkldnn_convolution(input, weight, bias, *sizes, groups)
    return made


def has_onednn() -> bool:
    """Whether this is a processor for which the loops were found slower, and torch has oneDNN."""
    known = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return known and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]


def prepared(net: Net) -> Net:
    """A copy of `net`, for evaluation, with norms worked into the convolutions before them.

    What stays is shared with `net`. A norm is worked in where one run shows that it alone reads
    what a convolution made; a network that cannot be run without values keeps its norms.
    """
    made = deepcopy(net, {id(tensor): tensor for tensor in _tensors(net)}).eval()
    modules = dict(made.named_modules())
    without: dict[nn.Module, nn.Module] = {}
    for conv, norm in _pairs(made):
        _work_in(modules[norm], modules[conv])
        without[modules[norm]] = _rest(modules[norm])
    for module in modules.values():
        for name, child in module._modules.items():
            if child in without:
                module._modules[name] = without[child]
    return made


def _tensors(net: nn.Module) -> Iterator[Tensor]:
    return chain(net.parameters(), net.buffers())


def _work_in(norm: Any, conv: Any) -> None:
    """Give `conv` new weights, so that it gives what `norm` made of its output."""
    scale = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight.double()
    offset = -norm.running_mean.double()
    if conv.bias is not None:
        offset = offset + conv.bias.double()
    offset = offset * scale
    if norm.bias is not None:
        offset = offset + norm.bias.double()
    kernel = conv.weight.double() * scale.view(-1, *[1] * (conv.weight.ndim - 1))
    for name, value in (("weight", kernel), ("bias", offset)):
        setattr(conv, name, nn.Parameter(value.to(conv.weight.dtype), requires_grad=False))


def _rest(norm: nn.Module) -> nn.Module:
    """What a norm does besides: timm's holds an activation."""
    return norm.act if isinstance(norm, BatchNormAct2d) else nn.Identity()


def _pairs(net: Net) -> list[tuple[str, str]]:
    """Convolutions and the norms that alone read their outputs, by name."""
    twin = deepcopy(net, {id(tensor): tensor.detach().to("meta") for tensor in _tensors(net)})
    shape = (1, len(net.input.mean), net.input.frames, *net.input.size)
    watch = _Watch(twin)
    try:
        with torch.inference_mode(), watch:
            twin(torch.empty(shape, dtype=next(net.parameters()).dtype, device="meta"))
    except Exception:  # whatever a stranger's forward raises without values
        return []
    return watch.found()


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Sees which modules make which tensors, and how many operations read them."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._calls: Counter[str] = Counter()
        self._made: dict[int, str] = {}
        self._read: Counter[int] = Counter()
        self._behind: dict[str, int] = {}
        self._alive: list[Tensor] = []  # so that no two tensors have one id
        for name, module in net.named_modules():
            if type(module) in _CONVOLUTIONS and _is_plain(module):
                module.register_forward_hook(self._after(name))
            elif type(module) in _NORMS and module.running_mean is not None and _is_plain(module):
                module.register_forward_pre_hook(self._before(name))

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for leaf in tree_leaves((args, kwargs)):
            if isinstance(leaf, Tensor):
                self._read[id(leaf)] += 1
                self._alive.append(leaf)
        return func(*args, **(kwargs or {}))

    def _after(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: Any, output: Tensor) -> None:
            self._calls[name] += 1
            self._made[id(output)] = name
            self._alive.append(output)

        return hook

    def _before(self, name: str) -> Any:
        def hook(module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
            self._calls[name] += 1
            self._behind[name] = id(inputs[0])

        return hook

    def found(self) -> list[tuple[str, str]]:
        pairs = [
            (self._made[tensor], norm)
            for norm, tensor in self._behind.items()
            if tensor in self._made and self._read[tensor] == 1
        ]
        return [pair for pair in pairs if all(self._calls[name] == 1 for name in pair)]


def _is_plain(module: nn.Module) -> bool:
    """Whether nothing is hung on it: hooks may make its weights, or want to see its output."""
    return not module._forward_pre_hooks and not module._forward_hooks
