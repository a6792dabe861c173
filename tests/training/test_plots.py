from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marey.training.plots import confusion, curves

PNG = b"\x89PNG"


@pytest.mark.parametrize("validated", [True, False])
@pytest.mark.parametrize("epochs", [1, 50])
def test_curves(tmp_path: Path, epochs: int, validated: bool) -> None:
    validation = {"val_loss": 1.0, "val_top1": 0.5} if validated else {}
    rows = [{"epoch": k + 1, "train_loss": 1 / (k + 1), **validation} for k in range(epochs)]
    curves(rows, tmp_path / "curves.png", "a run")
    assert (tmp_path / "curves.png").read_bytes().startswith(PNG)
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]


@pytest.mark.parametrize("classes", [2, 25, 100])
def test_confusion(tmp_path: Path, classes: int) -> None:
    counts = np.eye(classes, dtype=np.int64)
    counts[0] = 0  # a class without a sample
    labels = [f"label {k}" for k in range(classes)]
    confusion(counts, labels, tmp_path / "confusion.png", "a run")
    assert (tmp_path / "confusion.png").read_bytes().startswith(PNG)
