"""What a long report takes: an hour of ten people at 25 frames a second, 900,000 boxes.

    python bench/reports.py [--people 10] [--minutes 60]

A line a format: seconds, megabytes on disk, and how much higher the process's memory got than it
was with the report's arrays (reading: than it was without), each in a process of its own.
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import numpy as np

from marey.outputs import write
from marey.outputs.part import Part
from marey.outputs.text import read_reports
from marey.types import ModelCard, Report, Track, Video

FPS = Fraction(25)


def made(people: int, minutes: float) -> Report:
    """People who wander about for all of the time."""
    rng = np.random.default_rng(0)
    times = np.arange(round(minutes * 60 * FPS)) / float(FPS)
    video = Video("a.mp4", "mp4", "h264", 640, 480, FPS, 0.0, minutes * 60, len(times))
    tracks = []
    for id in range(1, people + 1):
        steps = rng.normal(0, 1, (len(times), 4)).astype(np.float32)
        boxes = np.cumsum(steps, 0) % 480
        scores = rng.random(len(times), np.float32)
        tracks.append(Track(id, "person", times, boxes, scores, rng.random(len(times)) < 0.5))
    card = ModelCard("bench", None, 1, "none", "none", None)
    return Report(video, card, (), (), tracks=tuple(tracks))


def highest() -> float:
    """Megabytes that this process has held at most so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


def measure(way: str, folder: Path, report: Report | None) -> str:
    """`report` is what is written; None: the file that is there is read."""
    path, video = folder / f"a.{way}", folder / "a.mp4"
    video.touch()
    before, began = highest(), time.perf_counter()
    if way == "part":
        with Part(folder / "a", {}) as part:
            if report is not None:
                part.add(video, report)
            else:
                list(part.reports([video]))
    elif report is not None:
        write(report, path)
    else:
        read_reports(path)
    spent = time.perf_counter() - began
    return f"{spent:6.1f} s {path.stat().st_size / 1e6:8.1f} MB {highest() - before:8.0f} MB held"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--people", type=int, default=10)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--way", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    make: Callable[[], Report] = lambda: made(options.people, options.minutes)  # noqa: E731
    if options.way:
        way, what, folder = options.way
        print(measure(way, Path(folder), make() if what == "written" else None))
        return
    print(f"{sum(track.times.nbytes * 29 / 8 for track in make().tracks) / 1e6:.0f} MB of arrays")
    with tempfile.TemporaryDirectory() as folder:
        for way in ("json", "jsonl", "csv", "parquet", "txt", "part"):
            for what in ("written", "read") if way in ("json", "part") else ("written",):
                how = [f"--people={options.people}", f"--minutes={options.minutes}"]
                command = [sys.executable, __file__, *how, "--way", way, what, folder]
                done = subprocess.run(command, capture_output=True, text=True, check=True)
                print(f"{way:8} {what:8}{done.stdout.rstrip()}", flush=True)


if __name__ == "__main__":
    main()
