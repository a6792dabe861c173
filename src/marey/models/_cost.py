"""What one clip costs a network."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass

import torch
from torch.utils.flop_counter import FlopCounterMode

from marey.models._net import Net


@dataclass(frozen=True, slots=True)
class Cost:
    """Parameters, and multiply-accumulates of the convolutions and matrix products of one clip."""

    params: int
    macs: int


def cost(net: Net, shape: tuple[int, int, int]) -> Cost:
    """Count for one clip of `shape` (T, H, W), without computing it: tensors without values do."""
    net = deepcopy(net).to("meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(torch.empty(1, len(net.input.mean), *shape, device="meta"))
    # The counter follows the convention of two operations a multiply-accumulate.
    return Cost(sum(p.numel() for p in net.parameters()), counter.get_total_flops() // 2)
