"""One clip through a network: eager in torch, and compiled in each precision, in turns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marey.benchmark.result import Clip, NetworkSpeed
from marey.benchmark.turns import Run, in_turns, limits
from marey.errors import ModelError
from marey.runtime import Runtime, compile
from marey.testing.fill import relative_error

if TYPE_CHECKING:
    from marey.models._net import Net

PRECISIONS = ("f32", "bf16")
"""What a network can be compiled to without clips to calibrate it on."""


def compiled(
    net: Net, precision: str | None = None, threads: int | None = None
) -> tuple[dict[str, Runtime], dict[str, str]]:
    """A network in each precision that this machine has, and why it is not in the others.

    One that is asked for is the only one; ModelError where there is none.
    """
    if precision is not None:
        return {precision: compile(net, precision=precision, threads=threads)}, {}
    made: dict[str, Runtime] = {}
    refused: dict[str, str] = {}
    for one in PRECISIONS:
        try:
            made[one] = compile(net, precision=one, threads=threads)
        except ModelError as error:
            refused[one] = error.what
    if not made:
        raise ModelError(f"cannot be compiled: {'; '.join(refused.values())}", where=net.name)
    return made, refused


def measure(
    net: Net,
    runtimes: Mapping[str, Runtime],
    frames: NDArray[np.uint8],
    *,
    repeats: int,
    beside: Mapping[str, Run] | None = None,
) -> tuple[NetworkSpeed, dict[str, float]]:
    """`net` eager, then its `runtimes`; and the milliseconds of what runs in turns `beside` them.

    `frames` is one clip, 1 T H W 3, which the runtimes take; eager gets it normalised already.
    """
    import torch

    from marey.models._cost import cost
    from marey.nn.clip import normalise
    from marey.runtime.torch import channels_last

    _, *(frame_count, height, width), _ = frames.shape
    shape = frame_count, height, width
    clip, macs, possible = (
        normalise(torch.from_numpy(frames), net.input),
        cost(net, shape).macs,
        limits(),
    )
    runs: dict[str, Run] = {name: limit.run for name, limit in possible.items()}
    runs |= beside or {}
    with torch.inference_mode():
        expected = net(clip.contiguous()).numpy()
        channels_last(net)
        runs["eager"] = lambda: net(clip)
        runs |= {name: _run(runtime, frames) for name, runtime in runtimes.items()}
        seconds = in_turns(runs, repeats)
    limit = max(one.macs / seconds[name] for name, one in possible.items())

    def row(name: str, runtime: str, precision: str, error: float | None) -> Clip:
        taken = seconds[name]
        return Clip(runtime, precision, 1000 * taken, error, macs / taken / limit)

    rows = [row("eager", "torch cpu, eager", "float32", None)]
    for name, runtime in runtimes.items():
        card = runtime.card()
        error = relative_error(runtime(frames), expected)
        rows.append(row(name, card.runtime, card.precision, error))
    speed = NetworkSpeed(shape, macs, 2e-9 * limit, tuple(rows), {})
    return speed, {name: 1000 * seconds[name] for name in beside or ()}


def measure_file(runtime: Runtime, frames: NDArray[np.uint8], *, repeats: int) -> NetworkSpeed:
    """A file that `marey export` wrote: there is no network to compare it with."""
    seconds = in_turns({"file": _run(runtime, frames)}, repeats)["file"]
    card = runtime.card()
    row = Clip(card.runtime, card.precision, 1000 * seconds)
    return NetworkSpeed(frames.shape[1:4], None, None, (row,), {})


def _run(runtime: Runtime, frames: NDArray[np.uint8]) -> Run:
    return lambda: runtime(frames)
