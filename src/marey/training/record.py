"""What a run leaves to read and to look at, beside its checkpoints."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch.utils.tensorboard import SummaryWriter

from marey.data.manifest import Manifest
from marey.files import whole_file
from marey.training import plots
from marey.training.metrics import Metrics


class Record(ABC):
    """Files in a run's folder: what is for what, `metrics.jsonl`, `tensorboard/`, plots as PNG.

    All but the TensorBoard log are written anew at every epoch, so a resumed run has no line twice.
    """

    score: str
    """What the best epoch is best by."""

    def __init__(self, out: Path, name: str, samples: str) -> None:
        self.out, self.name, self.title = out, name, f"{name}: {samples}"
        self.writer: SummaryWriter | None = None  # of the first process only

    @abstractmethod
    def sides(self) -> None:
        """Write which sample is for training, which for validation."""

    @abstractmethod
    def best(self, metrics: Any) -> None:
        """Draw what the best epoch is worth, class by class."""

    def open(self, step: int) -> None:
        """Begin, or go on from `step`; what TensorBoard has from there on is void."""
        self.sides()
        self.writer = SummaryWriter(self.out / "tensorboard", purge_step=step)

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()

    def step(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of one step."""
        assert self.writer is not None
        for name, value in values.items():
            self.writer.add_scalar(f"step/{name}", value, step)

    def epoch(self, history: Sequence[Mapping[str, Any]]) -> None:
        """Write the rows of all epochs so far, and their curves."""
        assert self.writer is not None
        for name, value in history[-1].items():
            if name.startswith(("train_", "val_")) and value is not None:
                self.writer.add_scalar(f"epoch/{name}", value, history[-1]["step"])
        with whole_file(self.out / "metrics.jsonl") as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in history))
        plots.curves(history, self.out / "curves.png", self.title, self.score)


class ClipRecord(Record):
    """Of labelled clips: `split.csv`, and the confusions of the best epoch."""

    score = "val_top1"

    def __init__(self, out: Path, manifest: Manifest, name: str) -> None:
        counts = [sum(s.split == split for s in manifest.samples) for split in ("train", "val")]
        super().__init__(out, name, f"{counts[0]} training, {counts[1]} validation samples")
        self.manifest = manifest

    def sides(self) -> None:
        self.manifest.write(self.out / "split.csv")

    def best(self, metrics: Metrics) -> None:
        plots.confusion(
            metrics.confusion,
            self.manifest.labels,
            self.out / "confusion.png",
            f"{self.name}: top-1 {100 * metrics.top1:.1f} % of validation",
        )
