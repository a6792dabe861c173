"""How well scores agree with labels; the counting is torchmetrics'."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

TOP = 5


@dataclass(frozen=True, slots=True)
class Metrics:
    """Agreement of N predictions with their labels.

    `top1`, `top5` and `per_class` are shares in [0, 1]; `top5` is None for five classes or fewer,
    and a class without a sample has None in `per_class`. `loss` is the mean negative log
    likelihood. `confusion` (K K) counts samples by true class (row) and predicted class (column).
    """

    loss: float
    top1: float
    top5: float | None
    per_class: tuple[float | None, ...]
    confusion: NDArray[np.int64]

    def row(self) -> dict[str, Any]:
        """What a row of `metrics.jsonl` has of it."""
        return {"val_loss": self.loss, "val_top1": self.top1, "val_top5": self.top5}


def measure(p: Tensor, targets: Tensor) -> Metrics:
    """Metrics of probabilities `p` (N K) against class numbers `targets` (N)."""
    from torchmetrics.functional.classification import (
        multiclass_accuracy,
        multiclass_confusion_matrix,
    )

    classes = p.shape[1]
    confusion = multiclass_confusion_matrix(p, targets, num_classes=classes)
    top1 = multiclass_accuracy(p, targets, num_classes=classes, average="micro")
    top5 = None
    if classes > TOP:
        top5 = float(multiclass_accuracy(p, targets, classes, top_k=TOP, average="micro"))
    likelihood = p.gather(1, targets[:, None]).clamp_min(torch.finfo(p.dtype).tiny)
    hits, totals = confusion.diagonal().tolist(), confusion.sum(1).tolist()
    return Metrics(
        loss=float(-likelihood.log().mean()),
        top1=float(top1),
        top5=top5,
        per_class=tuple(
            hit / total if total else None for hit, total in zip(hits, totals, strict=True)
        ),
        confusion=confusion.cpu().numpy(),
    )
