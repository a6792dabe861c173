"""A rule put into an image network: which of its layers come to see time, and how."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn

from marey.errors import ModelError
from marey.models._layers import gates, geometry
from marey.models._rule import LAST, Rule
from marey.models._trace import Block, Layer, Trace
from marey.nn.inflated import GivenCentreConv, SpaceTimeConv
from marey.nn.mix import (
    TemporalAdaptive,
    TemporalAggregation,
    TemporalShift,
    TimeConv,
    TimePool,
    add_difference,
)
from marey.nn.time import Clock, Ends


@dataclass(frozen=True, slots=True)
class Change:
    """A layer that came to see time: what it became, and where its new weights start."""

    name: str
    became: str
    start: str


@dataclass(slots=True)
class Site:
    """An image network being changed, and the notes about it."""

    net: nn.Module
    trace: Trace
    clock: Clock
    frames: int
    changes: list[Change] = field(default_factory=list)
    placed: dict[nn.Module, str] = field(default_factory=dict)
    stride: int = 1

    def apply(self, rule: Rule) -> None:
        """Change the network by `rule`; ModelError where it fits nothing."""
        _APPLY[rule.kind](self, rule)

    def replace(self, name: str, module: nn.Module, became: str, start: str) -> None:
        self.net.set_submodule(name, module)
        self.placed[module] = name
        self.changes.append(Change(name, became, start))

    def before(self, name: str, mix: nn.Module, became: str, start: str) -> None:
        """Set `mix` before a layer: it becomes `NAME.mix` and `NAME.conv`."""
        layer = self.net.get_submodule(name)
        self.replace(name, nn.Sequential(OrderedDict(mix=mix, conv=layer)), became, start)


def chosen(trace: Trace, rule: Rule) -> list[Layer]:
    """The layers that the rule is about, in the order in which they run; ModelError if none is."""
    found = [layer for layer in _of_kind(trace, rule.layers) if _wanted(layer, trace, rule)]
    if not found:
        stages = ", ".join(map(str, sorted(trace.stages)))
        raise ModelError(
            f"the rule {str(rule)!r} fits no layer of the network",
            do=f"It has stages {stages}, and {len(trace.layers)} convolutions, such as "
            f"{trace.layers[-1].name}.",
        )
    return found


def _of_kind(trace: Trace, layers: str) -> list[Layer]:
    # 1x1 maps belong to gates; what carries a shortcut has its branch beside it.
    usual = [layer for layer in trace.layers if not layer.shortcut and layer.pixels > 1]
    if layers == "last":
        return usual[-1:]
    if layers in ("first", "middle"):
        if not trace.blocks:
            # Without residual blocks there is no branch: each spatial layer behind the stem.
            return [layer for layer in usual[1:] if layer.spatial]
        return [_of_block(block, layers) for block in trace.blocks]
    test: dict[str, Callable[[Layer], bool]] = {
        "spatial": lambda layer: layer.spatial,
        "depthwise": lambda layer: layer.depthwise,
        "pointwise": lambda layer: not layer.spatial,
        "all": lambda layer: True,
    }
    return [layer for layer in usual if test[layers](layer)]


def _of_block(block: Block, which: str) -> Layer:
    if which == "middle":
        return next((layer for layer in block.branch if layer.spatial), block.branch[0])
    return block.branch[0]


def _stages(trace: Trace, rule: Rule) -> tuple[int, ...]:
    return (max(trace.stages),) if rule.stages == LAST else rule.stages


def _wanted(layer: Layer, trace: Trace, rule: Rule) -> bool:
    if rule.stages is not None and layer.stage not in _stages(trace, rule):
        return False
    if rule.match is not None and not re.search(rule.match, layer.name):
        return False
    if rule.every > 1 and layer.block:
        stage = [block.name for block in trace.blocks if block.stage == layer.stage]
        return stage.index(layer.block) % int(rule.every) == 0
    return True


def _full(site: Site, rule: Rule) -> None:
    start = "mean" if rule.init == "paper" else rule.init
    ends: Ends = rule.ends or ("replicate" if rule.init in ("mean", "difference") else "zeros")
    _refuse_functional(site, rule)
    layers = chosen(site.trace, rule)
    strided = _strided(site, rule, layers)
    for layer in layers:
        conv = _untouched(site, layer)
        pad, kernel_of = geometry(layer.name, conv)
        common: dict[str, Any] = {
            "kernel": rule.kernel,
            "dilation": rule.dilation,
            "ends": ends,
            "stride": 2 if layer.name in strided else 1,
            "pad": pad,
            "init": start,
        }
        mixed: SpaceTimeConv
        if kernel_of is None:
            mixed = SpaceTimeConv(conv, site.clock, **common)
        elif start == "mean":
            raise ModelError(
                f"{type(conv).__name__} standardises its kernel, whose mean over time is another",
                where=layer.name,
                do='Use init="centre" or "difference".',
            )
        else:
            mixed = GivenCentreConv(conv, site.clock, kernel_of=kernel_of, **common)
        size = "x".join(map(str, (rule.kernel, *conv.kernel_size)))
        site.replace(layer.name, mixed, f"{size} kernel", rule.init)


def _split(site: Site, rule: Rule) -> None:
    _refuse_functional(site, rule)
    layers = chosen(site.trace, rule)
    strided = _strided(site, rule, layers)
    paper = rule.init == "paper"
    between = rule.between if rule.between is not None else paper or rule.width == "paper"
    norm = _norm_like(site.net)
    for layer in layers:
        conv = _untouched(site, layer)
        space, width = conv, conv.out_channels
        first = rule.order == "time-space"
        if rule.width == "paper":
            space, width = _paper_width(layer.name, conv, rule.kernel, first=first)
        elif first:
            width = conv.in_channels
        groups = conv.groups if width % conv.groups == 0 else 1
        time = TimeConv(
            conv.in_channels if first else width,
            width if first else conv.out_channels,
            site.clock,
            kernel=rule.kernel,
            dilation=rule.dilation,
            ends=rule.ends or ("replicate" if rule.init == "difference" else "zeros"),
            groups=groups,
            stride=2 if layer.name in strided else 1,
        )
        if paper:
            fan_out = time.weight.shape[0] // groups * rule.kernel
            nn.init.normal_(time.weight, std=(2 / fan_out) ** 0.5)
        elif rule.init == "difference":
            with torch.no_grad():
                add_difference(time.weight, time, 2)
        parts: OrderedDict[str, nn.Module] = OrderedDict()
        parts["time" if first else "space"] = time if first else space
        if between:
            parts["norm"], parts["act"] = norm(width), nn.ReLU(inplace=True)
        parts["space" if first else "time"] = space if first else time
        became = f"{rule.order}, {rule.kernel} frames"
        site.replace(layer.name, nn.Sequential(parts), became, rule.init)


def _shift(site: Site, rule: Rule) -> None:
    for layer in chosen(site.trace, rule):
        mix = TemporalShift(site.clock, share=rule.share, ends=rule.ends or "zeros")
        site.before(layer.name, mix, f"shift of 1/{rule.share}", "fixed")


def _tam(site: Site, rule: Rule) -> None:
    ends: Ends = rule.ends or ("replicate" if rule.init == "difference" else "zeros")
    for layer in chosen(site.trace, rule):
        mix = TemporalAggregation(
            layer.conv.in_channels,
            site.clock,
            kernel=rule.kernel,
            dilation=rule.dilation,
            ends=ends,
            init=rule.init,
            relu=rule.relu,
            learn=rule.learn,
        )
        site.before(layer.name, mix, f"aggregation over {rule.kernel} frames", rule.init)


def _gate(site: Site, rule: Rule) -> None:
    ends: Ends = rule.ends or ("zeros" if rule.init == "paper" else "replicate")
    if ends == "causal":
        raise ModelError("adaptive kernels see the whole clip, they cannot be causal")
    for layer in chosen(site.trace, rule):
        mix = TemporalAdaptive(
            layer.conv.in_channels,
            site.frames,
            site.clock,
            kernel=rule.kernel,
            ends=ends,
            init=rule.init,
        )
        site.before(layer.name, mix, f"adaptive kernel of {rule.kernel} frames", rule.init)


def _pool(site: Site, rule: Rule) -> None:
    for stage in _stages(site.trace, rule):
        first = next((layer for layer in site.trace.layers if layer.stage == stage), None)
        if first is None:
            raise ModelError(
                f"the rule {str(rule)!r} fits no layer of the network",
                do=f"It has stages {', '.join(map(str, sorted(site.trace.stages)))}.",
            )
        pool = TimePool(site.clock, rule.op)
        site.before(_begun_by(first, site.trace), pool, f"{rule.op} of time", "fixed")
        site.stride *= 2


def _begun_by(layer: Layer, trace: Trace) -> str:
    """The largest module that begins with the layer and is given one tensor, or its block.

    What stands beside the layer, in its block or in parallel, has to have as many frames.
    """
    found = inside = layer.block or layer.name
    while "." in inside:
        inside = inside.rpartition(".")[0]
        first = next(other for other in trace.layers if other.name.startswith(f"{inside}."))
        if first is not layer and (layer.block is None or first.block != layer.block):
            break
        if inside in trace.plain:
            found = inside
    return found


def _clip(site: Site, rule: Rule) -> None:
    found = gates(site.net, site.clock)
    if not found:
        raise ModelError(
            "no squeeze-and-excitation or group norm that could look at the whole clip",
            do="Leave the rule 'clip' out.",
        )
    for name, module, became in found:
        site.replace(name, module, became, "as it was")


_APPLY: dict[str, Callable[[Site, Rule], None]] = {
    "full": _full,
    "mixed": _full,
    "split": _split,
    "shift": _shift,
    "tam": _tam,
    "gate": _gate,
    "pool": _pool,
    "clip": _clip,
}


def _untouched(site: Site, layer: Layer) -> nn.Conv2d:
    conv = site.net.get_submodule(layer.name)
    if conv is not layer.conv or not isinstance(conv, nn.Conv2d):
        raise ModelError(
            "was changed by a rule before this one",
            where=layer.name,
            do="Give rules that replace a layer first, or different layers to each.",
        )
    return conv


def _refuse_functional(site: Site, rule: Rule) -> None:
    """Convolutions by a function call cannot be replaced: silence would leave them without time."""
    if site.trace.functional:
        raise ModelError(
            f"convolves by a function call, which the rule {rule.kind!r} cannot change",
            where=site.trace.functional[0],
            do="Use 'tam' or 'shift', which stand before layers and leave them as they are.",
        )


def _strided(site: Site, rule: Rule, layers: list[Layer]) -> set[str]:
    """The layers that halve time, one for each stage of `rule.stride`; their shortcuts follow."""
    found = set()
    for stage in rule.stride:
        first = next((layer for layer in layers if layer.stage == stage), None)
        if first is None:
            raise ModelError(
                f"no layer of stage {stage} mixes time, so none can stride over it",
                do="Give `stride` stages that the rule changes.",
            )
        if first.block:
            block = next(block for block in site.trace.blocks if block.name == first.block)
            around = [layer for layer in block.layers if layer.shortcut]
            if not around:
                raise ModelError(
                    "has a shortcut without a layer, which cannot stride",
                    where=block.name,
                    do=f"Shorten time before it: 'pool:stages={stage},'.",
                )
            pick = TimePool(site.clock, "pick")
            site.before(around[0].name, pick, "every second frame", "fixed")
        found.add(first.name)
        site.stride *= 2
    return found


def _norm_like(net: nn.Module) -> Callable[[int], nn.Module]:
    """Batch norms with the epsilon of the network's own."""
    own = next((m for m in net.modules() if isinstance(m, nn.BatchNorm2d)), None)
    return lambda width: nn.BatchNorm2d(width, eps=own.eps if own else 1e-5)


