"""What a process holds while it labels a long video; and how many clips of frames at most."""

from __future__ import annotations

import math
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np
from numpy.typing import NDArray
from speed_stage import Stage, tell

from marey.benchmark.memory import Watch, resident
from marey.benchmark.start import first_label
from marey.runtime import Runtime, compile
from marey.tasks.classify import classify
from marey.video.read import open_video

MOST = 8
"""Clips of frames: the next one, twice while it is put together; two ahead of the network; the one
that it looks at and the one before, and what was cut from either."""

_POINTS = 120


def run(stage: Stage) -> dict[str, Any]:
    tell(f"memory, {stage.minutes:g} minutes")
    video, minute = stage.footage(stage.minutes), stage.footage(min(1, stage.minutes))
    seen: dict[str, Any] = stage.ask("memory", model=stage.model, video=video)
    return {**seen, **stage.ask("held", model=stage.model, video=minute)}


def child(reached: Callable[[str], None], model: str, video: str) -> dict[str, Any]:
    """MiB over a long video; `before` with the network ready and the first clip through."""
    runtime = compile(model)
    first_label(video, runtime)
    before, began = resident(), time.perf_counter()
    with Watch() as watch:
        report = classify(video, runtime)
    seconds, highest = time.perf_counter() - began, watch.highest()
    assert highest is not None, "memory is seen on Linux only"
    some = watch.seen[:: math.ceil(len(watch.seen) / _POINTS)]
    minutes = (report.video.duration or 0) / 60
    return {"minutes": minutes, "seconds": seconds, "before": before, "seen": some} | asdict(
        highest
    )


class Dawdling:
    """A network so slow that decoding runs as far ahead of it as it may."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runtime, name)

    def __call__(self, frames: NDArray[np.uint8]) -> NDArray[np.float32]:
        time.sleep(0.3)
        return self._runtime(frames)


def held(reached: Callable[[str], None], model: str, video: str) -> dict[str, Any]:
    """The frames that Python holds at most, as a number of clips, by halves of the video."""
    runtime = compile(model)
    first_label(video, runtime)
    with open_video(video) as reader:
        frame = next(reader.frames(size=runtime.input.resize))
    clip = runtime.input.frames * frame.image.nbytes
    peaks: list[float] = []

    def halves(done: float, total: float | None) -> None:
        if not peaks and done > (total or 0) / 2:
            peaks.append(tracemalloc.get_traced_memory()[1] / clip)
            tracemalloc.reset_peak()

    tracemalloc.start()
    classify(video, Dawdling(runtime), progress=halves)
    peaks.append(tracemalloc.get_traced_memory()[1] / clip)
    return {"held": peaks, "most": MOST, "clip_mib": clip / 2**20}
