"""Training curves and confusion matrices as PNG."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.files import whole_file
from marey.training.state import rank

_NUMBERED = 20  # more classes than this: cells too small for a number
_NAMED = 60  # more classes than this: no room for names
_SCORES = {"val_top1": ("Accuracy", "top-1 (%)"), "val_map": ("Frame mAP at IoU 0.5", "mAP (%)")}
_TRAIN, _VAL = "#4c72b0", "#dd8452"


def curves(
    epochs: Sequence[Mapping[str, Any]],
    path: str | os.PathLike[str],
    title: str,
    score: str = "val_top1",
) -> None:
    """Draw loss and accuracy, or frame mAP, over epochs.

    Each of `epochs` has `epoch` (counted from 1) and `train_loss`, and where there was a validation
    `val_loss` and `score`.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator

    figure = Figure(figsize=(9, 4), layout="constrained")
    loss, accuracy = figure.subplots(1, 2)
    number = [row["epoch"] for row in epochs]
    validated = [row for row in epochs if row.get(score) is not None]
    number_validated = [row["epoch"] for row in validated]
    marker = "o" if len(number) <= 30 else ""
    style: dict[str, Any] = {"marker": marker, "markersize": 4, "linewidth": 1.8}

    loss.plot(number, [row["train_loss"] for row in epochs], color=_TRAIN, label="train", **style)
    loss.set(title="Loss", ylabel="cross-entropy (nats)")
    what, unit = _SCORES[score]
    accuracy.set(title=what, ylabel=unit, ylim=(0, 102))
    if validated:
        top1 = [100 * row[score] for row in validated]
        loss.plot(
            number_validated,
            [row["val_loss"] for row in validated],
            color=_VAL,
            label="validation",
            **style,
        )
        accuracy.plot(number_validated, top1, color=_VAL, label="validation", **style)
        best = max(range(len(validated)), key=lambda k: rank(validated[k]))
        accuracy.plot(
            number_validated[best],
            top1[best],
            "*",
            color="#222222",
            markersize=12,
            label=f"best: {top1[best]:.1f} % in epoch {number_validated[best]}",
        )
        accuracy.legend(loc="lower right", frameon=False)
    else:
        accuracy.text(0.5, 0.5, "no validation", ha="center", transform=accuracy.transAxes)
    loss.legend(loc="upper right", frameon=False)
    for axes in (loss, accuracy):
        axes.set(xlabel="epoch", xlim=(0.5, number[-1] + 0.5))
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title)
    _save(figure, path)


def confusion(
    counts: NDArray[np.int64],
    labels: Sequence[str],
    path: str | os.PathLike[str],
    title: str,
) -> None:
    """Draw a confusion matrix: rows are true classes, colours their shares, numbers counts."""
    from matplotlib.figure import Figure

    classes = len(labels)
    side = float(np.clip(3.2 + 0.55 * classes, 5.5, 12))
    figure = Figure(figsize=(side + 1.2, side), layout="constrained")
    axes = figure.subplots()
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    image = axes.imshow(100 * shares, cmap="Blues", vmin=0, vmax=100)
    figure.colorbar(image, ax=axes, label="share of the true class (%)", shrink=0.8)
    if classes <= _NAMED:
        axes.set_xticks(range(classes), labels, rotation=45, ha="right", rotation_mode="anchor")
        axes.set_yticks(range(classes), labels)
    if classes <= _NUMBERED:
        for row, column in zip(*np.nonzero(counts), strict=True):
            axes.text(
                column,
                row,
                str(counts[row, column]),
                ha="center",
                va="center",
                color="white" if shares[row, column] > 0.5 else "black",
            )
    axes.set(xlabel="predicted", ylabel="true", title=title)
    axes.tick_params(length=0, labelsize=10 if classes <= _NUMBERED else 7)
    _save(figure, path)


def precisions(rows: Sequence[tuple[str, float]], path: str | os.PathLike[str], title: str) -> None:
    """Draw labels with their average precisions, in [0, 1], the best on top."""
    from matplotlib.figure import Figure

    names, values = zip(*sorted(rows, key=lambda row: (row[1], row[0])), strict=True)
    figure = Figure(figsize=(8, 1.6 + 0.24 * len(names)), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(names, [100 * value for value in values], color=_VAL)
    axes.bar_label(bars, fmt="%.0f", padding=3, fontsize=8)
    axes.set(xlabel="average precision (%)", xlim=(0, 108), title=title)
    axes.tick_params(axis="y", length=0, labelsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    _save(figure, path)


def _save(figure: Any, path: str | os.PathLike[str]) -> None:
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=100)
