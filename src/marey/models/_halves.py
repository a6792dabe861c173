"""An image network cut in two: features of a frame's map, and what makes logits of them."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from marey.models._trace import Trace, has_features, trace


class Method(nn.Module):
    """A method of a network, as a module; `last`: it takes its maps as N H W C."""

    def __init__(self, net: nn.Module, method: str, *, last: bool = False) -> None:
        super().__init__()
        self.net, self.method, self.last = net, method, last

    def forward(self, x: Tensor) -> Tensor:
        """N C H W → what the method makes of it."""
        if self.last:
            x = x.permute(0, 2, 3, 1)
        return getattr(self.net, self.method)(x)  # type: ignore[no-any-return]


@dataclass(frozen=True, slots=True)
class Cut:
    """Where to cut. `method` maps frames to features; `width` is what the last layer gets.

    `linear` was the network's last layer and stands no longer in it; None where it has none.
    `last`: between the two, maps are N H W C.
    """

    method: str
    head: frozenset[str]
    width: int
    linear: nn.Linear | None
    linear_name: str | None
    last: bool = False

    def body(self, net: nn.Module) -> nn.Module:
        """The children that make the features."""
        if self.method == "forward":
            return net
        return _part(net, lambda name: name not in self.head, entries=True)

    def frame(self, net: nn.Module) -> nn.Module | None:
        """The children that make features of a map, before the last layer; None: there are none."""
        if self.method == "forward":
            return None
        rest = _part(net, lambda name: name in self.head, entries=False)
        return Method(rest, "forward_head", last=self.last)


def cut(net: nn.Module, seen: Trace) -> Cut:
    """Take the last layer out of `net`, in place, and say where to cut the rest."""
    method = "forward_features" if has_features(net) else "forward"
    head, last = frozenset(seen.head), _channels_last(net, seen)
    name = _classifier(net, seen)
    if name is not None:
        linear = _as_linear(net.get_submodule(name))
        net.set_submodule(name, nn.Identity())
        return Cut(method, head, linear.in_features, linear, name, last)
    width = seen.outputs[0]
    if has_features(net) and hasattr(net, "reset_classifier"):
        cast(Any, net).reset_classifier(0)  # several last layers, or one that is not linear
        width = trace(net, seen.size).outputs[0]
    return Cut(method, head, width, None, None, last)


def _channels_last(net: nn.Module, seen: Trace) -> bool:
    """Whether the features are maps H W C; a network of timm's says how many channels it has."""
    width = getattr(net, "num_features", None)
    shape = seen.features
    return len(shape) == 3 and width not in (None, shape[0]) and shape[-1] == width


def _classifier(net: nn.Module, seen: Trace) -> str | None:
    """The name of the linear layer that makes the logits."""
    last = cast(Any, net).get_classifier() if hasattr(net, "get_classifier") else None
    for name, module in net.named_modules():
        if module is last and (isinstance(module, nn.Linear) or _is_pointwise(module)):
            return str(name)
    return seen.last


def _is_pointwise(module: nn.Module | None) -> bool:
    return isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1) and module.groups == 1


def _as_linear(layer: nn.Module) -> nn.Linear:
    """The layer itself, or a 1x1 convolution of a 1x1 map as what it is."""
    if isinstance(layer, nn.Linear):
        return layer
    assert isinstance(layer, nn.Conv2d)
    linear = nn.Linear(layer.in_channels, layer.out_channels, bias=layer.bias is not None)
    linear.weight = nn.Parameter(layer.weight.detach().flatten(1))
    if layer.bias is not None:
        linear.bias = nn.Parameter(layer.bias.detach())
    return linear


def _part(net: nn.Module, keep: Callable[[str], bool], *, entries: bool) -> nn.Module:
    """The same network with some of its children only; `entries`: with what is its own, too."""
    part = copy.copy(net)
    part._modules = {name: child for name, child in net._modules.items() if keep(name)}
    part._parameters = dict(net._parameters) if entries else {}
    part._buffers = dict(net._buffers) if entries else {}
    return part
