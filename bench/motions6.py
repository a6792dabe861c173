"""What does time bring on motions6? One backbone, one recipe, the same folds; only time differs.

    python bench/motions6.py FOLDER --out runs/folds [--only NAME]
    python bench/motions6.py FOLDER --out runs/folds --report
    python bench/motions6.py FOLDER --ship runs/motions6

A queue of runs, one for each way of using time and each fold. A finished run is not run again, and
one that was stopped goes on where it was. `--report` fills in `bench/motions6.md` from the runs
that are there. The accuracy of a run is that of its last epoch on the fold held out: no epoch is
chosen by the clips it is tested on. `--ship` puts a run that trained on all clips into the package.
"""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch

from marey.benchmark.machine import cpu_name
from marey.data.cache import Cache
from marey.data.manifest import Manifest
from marey.files import whole_file
from marey.models._checkpoint import read_config, save_checkpoint
from marey.models._create import load_checkpoint
from marey.nn.mix import TemporalAggregation
from marey.training import plots
from marey.training.evaluate import evaluate
from marey.training.loop import train_from
from marey.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "motions6.toml"
TEMPLATE = Path(__file__).with_suffix(".md")
PAGE = ROOT / "docs" / "results" / "motions6.md"

SHIPPED = ROOT / "src" / "marey" / "models" / "checkpoints" / "motions6"
LICENCE = "research-only: ARID footage, none stated"

WAYS = {
    "mean": ("frames averaged: blind to order", "none"),
    "tam": ("TAM in every block, then averaged", "tam"),
    "order": ("head over four parts in order", "segments:parts=4"),
}

# The epochs of the model that ships, which trains on every clip.
SHIP_EPOCHS = 20


def run(data: Path, name: str, fold: int, out: Path) -> None:
    """Train one way on one fold, test its last epoch on the clips held out, write `result.json`."""
    result = out / "result.json"
    if result.exists():
        return
    recipe = Recipe.read(RECIPE).replace({"fold": fold, "options": {"rule": WAYS[name][1]}})
    trained = train_from(data, recipe, out=out, resume=True)
    held_out = Manifest.read(out / "split.csv").split("val")
    cache = Cache(Path(recipe.cache), recipe.cache_fps) if recipe.cache else None
    found = evaluate(trained.last, held_out, views=(1, 1), cache=cache)
    row = found.to_dict() | {"way": name, "fold": fold}
    with whole_file(result) as path:
        path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def gather(out: Path) -> dict[str, list[dict[str, Any]]]:
    """The finished runs of each way, by fold."""
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in out.glob("*/result.json")]
    for row in rows:
        history = (out / f"{row['way']}-{row['fold']}" / "metrics.jsonl").read_text().splitlines()
        row["clips_per_s"] = np.median([json.loads(line)["clips_per_s"] for line in history])
    rows.sort(key=lambda row: row["fold"])
    return {name: found for name in WAYS if (found := [r for r in rows if r["way"] == name])}


def moved(out: Path) -> tuple[float, float]:
    """How far TAM's weights for the neighbouring frames are from zero, where they began.

    Mean and highest of all that were trained, over all folds.
    """
    weights = [
        weight.abs()
        for folder in sorted(out.glob("tam-*/last"))
        for module in load_checkpoint(folder).modules()
        if isinstance(module, TemporalAggregation)
        for weight in module.weight.detach()[:, 0, ::2].unbind(1)
        if weight.any()  # those of frozen stages stay exactly zero
    ]
    every = torch.cat(weights)
    return float(every.mean()), float(every.max())


def swaps(labels: list[str], counts: list[list[int]]) -> tuple[int, int]:
    """Clips of sit and stand taken for the other, and how many there are of both."""
    sit, stand = labels.index("sit"), labels.index("stand")
    confusion = np.array(counts)
    both = int(confusion[[sit, stand]].sum())
    return int(confusion[sit, stand] + confusion[stand, sit]), both


def line(name: str, rows: list[dict[str, Any]]) -> str:
    """One way's row of the table."""
    top1 = [100 * row["metrics"]["top1"] for row in rows]
    hits = sum(round(row["metrics"]["top1"] * row["samples"]) for row in rows)
    total = sum(row["samples"] for row in rows)
    wrong, both = np.sum(
        [swaps(row["labels"], row["metrics"]["confusion"]) for row in rows], axis=0
    )
    folds = " ".join(f"{value:.1f}" for value in top1)
    rate = np.mean([row["clips_per_s"] for row in rows])
    return (
        f"| `{name}` | {WAYS[name][0]} | **{100 * hits / total:.1f} %** ({hits} of {total}) "
        f"| {folds} | {wrong} of {both} | {rate:.1f} |\n"
    )


def report(out: Path) -> None:
    """Write the page and the confusion matrices beside it."""
    ways = gather(out)
    mean, highest = moved(out)
    with whole_file(PAGE) as path:
        text = TEMPLATE.read_text(encoding="utf-8").format(
            machine=f"{os.cpu_count()} cores of {cpu_name()}, torch {torch.__version__}",
            moved_mean=f"{mean:.4f}",
            moved_most=f"{highest:.3f}",
            epochs=Recipe.read(RECIPE).epochs,
            ship_epochs=SHIP_EPOCHS,
            folds=max(map(len, ways.values())),
            rows="".join(line(name, rows) for name, rows in ways.items()),
            pictures="\n".join(f"![{name}](motions6-{name}.png)" for name in ways),
        )
        path.write_text(text, encoding="utf-8")
    for name, rows in ways.items():
        confusion = np.sum([row["metrics"]["confusion"] for row in rows], axis=0)
        title = f"{WAYS[name][0]}: {confusion.trace()} of {confusion.sum()} right"
        plots.confusion(confusion, rows[0]["labels"], PAGE.with_name(f"motions6-{name}.png"), title)


def ship(run: Path) -> None:
    """Put the last checkpoint of a run into the package, its convolutions in float16."""
    net = load_checkpoint(run / "last")
    net.licence = LICENCE
    extra = dict(read_config(run / "last").extra)
    extra["recipe"] = {key: value for key, value in extra["recipe"].items() if key != "cache"}
    save_checkpoint(net, SHIPPED, extra=extra, half=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--ship", type=Path, metavar="RUN")
    parser.add_argument("--out", type=Path, default=Path("runs/folds"))
    parser.add_argument("--only", choices=list(WAYS))
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if arguments.ship:
        ship(arguments.ship)
        return
    if arguments.report:
        report(arguments.out)
        return
    for fold in range(Recipe.read(RECIPE).folds):
        for name in [arguments.only] if arguments.only else WAYS:
            run(arguments.data, name, fold, arguments.out / f"{name}-{fold}")
            print(name, fold, "done", flush=True)


if __name__ == "__main__":
    main()
