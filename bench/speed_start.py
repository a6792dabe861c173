"""From the start of a process to its first label: without a cache, with one, and from files."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from speed_stage import Stage, tell

from marey.benchmark.fresh import ask
from marey.benchmark.run import median_start
from marey.export import export

SUFFIXES = (".onnx", ".xml")


def run(stage: Stage) -> dict[str, Any]:
    """Each in turns, in processes of their own; one more of each goes before, uncounted."""
    video = stage.footage(0.1)
    files = {suffix: str(stage.folder / f"net{suffix}") for suffix in SUFFIXES}
    for path in files.values():
        tell(f"writing {Path(path).name}")
        stage.ask("export", model=stage.model, path=path)
    models = {"warm cache": stage.model, **files}
    reached: dict[str, list[dict[str, float]]] = {name: [] for name in ("no cache", *models)}
    for turn in range(2 * stage.repeats):
        tell(f"first label, {turn + 1} of {2 * stage.repeats}")
        empty = stage.folder / f"empty-{turn}"
        found = {"no cache": start(stage.model, video, empty)}
        found |= {name: start(model, video) for name, model in models.items()}
        if turn:
            for name, stages in found.items():
                reached[name].append(stages)
    return {name: asdict(median_start(stages)) for name, stages in reached.items()}


def start(model: str, video: str, cache: Path | None = None) -> dict[str, float]:
    environment = os.environ | ({"MAREY_CACHE": str(cache)} if cache else {})
    question = {"model": model, "video": video, "precision": None, "threads": None}
    return ask("start", question, environment=environment).reached


def write(reached: Callable[[str], None], model: str, path: str) -> float:
    """Export the network; torch's tracing leaves much behind that others need not carry."""
    return export(model, path).difference
