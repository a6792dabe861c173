"""What this machine gives with a network, as a person will meet it."""

from __future__ import annotations

import os
import statistics
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from marey.benchmark.footage import make_footage
from marey.benchmark.fresh import ask
from marey.benchmark.machine import this_machine
from marey.benchmark.result import Bench, NetworkSpeed, Start, Way

_STARTS = 3  # after one that finds the cache as it is


def bench(
    model: str | os.PathLike[str],
    videos: Iterable[str | os.PathLike[str]] = (),
    *,
    precision: str | None = None,
    threads: int | None = None,
    minutes: float = 1.0,
    repeats: int = 3,
) -> Bench:
    """How fast `model`, a name, a checkpoint folder or an exported file, is on this machine.

    One clip through the network: eager in torch, and compiled in `precision`, or in each that this
    machine has, in turns, with its error and its share of what the machine can do. Then, in the
    fastest of them, the first label of a process with a warm cache; and each of `videos` from
    decoding to its labels, in turns with decoding alone. Without videos one is made, 720p H.264 of
    `minutes`. Each figure is the median of `repeats` (of one clip, three times as many) in a
    process of its own; `threads` decode, and as many compute.

    Nothing is downloaded for a bare name: its weights come from a formula. Raises ModelError,
    WeightsError, VideoError.
    """
    paths = [os.fspath(video) for video in videos]
    with tempfile.TemporaryDirectory(prefix="marey-") as folder:
        how = {"precision": precision, "threads": threads}
        where = {"folder": str(Path(folder, "model")), "video": next(iter(paths), None)}
        clips = {"model": os.fspath(model), "repeats": 3 * repeats}
        first = ask("network", how | where | clips).value
        how["model"] = first["model"]
        places = paths or [str(make_footage(Path(folder, "made.mp4"), 60 * minutes))]
        starts = [ask("start", how | {"video": places[0]}).reached for _ in range(1 + _STARTS)]
        questions = [how | {"video": place, "repeats": repeats} for place in places]
        ways = [Way.from_dict(ask("way", question).value) for question in questions]
    return Bench(
        model=os.fspath(model),
        machine=this_machine(),
        network=NetworkSpeed.from_dict(first["speed"]),
        start=median_start(starts[1:]),
        ways=tuple(way if paths else replace(way, video="made") for way in ways),
    )


def median_start(starts: Sequence[Mapping[str, float]]) -> Start:
    """Of what several processes had reached when."""
    stages = ("imported", "ready", "labelled")
    return Start(*(statistics.median(reached[stage] for reached in starts) for stage in stages))
