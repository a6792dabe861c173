"""What a new frame costs a network that looks back only: a step, beside windows that overlap.

    python bench/streaming.py [NAME…] [--threads 1] [--repeats 20] [--parts 4]

A network is run as `marey watch` runs it, by OpenVINO: windows of its clip's length, of which one
begins each `1 / parts` of a clip, and steps of one frame with a state. Both in turns in one
process, milliseconds that are medians. `x time` is how many times as much the windows take for the
same new frames, `x MACs` what their multiply-accumulates say; the aim is the window's length over
its step (`parts`) in MACs, and half of it in time. A network that does not forget (recurrent heads,
MoViNet) has two states side by side, so `marey watch` pays two steps a frame: `as watched`.
Weights are by a formula: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import os
import platform
from copy import deepcopy
from typing import NamedTuple

import torch
from torch.utils.flop_counter import FlopCounterMode

from marey.benchmark.model import fill_net
from marey.benchmark.turns import in_turns
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._net import Net
from marey.models._stream import streaming
from marey.runtime import compile
from marey.runtime.live import compile_stream
from marey.runtime.openvino import example

NAMES = (
    "efficientnet_lite0+tam:ends=causal",
    "efficientnet_lite0+shift:ends=causal",
    "lrcn_resnet50_lstm",
    "movinet_a0_stream",
)
COLUMNS = ("network", "frames", "window ms", "step ms", "x time", "as watched", "x MACs", "aim")


class Found(NamedTuple):
    """Of one network: frames a clip, seconds and multiply-accumulates of a clip and of a step."""

    frames: int
    window: float
    step: float
    clip_macs: int
    step_macs: int
    forgets: bool

    def cells(self, name: str, parts: int) -> tuple[str, ...]:
        new = self.frames / parts
        slower = self.window / (new * self.step)
        return (
            name,
            str(self.frames),
            f"{1000 * self.window:.1f}",
            f"{1000 * self.step:.2f}",
            f"{slower:.2f}",
            f"{slower / (1 if self.forgets else 2):.2f}",
            f"{self.clip_macs / (new * self.step_macs):.2f}",
            f"{parts / 2:g}",
        )


def network(name: str) -> Net:
    base, _, rule = name.partition("+")
    net = create_model(base, **({"rule": rule} if rule else {}))
    fill_net(net)
    return net


def measure(name: str, threads: int, repeats: int) -> Found:
    net = network(name)
    clip = example(torch.uint8, (1, net.input.frames, *net.input.size, 3)).numpy()
    frame = clip[:, :1].copy()
    macs = cost(net, (net.input.frames, *net.input.size)).macs, step_macs(net)
    windows = compile(network(name), precision="f32", threads=threads)
    live = compile_stream(net, precision="f32", threads=threads)
    _, state = live.step(frame)
    taken = in_turns(
        {"window": lambda: windows(clip), "step": lambda: live.step(frame, state)}, repeats
    )
    return Found(net.input.frames, taken["window"], taken["step"], *macs, live.forgets)


def step_macs(net: Net) -> int:
    """Counted without computing, as `cost` does it for a clip."""
    live = streaming(deepcopy(net).to("meta"))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        live.step(torch.empty(1, 3, 1, *net.input.size, device="meta"))
    macs: int = counter.get_total_flops() // 2
    return macs


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=20)
    parser.add_argument("--parts", type=int, default=4)
    options = parser.parse_args()
    print(f"{options.threads} threads, {platform.machine()}, {os.cpu_count()} cores, float32\n")
    rows: list[tuple[str, ...]] = [COLUMNS]
    for name in options.names:
        found = measure(name, options.threads, options.repeats)
        rows.append(found.cells(name, options.parts))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print(
            "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        )


if __name__ == "__main__":
    main()