def _paper_width(name: str, conv: nn.Conv2d, kernel: int, *, first: bool) -> tuple[nn.Conv2d, int]:
    """A fresh space half with the middle width at which both halves have the full kernel's size."""
    pad, kernel_of = geometry(name, conv)
    special = kernel_of is not None or (pad is not None and type(conv) is not nn.Conv2d)
    if conv.groups > 1 or special:
        kind = f"is a {type(conv).__name__}" if special else "has groups"
        raise ModelError(
            f"{kind}, for which the paper's middle width is not defined",
            where=name,
            do='Use width="same", or layers without groups.',
        )
    area, inputs, outputs = conv.kernel_size[0] * conv.kernel_size[1], *conv.weight.shape[1::-1]
    space, time = (outputs, inputs) if first else (inputs, outputs)
    width = kernel * area * inputs * outputs // (area * space + kernel * time)
    fresh = nn.Conv2d(
        width if first else inputs,
        outputs if first else width,
        conv.kernel_size,  # type: ignore[arg-type]
        conv.stride,  # type: ignore[arg-type]
        conv.padding,  # type: ignore[arg-type]
        conv.dilation,  # type: ignore[arg-type]
        bias=conv.bias is not None,
        padding_mode=conv.padding_mode,
    )
    nn.init.kaiming_normal_(fresh.weight, mode="fan_out", nonlinearity="relu")
    return fresh, width
