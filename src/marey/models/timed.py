"""Any image network and a rule: a video network.

Time stays folded in the batch; only the layers that the rule puts in look across frames
(`marey.nn.mix`). So I3D, S3D, (2+1)D, MCx and rMCx, TSM, TAM and TANet on any backbone are one
call, and differ in a rule. `docs/timed.md` lists the rules, and how they fare on the network
families of timm.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from marey.errors import ModelError, WeightsError
from marey.models._halves import Cut, cut
from marey.models._inflate import Change, Site
from marey.models._net import Net, check_labels
from marey.models._rule import Rule, Rules, joined, sequence
from marey.models._trace import Layer, Trace, blank, trace
from marey.nn.heads import HEADS, Head, Mean, Segments
from marey.nn.inflated import SpaceTimeConv
from marey.nn.strided import pick_pixels_first
from marey.nn.time import Clock, Folded
from marey.types import Input

State = Mapping[str, Tensor]
Layout = Callable[[State], State]
"""From a published naming habit to the names of the image network, and of what the rule added."""


@dataclass(frozen=True, slots=True)
class TimeReport:
    """What a rule did to an image network.

    `changes` are the layers that mix time now, `new` the parameters that the image network does not
    have, `left` what was left alone, with the reason.
    """

    rule: str
    changes: tuple[Change, ...]
    new: tuple[str, ...]
    left: Mapping[str, str]

    def __str__(self) -> str:
        rows = [(c.name, c.became, c.start) for c in self.changes]
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)] if rows else []
        lines = [
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            for row in rows
        ]
        left = [f"{name}: left alone, {why}" for name, why in self.left.items()]
        return "\n".join([f"{self.rule}: {len(rows)} layers mix time", *lines, *left])


class Timed(Net):
    """An image network with time folded into its batch; made by `timed`."""

    body: Folded

    def __init__(self, body: Folded, head: Head, parts: list[list[str]], early: int) -> None:
        super().__init__(body, head)
        self.parts, self._early = parts, early
        self.image_names: dict[str, str] = {}
        self.layouts: dict[str, Layout] = {}
        self.image_layouts: dict[str, Layout] = {"image": dict}

    @property
    def mixes_time(self) -> bool:
        """Not without a rule."""
        time = self.report.time
        return time is None or bool(time.changes)

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The image network's own parts, in order, norms with the convolution before them."""
        found: list[tuple[str, nn.Module]] = []
        for names in self.parts:
            layers = [self.body.net.get_submodule(name) for name in names]
            found.append((names[0], layers[0] if len(layers) == 1 else nn.ModuleList(layers)))
        return [*found, ("head", self.head)]

    def early(self) -> int:
        """How many of the first parts work at more than the smallest resolution."""
        return self._early

    def convert(self, state: State, layout: str) -> dict[str, Tensor]:
        """`image` is the state of the image network itself; a family adds the published layouts."""
        known = {**self.layouts, **self.image_layouts}
        if layout not in known:
            raise WeightsError(f"{self.architecture} cannot read the layout {layout!r}")
        state = known[layout](state)
        own = self.state_dict()
        return dict(self._carried(name, value, own) for name, value in state.items())

    def fresh(self, layout: str) -> frozenset[str]:
        """An image network's weights have nothing for what the rule put into the body."""
        if layout not in self.image_layouts:
            return super().fresh(layout)
        kept = set(self.image_names.values())
        return frozenset(
            name for name in self.state_dict() if name.startswith("body.") and name not in kept
        )

    def untaught(self, layout: str) -> str:
        """An image network's weights were never trained with the layers of a rule."""
        time = self.report.time
        return time.rule if layout in self.image_layouts and time and time.changes else ""

    def _carried(self, name: str, value: Tensor, own: State) -> tuple[str, Tensor]:
        """An entry under this network's name, and inflated where its layer is."""
        name = self.image_names.get(name, name)
        there = own.get(name)
        if there is None or there.shape == value.shape:
            return name, value
        if name == "head.linear.weight":
            if (
                isinstance(self.head, Segments)
                and there.shape[1] == value.shape[1] * self.head.parts
            ):
                return name, self.head.spread(value)
            return name, value.flatten(1)  # a 1x1 convolution
        layer = self.get_submodule(name.rpartition(".")[0])
        if isinstance(layer, SpaceTimeConv) and value.ndim == 4:
            return name, layer.inflate(value)
        return name, value


