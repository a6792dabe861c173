"""How the cost grows with the length and the resolution of a video, with batch and overlap."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import numpy as np
from speed_stage import Stage, tell

from marey.benchmark.model import made_clip
from marey.benchmark.start import first_label
from marey.benchmark.turns import Run, in_turns
from marey.benchmark.way import decode_only
from marey.runtime import Runtime, compile
from marey.tasks._spent import Spent
from marey.tasks.classify import classify
from marey.video.read import open_video
from marey.video.windows import window_length

LENGTHS = (0.5, 1, 2)  # minutes
HEIGHTS = (360, 720, 1080)
BATCHES = (1, 2, 4, 8)
STEPS = (1, 2, 4)  # windows begin a whole one, a half, a quarter after the one before


def run(stage: Stage) -> dict[str, Any]:
    most = min(1, stage.minutes / 10)
    videos = {
        "length": {f"{m * most:g}": stage.footage(m * most) for m in LENGTHS},
        "resolution": {str(height): stage.footage(most, height) for height in HEIGHTS},
    }
    found = {}
    for part in ("length", "resolution", "batch", "overlap"):
        tell(f"growth by {part}")
        some = videos.get(part, {"": stage.footage(most)})
        question = {"by": part, "model": stage.model, "videos": some, "repeats": stage.repeats}
        found[part] = stage.ask("growth", **question)
    return found


def child(
    reached: Callable[[str], None], by: str, model: str, videos: Mapping[str, str], repeats: int
) -> list[dict[str, Any]]:
    """A row each: what was varied, what was counted, and seconds."""
    if by == "batch":
        return batches(model, repeats)
    runtime = compile(model)
    first_label(next(iter(videos.values())), runtime)
    if by == "overlap":
        (video,) = videos.values()
        with open_video(video) as reader:
            window = window_length(runtime.input, reader.video.fps)
        steps = {f"1/{part}" if part > 1 else "1": window / part for part in STEPS}
        ways = {name: Labelled(video, runtime, step) for name, step in steps.items()}
    else:
        ways = {name: Labelled(video, runtime) for name, video in videos.items()}
    runs: dict[str, Run] = dict(ways)
    runs |= {f"decode {name}": partial(decode_only, way.video) for name, way in ways.items()}
    seconds = in_turns(runs, repeats, warm=False)
    return [
        {
            by: name,
            "decoded": way.spent.frames.decoded,
            "clips": way.spent.clips,
            "seconds": seconds[name],
            "decoding": seconds[f"decode {name}"],
        }
        for name, way in ways.items()
    ]


class Labelled:
    """One way to label one video; `spent` is what the last time took."""

    def __init__(self, video: str, runtime: Runtime, step: float | None = None) -> None:
        self.video, self._runtime, self._step = video, runtime, step
        self.spent = Spent()

    def __call__(self) -> None:
        self.spent = Spent()
        classify(self.video, self._runtime, step=self._step, spent=self.spent)


def batches(model: str, repeats: int) -> list[dict[str, Any]]:
    """The same eight clips in batches of one to eight."""
    runtimes = {batch: compile(model, batch=batch) for batch in BATCHES}
    clips = np.repeat(made_clip(runtimes[1].input), max(BATCHES), 0)
    runs: dict[str, Run] = {str(b): partial(runtime, clips) for b, runtime in runtimes.items()}
    seconds = in_turns(runs, 2 * repeats + 1)
    return [{"batch": b, "clips": len(clips), "seconds": seconds[str(b)]} for b in BATCHES]
