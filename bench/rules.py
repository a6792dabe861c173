"""Folding must cost nothing: the time of each rule beside the image network on the same frames.

    python bench/rules.py [NET…] [--only RULE…] [--train] [--markdown]
        [--frames 8] [--size 224] [--threads 1] [--repeats 10]

The peer is timm's network itself, called on the T frames as a batch in channels-last memory. All
that is compared runs in turns in one process; milliseconds are those of the fastest of the repeats,
GFLOP/s count two operations a multiply-accumulate (MAC), and their share is of the faster of two in
the same run: a large float32 matrix product, and a large convolution. `!` marks a time that, as a
multiple of the image network's, is more than 10 % above the same multiple of MACs. Weights are
drawn: the time does not depend on them.

What exceeds its MACs and why
-----------------------------
* `full` and `mixed` of a network of depthwise layers (EfficientNet, ConvNeXt): only those grow, and
  they move much memory for few MACs, so they take a larger share of the time than of the MACs. For
  themselves they take what three image layers take, forwards and backwards (`marey.nn.depthwise`;
  torch's own gradients would take three to eight times that).
* `gate`: the mean over space, the gate and the weighted sum pass over the maps, and in training
  over their gradients, without any MAC that is counted, where an inverted bottleneck is widest.
* `pool`: saves the later stages, and of a network whose early stages move much memory for few MACs
  those are a larger share of the MACs than of the time. The pooling itself takes a hundredth.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import timm
import torch
from torch import Tensor, nn

from marey.benchmark.turns import limits
from marey.errors import ModelError
from marey.models._cost import Cost, cost
from marey.models.timed import timed
from marey.runtime.torch import channels_last

RULES = (
    "none",
    "full",
    "mixed",
    "split",
    "split:init=paper",
    "shift",
    "tam",
    "gate",
    "pool",
    "clip",
    "segments",
    "rnn:cell=gru",
    "conv1d",
)
TOLERANCE = 1.1


@dataclass
class Candidate:
    """Something that is measured: what it costs by counting, and its fastest run in seconds."""

    name: str
    cost: Cost
    run: Callable[[], object]
    seconds: float = float("inf")

    def once(self) -> None:
        began = time.perf_counter()
        self.run()
        self.seconds = min(self.seconds, time.perf_counter() - began)

    @property
    def rate(self) -> float:
        """GFLOP/s."""
        return 2e-9 * self.cost.macs / self.seconds


def runner(net: nn.Module, x: Tensor, *, train: bool) -> Callable[[], object]:
    """One inference, or one forward and backward pass."""
    channels_last(net)
    net.train(train)

    def infer() -> None:
        with torch.inference_mode():
            net(x)

    def step() -> None:
        net.zero_grad()
        net(x).square().mean().backward()

    return step if train else infer


def candidates(
    name: str, rules: Iterable[str], shape: tuple[int, int, int], train: bool
) -> list[Candidate]:
    """The image network, then each rule that fits it, at T H W; the others are named."""
    image = timm.create_model(name)
    clip = torch.randn(1, 3, *shape).contiguous(memory_format=torch.channels_last_3d)
    frames = clip.transpose(1, 2).flatten(0, 1)
    peer = cost(timed(image, frames=shape[0]), shape)
    found = [Candidate("2D network", peer, runner(image, frames, train=train))]
    for rule in rules:
        try:
            net = timed(image, rule, frames=shape[0], classes=1000)
        except ModelError as error:
            print(f"{name}: {rule} left out: {error}")
            continue
        found.append(Candidate(rule, cost(net, shape), runner(net, clip, train=train)))
    return found


def most() -> list[Candidate]:
    """What this machine can do at most."""
    return [Candidate(name, Cost(0, limit.macs), limit.run) for name, limit in limits().items()]


def measure(group: list[Candidate], repeats: int) -> None:
    """In turns, so that whatever else the machine does falls on all of them, and shuffled."""
    for candidate in group:
        candidate.run()
    for _ in range(repeats):
        for candidate in random.sample(group, len(group)):
            candidate.once()


COLUMNS = ("", "ms", "x time", "x MACs", "x params", "GFLOP/s", "of limit", "")


def rows(group: list[Candidate], limit: float, *, train: bool) -> list[tuple[str, ...]]:
    peer = group[0]
    found: list[tuple[str, ...]] = []
    for one in group:
        slower, work = one.seconds / peer.seconds, one.cost.macs / peer.cost.macs
        rate = one.rate * (3 if train else 1)  # backward is two convolutions for each forward
        found.append(
            (
                one.name,
                f"{1000 * one.seconds:.1f}",
                f"{slower:.2f}",
                f"{work:.2f}",
                f"{one.cost.params / peer.cost.params:.2f}",
                f"{rate:.0f}",
                f"{rate / limit:.0%}",
                "!" if slower > TOLERANCE * work else "",
            )
        )
    return found


def table(lines: list[tuple[str, ...]], *, markdown: bool) -> str:
    lines = [COLUMNS, *lines]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    cells = [
        [
            cell.rjust(width) if 0 < k < len(widths) - 1 else cell.ljust(width)
            for k, (cell, width) in enumerate(zip(line, widths, strict=True))
        ]
        for line in lines
    ]
    if not markdown:
        return "\n".join("  ".join(line).rstrip() for line in cells)
    rule = ["---", *["---:"] * (len(widths) - 2), "---"]
    return "\n".join(f"| {' | '.join(line)} |" for line in [cells[0], rule, *cells[1:]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("nets", nargs="*", default=["resnet50", "tf_efficientnet_lite0"])
    parser.add_argument("--only", nargs="+", default=RULES, metavar="RULE")
    parser.add_argument("--train", action="store_true", help="forward and backward")
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    what = "a training step on" if options.train else "inference of"
    print(
        f"{what} a clip of {options.frames} frames at {options.size}, torch {torch.__version__}, "
        f"{options.threads} threads, {platform.machine()}, {os.cpu_count()} cores"
    )
    shape = (options.frames, options.size, options.size)
    for name in options.nets:
        possible = most()
        group = candidates(name, options.only, shape, options.train)
        measure([*possible, *group], options.repeats)
        beside = ", ".join(f"{one.name} {one.rate:.0f} GFLOP/s" for one in possible)
        print(f"\n{name}; limits: {beside}\n")
        limit = max(one.rate for one in possible)
        print(table(rows(group, limit, train=options.train), markdown=options.markdown))


if __name__ == "__main__":
    main()