def _parts(net: nn.Module, seen: Trace) -> list[list[str]]:
    """The names of the network's children in order; norms and the like belong to what they follow.

    A plain list that spans several resolutions, and so is most of the network, counts by its own
    children.
    """
    flat: list[tuple[str, nn.Module]] = []
    for name, child in net.named_children():
        spanned = {
            layer.stage for layer in seen.layers if layer.name.startswith(f"{name}.")
        } & seen.stages
        if isinstance(child, nn.Sequential | nn.ModuleList) and len(spanned) > 2:
            flat += [(f"{name}.{inner}", part) for inner, part in child.named_children()]
        else:
            flat.append((name, child))
    found: list[list[str]] = []
    for name, module in flat:
        convolves = any(isinstance(layer, nn.Conv2d) for layer in module.modules())
        if found and not convolves:
            found[-1].append(name)
        else:
            found.append([name])
    return found


def _early(parts: list[list[str]], seen: Trace) -> int:
    """The number of parts before the first one that reaches the smallest resolution."""
    last = [layer.name for layer in seen.layers if layer.stage == max(seen.stages)]
    for number, names in enumerate(parts):
        if any(layer == name or layer.startswith(f"{name}.") for layer in last for name in names):
            return number
    return 0


def timed(
    net: nn.Module,
    rule: Rules = "none",
    *,
    frames: int,
    classes: int | Sequence[str] | None = None,
    dropout: float = 0.0,
) -> Timed:
    """The image network `net` as a video network, by a rule or several; `net` itself stays.

    The result maps clips, N 3 T H W, to logits, N K: the mean over time of the frames' logits, or
    what a head rule makes of the frames' features. `frames` is T of the clips it is meant for; only
    the rule `gate` demands it. `classes` (a count, or labels in order) gives it a new last layer.

    >>> import timm
    >>> net = timed(timm.create_model("resnet18"), "tam", frames=8, classes=["sit", "stand"])
    >>> len(net.report.time.changes), net(torch.zeros(1, 3, 8, 64, 64)).shape
    (8, torch.Size([1, 2]))

    Raises ModelError for a network without convolutions, a rule that fits no layer, and a layer
    that the rule does not understand, each by its name.
    """
    rules = sequence(rule)
    if frames < 1:
        raise ModelError(f"frames must be at least 1, got {frames}")
    prepare = image_input(_said(net), frames)
    image = copy.deepcopy(net)
    before = {id(value): name for name, value in _entries(image)}
    seen = trace(image, prepare.size)
    _refuse_no_convnet(image, seen.layers, seen.features)
    halves = cut(image, seen)
    parts = _parts(halves.body(image), seen)
    site = Site(image, seen, Clock(), frames)
    # A pool stands before whole parts and renames what is in them, so it comes last.
    for one in sorted(rules, key=lambda one: one.kind == "pool"):
        if not one.is_head:
            site.apply(one)
    body = Folded(
        halves.body(image), site.clock, method=halves.method, stride=site.stride, last=halves.last
    )
    head = _head(image, halves, rules, classes, dropout)
    made = Timed(body, head, parts, _early(parts, seen))
    pick_pixels_first(made)
    made.to(next(net.parameters()))  # new layers on the same device, of the same precision
    made.image_names = _names(made, before, site, halves)
    made.report.time = TimeReport(joined(rules), tuple(site.changes), _new(made), _left(seen))
    made.input = prepare
    if any(rule.kind == "gate" for rule in rules):  # made for that many frames
        made.least = (frames, 1, 1)
    made.architecture = made.name = _architecture(net)
    made.options = {"rule": joined(rules), "frames": frames, "dropout": dropout}
    made.labels = None if classes is None or isinstance(classes, int) else check_labels(classes)
    _run_once(made, frames, type(net).__name__)
    return made.eval()


def _left(seen: Trace) -> dict[str, str]:
    """What no rule can change, with the reason."""
    called = dict.fromkeys(seen.functional, "it convolves by a function call, for each frame")
    windowed = "it sees windows of a frame as pictures of their own"
    return called | dict.fromkeys(seen.windowed, windowed)


def _entries(net: nn.Module) -> list[tuple[str, Tensor]]:
    return [*net.named_parameters(), *net.named_buffers()]


