"""What the rules cost: parameters and MACs by formulas, calls and copies by watching."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from images import clip, image
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from marey.models._cost import Cost, cost
from marey.models.timed import timed
from marey.runtime.torch import channels_last

FRAMES, SIZE, CLASSES, WIDTH = 8, 64, 5, 512


@dataclass(frozen=True)
class Conv:
    """A convolution of resnet18 and the number of pixels that it reads and writes, a frame."""

    name: str
    inputs: int
    outputs: int
    area: int
    reads: int
    writes: int

    @property
    def params(self) -> int:
        return self.inputs * self.outputs * self.area


def convolutions() -> list[Conv]:
    net, found = image("resnet18", CLASSES), []

    def note(name: str) -> Callable[[Any, Any, Any], None]:
        def hook(layer: Any, given: Any, made: Any) -> None:
            i, o, h, w = layer.weight.shape[1], *layer.weight.shape[:1], *layer.weight.shape[2:]
            found.append(
                Conv(name, i, o, h * w, given[0].shape[2:].numel(), made.shape[2:].numel())
            )

        return hook

    for name, layer in net.named_modules():
        if isinstance(layer, nn.Conv2d):
            layer.register_forward_hook(note(name))
    net(torch.zeros(1, 3, SIZE, SIZE))
    return found


ALL = convolutions()
SPATIAL = [conv for conv in ALL if conv.area > 1]
STEM = SPATIAL[:1]
STAGES = [[c for c in ALL if c.name.startswith(f"layer{k}.")] for k in range(1, 5)]
FIRSTS = [conv for conv in SPATIAL if conv.name.endswith(".conv1")]
IMAGE = image("resnet18", CLASSES)
PARAMS = sum(p.numel() for p in IMAGE.parameters())
CONVOLVED = FRAMES * sum(conv.params * conv.writes for conv in ALL)
LINEAR = WIDTH * CLASSES
MACS = CONVOLVED + LINEAR


def inflated(layers: list[Conv], kernel: int) -> tuple[int, int]:
    """What kernel-1 more taps of a full convolution add."""
    more = kernel - 1
    params = more * sum(c.params for c in layers)
    return params, more * FRAMES * sum(c.params * c.writes for c in layers)


def beside(layers: list[Conv], kernel: int) -> tuple[int, int]:
    """What a convolution over time, as wide as the outputs, adds."""
    params = sum(kernel * c.outputs**2 for c in layers)
    return params, FRAMES * sum(kernel * c.outputs**2 * c.writes for c in layers)


def aggregated(layers: list[Conv], kernel: int) -> tuple[int, int]:
    """What a depthwise convolution over time, before a layer, adds."""
    params = sum(kernel * c.inputs for c in layers)
    return params, FRAMES * sum(kernel * c.inputs * c.reads for c in layers)


def adapted(layers: list[Conv], kernel: int) -> tuple[int, int]:
    """What the two small networks of an adaptive kernel add: `G` a channel, `L` a frame."""
    params = macs = 0
    for conv in layers:
        c, squeezed = conv.inputs, conv.inputs // 4
        hidden = 2 * FRAMES
        by_channel = FRAMES * hidden + hidden * kernel
        by_frame = c * squeezed * kernel + squeezed * c
        params += by_channel + 2 * hidden + by_frame + 2 * squeezed  # with their norms
        macs += c * by_channel + FRAMES * by_frame
    return params, macs


def factored() -> tuple[int, int]:
    """What (2+1)D with its paper's middle width has more: about nothing, but for norms between."""
    params = macs = 0
    for c in SPATIAL:
        width = 3 * c.area * c.inputs * c.outputs // (c.area * c.inputs + 3 * c.outputs)
        halves = width * (c.area * c.inputs + 3 * c.outputs)
        params += halves + 2 * width - c.params
        macs += FRAMES * c.writes * (halves - c.params)
    return params, macs


def pooled() -> tuple[int, int]:
    """From stage 2 on, half of the frames are left."""
    halved = [conv for stage in STAGES[1:] for conv in stage]
    return 0, -FRAMES // 2 * sum(conv.params * conv.writes for conv in halved)


def strided() -> tuple[int, int]:
    """Stage 2 inflated, for half of the frames, as all that follows."""
    params, macs = inflated([conv for conv in STAGES[1] if conv.area > 1], 3)
    return params, macs // 2 + pooled()[1]


def recurrent(width: int) -> tuple[int, int]:
    """A GRU over the frames, and a last layer as wide as it."""
    gates = 3 * width * (WIDTH + width)
    params = gates + 6 * width + (width + 1) * CLASSES - (WIDTH + 1) * CLASSES
    return params, FRAMES * gates + width * CLASSES - LINEAR


