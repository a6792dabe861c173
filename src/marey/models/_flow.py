"""How a clip flows through a network: stage by stage its shape, its cost, and what it sees of time.

What a stage sees is found by breaking frames: a frame of NaN spoils whatever looks at it, through
any layer, however it is written, and nothing else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from marey.models._features import Maps, at_every_stage, stage_features
from marey.models._net import Net

_PICTURE = 32  # pixels a side while frames are broken: time flows as in a whole picture

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, slots=True)
class Stage:
    """A stage of a network, for one clip of its `input`.

    `shapes` are C T H W of what comes out, one a pathway; of the head, K. `stride` is how many
    frames one step in time goes on, `sees` how many there are from the first to the last that a
    step in the middle depends on, at most all of the clip; one a pathway, none for the head.
    """

    name: str
    shapes: Shapes
    stride: tuple[float, ...]
    sees: tuple[int, ...]
    params: int
    macs: int


def data_flow(net: Net) -> tuple[Stage, ...]:
    """The stages of `net` in order, the head last."""
    shapes, macs = _shapes_and_macs(net)
    strides = {
        name: tuple(net.input.frames / shape[1] for shape in stage if len(shape) == 4)
        for name, stage in shapes.items()
    }
    sees = _sees(net, strides)
    return tuple(
        Stage(
            name=name,
            shapes=shapes[name],
            stride=strides[name],
            sees=sees[name],
            params=sum(p.numel() for p in stage.parameters()),
            macs=macs[name],
        )
        for name, stage in net.stages()
    )


def _shapes_and_macs(net: Net) -> tuple[dict[str, Shapes], dict[str, int]]:
    """Counted without computing: tensors without values do."""
    net = deepcopy(net).to("meta")
    clip = torch.empty(1, len(net.input.mean), net.input.frames, *net.input.size, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        totals: dict[str, int] = {}

        def count(name: str, maps: Maps) -> None:
            totals[name] = counter.get_total_flops() // 2  # two operations a multiply-accumulate

        with at_every_stage(net, count):
            outputs = stage_features(net, clip)
    shapes = {
        name: tuple(tuple(m.shape[1:]) for m in _each(maps)) for name, maps in outputs.items()
    }
    before = [0, *totals.values()]
    return shapes, {name: total - before[k] for k, (name, total) in enumerate(totals.items())}


def _sees(net: Net, strides: Mapping[str, tuple[float, ...]]) -> dict[str, tuple[int, ...]]:
    """From first to last frame that a step depends on, by stage and pathway.

    Clips are broken at consecutive frames in the middle, as many as the longest stride: each
    position of a frame to the steps of a stage occurs.
    """
    frames, size = net.input.frames, [max(_PICTURE, least) for least in net.least[1:]]
    clips = max(math.ceil(stride) for stage in strides.values() for stride in stage)
    clip = torch.zeros(clips, len(net.input.mean), frames, *size)
    for position in range(clips):
        clip[position, :, (frames - clips) // 2 + position] = math.nan
    with torch.inference_mode():
        outputs = stage_features(net, clip)
    return {
        name: tuple(
            _span(m, stride) for m, stride in zip(_each(outputs[name]), stage, strict=False)
        )
        for name, stage in strides.items()
    }


def _span(maps: Tensor, stride: float) -> int:
    """The frames that the steps of N C T' H' W' see, of clips broken a frame later each.

    Only as many clips as the stride count: more would seem to see beyond the clip's ends.
    """
    spoilt = maps.isnan().any(1).flatten(2).any(2)  # N T'
    clips = len(spoilt)
    first = (clips - math.ceil(stride)) // 2
    last = first + math.ceil(stride)
    clip, step = spoilt[first:last].nonzero(as_tuple=True)
    behind = clip - step * stride
    return round((behind.max() - behind.min()).item()) + 1


def _each(maps: Maps) -> tuple[Tensor, ...]:
    return maps if isinstance(maps, tuple) else (maps,)