def image_input(given: Mapping[str, Any], frames: int) -> Input:
    """From timm's words on how pictures are prepared; ImageNet's habit where nothing is said."""
    height, width = (given.get("input_size") or (3, 224, 224))[1:]
    how = given.get("interpolation")
    return Input(
        frames=frames,
        sampling="segments",
        seconds=2.0,
        resize=round(min(height, width) / (given.get("crop_pct") or 0.875)),
        size=(height, width),
        interpolation="bicubic" if how == "bicubic" else "bilinear",
        mean=tuple(given.get("mean") or (0.485, 0.456, 0.406)),
        std=tuple(given.get("std") or (0.229, 0.224, 0.225)),
    )


def _said(net: nn.Module) -> Mapping[str, Any]:
    """What timm wrote on one of its networks."""
    return getattr(net, "pretrained_cfg", None) or getattr(net, "default_cfg", None) or {}


def _architecture(net: nn.Module) -> str:
    """The name by which the network can be made again, as far as timm made it."""
    known = _said(net).get("architecture")
    return f"timm/{known}" if known else type(net).__name__


def _refuse_no_convnet(net: nn.Module, layers: Sequence[Layer], features: tuple[int, ...]) -> None:
    kind = type(net).__name__
    if not layers:
        raise ModelError(
            "has no 2D convolution", where=kind, do="Give a convolutional image network."
        )
    if len(features) not in (1, 3):
        raise ModelError(
            f"makes tokens {features} of a picture, not a map (C, H, W)",
            where=kind,
            do="Give a convolutional image network; transformers are out of scope.",
        )
    spatial = [layer.conv for layer in layers if layer.spatial]
    if spatial and all(conv.kernel_size == conv.stride for conv in spatial):
        raise ModelError(
            "convolves only to cut the picture into patches",
            where=kind,
            do="Give a convolutional image network; transformers are out of scope.",
        )


def _head(
    image: nn.Module,
    halves: Cut,
    rules: tuple[Rule, ...],
    classes: int | Sequence[str] | None,
    dropout: float,
) -> Head:
    """The head over time, with the image network's own last layer where it still fits."""
    count = classes if isinstance(classes, int) else (len(classes) if classes else None)
    if count is not None and count < 1:
        raise ModelError(f"classes must be at least 1, got {count}")
    own = halves.linear
    if count is None and own is None:
        raise ModelError(
            "has no single linear layer at its end that could be kept",
            where=type(image).__name__,
            do="Give `classes`: a count, or the labels in order.",
        )
    rule = rules[-1] if rules and rules[-1].is_head else None
    kind = HEADS[rule.kind if rule else "mean"]
    options = rule.options if rule else {}
    wanted = count or (own.out_features if own else 0)
    head = kind(halves.width, wanted, dropout, frame=halves.frame(image), **options)
    if count is None and own is not None:
        if kind is Mean:
            head.linear = own
        elif isinstance(head, Segments):
            with torch.no_grad():
                head.linear.weight.copy_(head.spread(own.weight))
                if own.bias is not None:
                    head.linear.bias.copy_(own.bias)
        else:
            raise ModelError(
                f"the head {rule} starts from nothing",
                do="Give `classes`: a count, or the labels in order.",
            )
    return head


def _names(net: Timed, before: Mapping[int, str], site: Site, halves: Cut) -> dict[str, str]:
    """Under which name each entry of the image network lives on."""
    names = {before[id(value)]: name for name, value in _entries(net) if id(value) in before}
    for layer, module in net.named_modules():
        if isinstance(module, SpaceTimeConv):
            names.setdefault(f"{site.placed[module]}.weight", f"{layer}.weight")
    if halves.linear_name:
        for entry in ("weight", "bias"):
            names[f"{halves.linear_name}.{entry}"] = f"head.linear.{entry}"
    return names


def _new(net: Timed) -> tuple[str, ...]:
    kept = set(net.image_names.values())
    return tuple(name for name, _ in net.named_parameters() if name not in kept)


def _run_once(net: Timed, frames: int, kind: str) -> None:
    """Run without values: a module may use its layers in a way that changed ones do not allow."""
    twin = copy.deepcopy(net).to("meta").eval()
    try:
        with torch.inference_mode():
            twin(blank(twin, 2, 3, frames, *net.input.size))
    except ModelError:
        raise
    except Exception as error:
        first = next(iter(str(error).splitlines()), type(error).__name__)
        rule = net.report.time.rule if net.report.time else ""
        raise ModelError(
            f"does not run any more with the rule {rule!r} ({first})",
            where=kind,
            do="Leave out the layers that it uses in a way of its own (`stages`, `match`).",
        ) from error
