"""What actors cost: a network on each one's tube, beside one that judges boxes in the picture.

    python bench/actors.py [NAME…] [--actors 1 2 4 8] [--seconds 6]

So many people of a made 640x480 video at 25 frames a second, in every frame of it, pass through
`marey.tasks.actors.Acting`. `clips` is how often the network looked: actors times windows, for
boxes windows. `network` and `other` are milliseconds an actor and window, in the network and for
the rest (boxes smoothed, pictures cut and scaled); nothing is decoded or detected. Weights are by a
formula: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice

import numpy as np

from marey.benchmark.model import fill_net
from marey.models._create import create_model
from marey.runtime.roi import compile_actions
from marey.tasks._followed import Followed
from marey.tasks._spent import Spent
from marey.tasks.actors import Acting
from marey.types import Frame, Scores, Video

NAMES = ("x3d_s", "slow_r50_detection")
HEIGHT, WIDTH, FPS = 480, 640, Fraction(25)
COLUMNS = ("network", "actors", "windows", "clips", "network", "other")


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


def measured(name: str, counts: list[int], seconds: float) -> Iterator[tuple[str, ...]]:
    """A row of the table for each number of actors."""
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
        each = [f"{1000 * part / told.total():.1f}" for part in (spent.network, rest)]
        yield name, str(actors), str(told[1]), str(spent.clips), *each


@dataclass
class Ear:
    """Counts what is told of each actor."""

    told: Counter[int]

    def __call__(self, actor: int, scores: Scores) -> None:
        self.told[actor] += 1


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--actors", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--seconds", type=float, default=6.0)
    options = parser.parse_args()
    print(("{:<24}" + "{:>9}" * 5).format(*COLUMNS))
    for name in options.names:
        for row in islice(measured(name, options.actors, options.seconds), 1, None):
            print(("{:<24}" + "{:>9}" * 5).format(*row), flush=True)


if __name__ == "__main__":
    main()
