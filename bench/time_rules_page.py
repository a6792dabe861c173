"""The page `docs/results/time-rules.md` and its plot, from the runs of `bench/time_rules.py`."""

from __future__ import annotations

import json
import os
import statistics
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from motions6 import swaps
from time_rules import FOLDS, RECIPE, WAYS, model, queue, recipe_of

from marey.benchmark.machine import cpu_name
from marey.files import whole_file
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._net import Net
from marey.runtime.torch import channels_last
from marey.training.recipe import Recipe

TEMPLATE = Path(__file__).with_name("time_rules.md")
PAGE = Path(__file__).parents[1] / "docs" / "results" / "time-rules.md"
PLOT = PAGE.with_suffix(".png")

Rows = list[dict[str, Any]]


def write(out: Path) -> None:
    """Fill in the page from the runs that are there."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*.json")]
    done = {row["run"] for row in rows}
    missing = [one.name for one in queue() if one.name not in done]
    main = {way: found for way in WAYS if (found := pick(rows, "motions6", way))}
    text = TEMPLATE.read_text(encoding="utf-8").format(
        machine=f"{os.cpu_count()} cores of {cpu_name()}, torch {torch.__version__}",
        folds=FOLDS,
        epochs=Recipe.read(RECIPE).epochs,
        main="".join(map(main_line, main.items(), costs(main))),
        seeds="".join(seed_lines(rows)),
        scratch="".join(scratch_lines(rows)),
        fights="".join(fight_lines(rows)),
        missing=", ".join(missing) or "nothing",
        acc={way: accuracy(found) for way, found in main.items()},
        swp={way: swapped(found)[0] for way, found in main.items()},
        loss={way: statistics.mean(r["train_loss"] for r in found) for way, found in main.items()},
    )
    with whole_file(PAGE) as path:
        path.write_text(text, encoding="utf-8")
    plot(main)


def pick(rows: Rows, data: str, way: str, *, seed: int = 0, scratch: bool = False) -> Rows:
    """The runs of one way, by fold."""
    found = [
        row
        for row in rows
        if (row["data"], row["way"], row["seed"], row["scratch"]) == (data, way, seed, scratch)
    ]
    return sorted(found, key=lambda row: row["fold"])


def accuracy(rows: Rows) -> float:
    return float(100 * sum(row["hits"] for row in rows) / sum(row["samples"] for row in rows))


def by_fold(rows: Rows) -> str:
    return " ".join(f"{accuracy([row]):.1f}" for row in rows)


def swapped(rows: Rows) -> tuple[int, int]:
    """Clips of sit and stand taken for the other, and how many there are of both."""
    each = [swaps(row["labels"], row["confusion"]) for row in rows]
    return sum(wrong for wrong, _ in each), sum(both for _, both in each)


def costs(ways: Iterable[str]) -> list[tuple[int, int, float]]:
    """Parameters, multiplications and milliseconds of each way; one clip, one thread, in turn."""
    torch.set_num_threads(1)
    prepare = recipe_of("motions6")
    height, width = prepare.size if isinstance(prepare.size, tuple) else (112, 112)
    frames = prepare.frames or 8
    nets: list[Net] = []
    for way in ways:
        net = create_model(model(way), classes=6, frames=frames)
        channels_last(net)
        nets.append(net)
    clip = torch.randn(1, frames, height, width, 3).permute(0, 4, 1, 2, 3)
    times: list[list[float]] = [[] for _ in nets]
    with torch.inference_mode():
        for _ in range(12):
            for net, taken in zip(nets, times, strict=True):
                began = time.perf_counter()
                net(clip)
                taken.append(1000 * (time.perf_counter() - began))
    found = [cost(net, (frames, height, width)) for net in nets]
    return [
        (one.params, one.macs, statistics.median(taken[2:]))
        for one, taken in zip(found, times, strict=True)
    ]


def main_line(item: tuple[str, Rows], spent: tuple[int, int, float]) -> str:
    way, rows = item
    wrong, both = swapped(rows)
    hits, samples = (sum(row[key] for row in rows) for key in ("hits", "samples"))
    seconds = min(row["seconds_an_epoch"] for row in rows)
    params, macs, milliseconds = spent
    return (
        f"| `{WAYS[way].rule}` | {WAYS[way].words} | **{accuracy(rows):.1f} %** ({hits} of "
        f"{samples}) | {by_fold(rows)} | {wrong} of {both} | {params / 1e6:.2f} M | "
        f"{macs / 1e9:.2f} G | {milliseconds:.0f} | {seconds:.0f} |\n"
    )


def seed_lines(rows: Rows) -> list[str]:
    """Each way that was trained on all folds from more than one seed."""
    lines = []
    for way in WAYS:
        every = [pick(rows, "motions6", way, seed=seed) for seed in range(3)]
        found = [one for one in every if len(one) == FOLDS]
        if len(found) > 1:
            each = [accuracy(one) for one in found]
            wrong = " ".join(str(swapped(one)[0]) for one in found)
            scores = " ".join(f"{value:.1f}" for value in each)
            lines.append(
                f"| `{WAYS[way].rule}` | **{statistics.mean(each):.1f} %** | {scores} | {wrong} |\n"
            )
    return lines


def scratch_lines(rows: Rows) -> list[str]:
    lines = []
    for way in WAYS:
        untrained = pick(rows, "motions6", way, scratch=True)
        if untrained:
            trained = pick(rows, "motions6", way)[: len(untrained)]
            lines.append(
                f"| `{WAYS[way].rule}` | {accuracy(trained):.1f} % | {accuracy(untrained):.1f} % "
                f"| {len(untrained)} of {FOLDS} |\n"
            )
    return lines


def fight_lines(rows: Rows) -> list[str]:
    lines = []
    for way in WAYS:
        found = pick(rows, "fights", way)
        if found:
            hits, samples = (sum(row[key] for row in found) for key in ("hits", "samples"))
            lines.append(
                f"| `{WAYS[way].rule}` | **{accuracy(found):.1f} %** ({hits} of {samples}) | "
                f"{by_fold(found)} |\n"
            )
    return lines


def _colour(way: str) -> str:
    return "#888888" if way == "none" else "#1f5fa8"


def plot(main: dict[str, Rows]) -> None:
    """Accuracy of every way, its folds as dots; and how often sit and stand were swapped."""
    from matplotlib.figure import Figure

    ways = sorted(main, key=lambda way: accuracy(main[way]))
    figure = Figure(figsize=(11, 0.34 * len(ways) + 1.2), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    at = np.arange(len(ways))
    for y, way in zip(at, ways, strict=True):
        folds = [accuracy([row]) for row in main[way]]
        left.plot(folds, [y] * len(folds), "o", color=_colour(way), alpha=0.35, markersize=5)
        left.plot(accuracy(main[way]), y, "D", color=_colour(way), markersize=7)
        left.annotate(
            f"{accuracy(main[way]):.1f}",
            (accuracy(main[way]), y),
            (0, 7),
            fontsize=8,
            textcoords="offset points",
            ha="center",
        )
        wrong, both = swapped(main[way])
        right.barh(y, 100 * wrong / both, color=_colour(way), height=0.6)
        right.annotate(
            f"{wrong}", (100 * wrong / both, y), (4, -3), textcoords="offset points", fontsize=8
        )
    left.set_yticks(at, [WAYS[way].words for way in ways])
    left.set_xlabel("top-1, % (diamond: all folds)")
    right.set_xlabel("sit and stand swapped, % (clips)")
    left.axvline(accuracy(main["none"]), color="#888888", linewidth=0.8, linestyle=":")
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(axis="x", alpha=0.3)
    figure.suptitle("motions6: what each way of seeing time is worth", fontsize=11)
    with whole_file(PLOT) as path:
        figure.savefig(path, dpi=130, format="png")
