"""What actors cost: a network on each one's tube, beside one that judges boxes in the picture.

    python bench/actors.py [NAME…] [--actors 1 2 4 8] [--seconds 6] [-o docs/results/actors.md]

So many people of a made 640x480 video at 25 frames a second, in every frame of it, pass through
`marey.tasks.actors.Acting`. `judged` are actors times windows, `clips` how often the network
looked: as often, for boxes once a window. Seconds are of all, milliseconds of an actor and window,
in the network and for the rest (boxes smoothed, pictures cut and scaled); nothing is decoded or
detected. Weights are by a formula: the time does not depend on them. With `-o` it is a page.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path

import numpy as np

from marey.benchmark.machine import this_machine
from marey.benchmark.model import fill_net
from marey.files import whole_file
from marey.models._create import create_model
from marey.runtime.roi import compile_actions
from marey.tasks._followed import Followed
from marey.tasks._spent import Spent
from marey.tasks.actors import Acting
from marey.types import Frame, Scores, Video

NAMES = ("x3d_s", "slow_r50_detection")
HEIGHT, WIDTH, FPS = 480, 640, Fraction(25)
TEMPLATE = Path(__file__).with_suffix(".md")
LINE = "{:<24}" + "{:>9}" * 4 + "{:>12}" * 4
COLUMNS = ("network", "actors", "windows", "judged", "clips")
TIMES = ("network, s", "rest, s", "network, ms", "rest, ms")


@dataclass(frozen=True, slots=True)
class Cost:
    """What so many actors took: counts, and seconds in the network and for the rest."""

    name: str
    actors: int
    windows: int
    judged: int
    clips: int
    network: float
    rest: float

    @property
    def cells(self) -> tuple[str, ...]:
        counts = (self.actors, self.windows, self.judged, self.clips)
        seconds = (self.network, self.rest)
        each = (f"{1000 * part / self.judged:.1f}" for part in seconds)
        return (self.name, *map(str, counts), *(f"{part:.2f}" for part in seconds), *each)


def made(actors: int, frames: int) -> Iterator[Followed]:
    """People 50 pixels wide who walk to and fro, before noise."""
    picture = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
    ids = np.arange(1, actors + 1)
    sure, seen = np.ones(actors, np.float32), np.ones(actors, np.bool_)
    for k in range(frames):
        left = 60 * ids + 40 * np.sin(k / 10 + ids)
        boxes = np.stack([left, np.full(actors, 150.0), left + 50, np.full(actors, 300.0)], 1)
        frame = Frame(np.roll(picture, k, 1), k / FPS)
        yield Followed(frame, ids, ("person",) * actors, boxes.astype(np.float32), sure, seen)


def measured(name: str, counts: list[int], seconds: float) -> Iterator[Cost]:
    """The cost of each number of actors."""
    net = create_model(name)
    fill_net(net)
    runtime = compile_actions(net)
    frames = round(seconds * FPS)
    video = Video("made", "mp4", "h264", WIDTH, HEIGHT, FPS, 0.0, seconds, frames)
    for actors in (1, *counts):  # the first one, whose graphs are made, does not count
        spent, told = Spent(), Counter[int]()
        acting = Acting(runtime, video, spent=spent, heard=Ear(told))
        stream = list(made(actors, frames))
        began = time.perf_counter()
        for _ in acting(iter(stream)):
            pass
        rest = time.perf_counter() - began - spent.network
        yield Cost(name, actors, told[1], told.total(), spent.clips, spent.network, rest)


@dataclass
class Ear:
    """Counts what is told of each actor."""

    told: Counter[int]

    def __call__(self, actor: int, scores: Scores) -> None:
        self.told[actor] += 1


def growth(costs: Sequence[Cost]) -> str:
    """How the cost grew from the fewest actors to the most, in words."""
    few, many = (pick(costs, key=lambda cost: cost.judged) for pick in (min, max))
    times = [
        f"{getattr(many, part) / getattr(few, part):.2f} times the {word}"
        for part, word in (
            ("clips", "clips"),
            ("network", "time in the network"),
            ("rest", "time for the rest"),
        )
    ]
    return (
        f"`{few.name}`: {many.judged / few.judged:.2f} times as much judged "
        f"({few.actors} to {many.actors} actors) took {times[0]}, {times[1]} and {times[2]}."
    )


def page(costs: Sequence[Cost], seconds: float, minutes: float) -> str:
    machine = this_machine()
    names = dict.fromkeys(cost.name for cost in costs)
    by_name = [[cost for cost in costs if cost.name == name] for name in names]
    return TEMPLATE.read_text(encoding="utf-8").format(
        machine=f"{machine.cores} cores of {machine.cpu}",
        minutes=f"{minutes:.0f}",
        seconds=seconds,
        rows="".join(f"| `{cost.name}` | {' | '.join(cost.cells[1:])} |\n" for cost in costs),
        growth="\n".join(f"* {growth(rows)}" for rows in by_name),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--actors", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("-o", "--output", type=Path, help="write a page, .md")
    options = parser.parse_args()
    began = time.monotonic()
    print(LINE.format(*COLUMNS, *TIMES))
    costs = []
    for name in options.names:
        for cost in islice(measured(name, options.actors, options.seconds), 1, None):
            costs.append(cost)
            print(LINE.format(*cost.cells), flush=True)
    if options.output is not None:
        with whole_file(options.output) as path:
            path.write_text(
                page(costs, options.seconds, (time.monotonic() - began) / 60), encoding="utf-8"
            )


if __name__ == "__main__":
    main()