def convolved(width: int, kernel: int) -> tuple[int, int]:
    """A projection and two convolutions over the frames, and a last layer as wide as they."""
    mixing = 2 * kernel * width**2
    params = (WIDTH + 1) * width + mixing + 2 * width + (width + 1 - WIDTH - 1) * CLASSES
    return params, FRAMES * (WIDTH * width + mixing) + width * CLASSES - LINEAR


ADDED = {
    "none": (0, 0),
    "full": inflated(SPATIAL, 3),
    "full:kernel=5:ends=causal": inflated(SPATIAL, 5),
    "full:stages=2:stride=2": strided(),
    "mixed": inflated([*STEM, *STAGES[0]], 3),
    "split": beside(SPATIAL, 3),
    "split:width=paper": factored(),
    "shift": (0, 0),
    "tam": aggregated(FIRSTS, 3),
    "tam:kernel=5:stages=4": aggregated([c for c in FIRSTS if c in STAGES[3]], 5),
    "gate": adapted(FIRSTS, 3),
    "pool": pooled(),
    "segments:parts=4": (3 * LINEAR, 3 * LINEAR),
    "rnn:cell=gru:width=64": recurrent(64),
    "conv1d": convolved(128, 3),
}


@pytest.mark.parametrize("rule", ADDED)
def test_parameters_and_macs_are_those_of_the_formulas(rule: str) -> None:
    params, macs = ADDED[rule]
    found = cost(timed(IMAGE, rule, frames=FRAMES, classes=CLASSES), (FRAMES, SIZE, SIZE))
    assert found == Cost(PARAMS + params, MACS + macs)


class Watch(TorchDispatchMode):
    """The calls that torch makes in the end: convolutions by their dimensions, and copies."""

    COPIES = ("clone", "copy_", "_to_copy", "cat", "constant_pad_nd", "stack", "index")

    def __init__(self) -> None:
        super().__init__()
        self.convolutions: Counter[int] = Counter()
        self.copies: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> object:
        name = func.overloadpacket.__name__
        if name == "convolution":
            self.convolutions[args[1].ndim - 2] += 1
        elif name in self.COPIES:
            self.copies[name] += 1
        return func(*args, **(kwargs or {}))


def last(x: torch.Tensor) -> torch.Tensor:
    return x.contiguous(memory_format=torch.channels_last_3d)


def watched(rule: str, net: nn.Module = IMAGE) -> Watch:
    made = timed(net, rule, frames=FRAMES, classes=CLASSES)
    channels_last(made)
    given = last(clip(2, FRAMES, SIZE))
    with torch.no_grad(), Watch() as watch:
        made(given)
    return watch


# Convolutions in 2 and in 3 dimensions, of resnet18's 20 of which 17 are spatial, and copies made.
CALLS = {
    "none": (20, 0, {}),
    "full": (3, 17, {}),
    "full:ends=replicate": (3, 17, {"cat": 17}),
    "full:ends=causal": (3, 17, {"constant_pad_nd": 17}),
    "full:stages=2:stride=2": (16, 4, {}),
    "mixed": (15, 5, {}),
    "split": (20 + 17, 0, {}),
    "split:init=paper:order=time-space": (20 + 17, 0, {}),
    "split:ends=causal": (20 + 17, 0, {"constant_pad_nd": 17}),
    "shift": (20, 0, {"clone": 8, "copy_": 16, "constant_pad_nd": 8}),
    "tam": (20 + 8, 0, {}),
    "tam:init=difference": (20 + 8, 0, {"cat": 8}),
    "pool": (20, 0, {}),
    "pool:op=pick": (20, 0, {}),
    "pool:op=mean": (20, 0, {}),
    "segments": (20, 0, {}),
}


@pytest.mark.parametrize("rule", CALLS)
def test_time_is_folded_without_copies_but_where_it_must_be(rule: str) -> None:
    watch = watched(rule)
    planar, solid, copies = CALLS[rule]
    assert watch.convolutions == Counter({2: planar, 3: solid})
    assert watch.copies == copies


def test_gates_over_the_whole_clip_copy_nothing() -> None:
    net = image("test_byobnet")
    assert watched("clip", net).copies == watched("none", net).copies


@pytest.mark.parametrize("rule", ["none", "full", "split", "tam", "pool", "shift", "gate"])
def test_every_layer_sees_channels_last_memory(rule: str) -> None:
    """The first one sees the clip itself; for one clip too, which torch would treat otherwise."""
    net = timed(IMAGE, rule, frames=FRAMES, classes=CLASSES)
    channels_last(net)
    seen: list[torch.Tensor] = []
    for layer in net.body.net.modules():
        if not list(layer.children()):
            layer.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    for clips in (1, 2):
        seen.clear()
        given = last(clip(clips, FRAMES, SIZE))
        with torch.no_grad():
            net(given)
        assert seen[0].data_ptr() == given.data_ptr()
        maps = [x for x in seen if x.ndim == 4]
        assert all(x.is_contiguous(memory_format=torch.channels_last) for x in maps)
