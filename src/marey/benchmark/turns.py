"""Measuring in turns: whatever else a machine does falls on all that is compared; medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from typing import NamedTuple

Run = Callable[[], object]

_SIDE = 1536  # of the matrices


class Limit(NamedTuple):
    """Work that a machine does as fast as it can do any: `macs` multiply-accumulates a run."""

    macs: int
    run: Run


def in_turns(runs: Mapping[str, Run], repeats: int, *, warm: bool = True) -> dict[str, float]:
    """The median seconds of each of `runs`, run one after another `repeats` times.

    `warm`: each is run once before, and that is not counted.
    """
    if warm:
        for run in runs.values():
            run()
    taken: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(repeats):
        for name, run in runs.items():
            began = time.perf_counter()
            run()
            taken[name].append(time.perf_counter() - began)
    return {name: statistics.median(seconds) for name, seconds in taken.items()}


def limits() -> dict[str, Limit]:
    """A large matrix product and a large convolution in float32: torch's MKL and oneDNN."""
    import torch

    left, right = torch.randn(2, _SIDE, _SIDE)
    last = torch.channels_last
    x = torch.randn(8, 256, 28, 28).contiguous(memory_format=last)
    kernel = torch.randn(256, 256, 3, 3).contiguous(memory_format=last)
    return {
        "a matrix product": Limit(_SIDE**3, lambda: left @ right),
        "a convolution": Limit(
            x.numel() * 9 * 256, lambda: torch.nn.functional.conv2d(x, kernel, padding=1)
        ),
    }
