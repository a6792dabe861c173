"""Milliseconds a clip by how many clips go through a network at once, in one run.

    python bench/batch.py MODEL… [--batches 1 2 4 8] [--clips 16]

A bare name is measured with random weights: the time does not depend on them.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from marey.models._registry import create_model
from marey.runtime import Runtime, compile


def milliseconds(runtime: Runtime, batch: int, clips: int) -> float:
    """The median time of a clip, over batches of `batch` until `clips` have passed."""
    prepare = runtime.input
    shape = (batch, prepare.frames, *prepare.size, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    runtime(frames)
    taken = []
    for _ in range(max(3, clips // batch)):
        began = time.perf_counter()
        runtime(frames)
        taken.append(time.perf_counter() - began)
    return 1000 * float(np.median(taken)) / batch


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("models", nargs="+")
    parser.add_argument("--batches", nargs="+", type=int, default=[1, 2, 4, 8])
    parser.add_argument("--clips", type=int, default=16)
    options = parser.parse_args()
    for name in options.models:
        runtime = compile(create_model(name))
        times = {batch: milliseconds(runtime, batch, options.clips) for batch in options.batches}
        one = times[options.batches[0]]
        for batch, taken in times.items():
            print(
                f"{name:24} batch {batch:3} {taken:8.1f} ms a clip  {taken / one:5.2f} x the first"
            )


if __name__ == "__main__":
    main()
