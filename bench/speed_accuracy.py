"""Does `motions6` answer as before when it is compiled? On the footage that it was trained on."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from speed_stage import Stage, tell
from torch import Tensor

from marey.benchmark.network import compiled
from marey.models._create import create_model
from marey.nn.clip import normalise
from marey.runtime import Runtime
from marey.runtime._net import NetRuntime
from marey.training.evaluate import evaluate

MODEL = "motions6"


def run(stage: Stage) -> dict[str, Any] | None:
    """None where MAREY_MEDIA, the folder of the footage, is not set."""
    media = os.environ.get("MAREY_MEDIA")
    if not media:
        tell("accuracy: not measured, MAREY_MEDIA is not set")
        return None
    tell(f"accuracy of {MODEL}")
    found: dict[str, Any] = stage.ask("accuracy", folder=str(Path(media, MODEL)))
    return found


class Eager(NetRuntime):
    """The network as it is."""

    runtime, precision = "torch cpu, eager", "float32"

    def frames(self, frames: Tensor) -> Tensor:
        logits: Tensor = self.net(normalise(frames, self.input))
        return logits


def child(reached: Callable[[str], None], folder: str) -> dict[str, Any]:
    """Top-1 of the eager network and of it compiled, and how many clips got another label."""
    runtimes, _ = compiled(create_model(MODEL))
    ways: list[Runtime] = [Eager(create_model(MODEL)), *runtimes.values()]
    rows = []
    expected: list[str] | None = None
    for runtime in ways:
        result = evaluate(runtime, folder, views=(1, 1), bar=False)
        answers = [prediction.predicted for prediction in result.predictions]
        expected = expected or answers
        card = runtime.card()
        rows.append(
            {
                "runtime": card.runtime,
                "precision": card.precision,
                "top1": result.metrics.top1,
                "others": sum(a != b for a, b in zip(answers, expected, strict=True)),
            }
        )
    return {"model": MODEL, "clips": len(expected or ()), "rows": rows}
