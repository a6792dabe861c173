"""What does time bring on motions6? One backbone, one recipe, the same folds; only time differs.

    python bench/motions6.py FOLDER --out runs/folds [--only NAME] [--report]

A queue of runs, one for each way of using time and each fold. A finished run is not run again, and one that
was stopped goes on where it was. `--report` writes docs/results/motions6.md from the runs that are there. The
accuracy of a run is that of its last epoch on the fold held out: no epoch is chosen by the clips it is tested on.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np

from marey.data.cache import Cache
from marey.data.manifest import Manifest
from marey.files import whole_file
from marey.models._net import Net
from marey.training.evaluate import evaluate
from marey.training.loop import train_from
from marey.training.recipe import Recipe

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "motions6.toml"
PAGE = ROOT / "docs" / "results" / "motions6.md"

WAYS: dict[str, tuple[str, dict[str, Any]]] = {
    "mean": ("frames averaged: blind to order", {"time": "none", "head": "mean"}),
    "tam": ("TAM in every block, then averaged", {"time": "tam", "head": "mean"}),
    "order": ("head over four parts in order", {"time": "none", "head": "segments", "parts": 4}),
}


def run(data: Path, name: str, fold: int, out: Path) -> None:
    """Train one way on one fold, test its last epoch on the clips held out, write `result.json`."""
    result = out / "result.json"
    if result.exists():
        return
    recipe = Recipe.read(RECIPE).replace({"fold": fold})
    recipe = recipe.replace({"options": WAYS[name][1]})
    began = time.monotonic()
    trained = train_from(data, recipe, out=out, resume=True)
    seconds = time.monotonic() - began
    held_out = Manifest.read(out / "split.csv").split("val")
    cache = Cache(Path(recipe.cache), recipe.cache_fps) if recipe.cache else None
    found = evaluate(trained.last, held_out, views=(1, 1), cache=cache)
    row = found.to_dict() | {"way": name, "fold": fold, "seconds": seconds}
    with whole_file(result) as path:
        path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/folds"))
    parser.add_argument("--only", choices=list(WAYS))
    arguments = parser.parse_args()
    for fold in range(Recipe.read(RECIPE).folds):
        for name in [arguments.only] if arguments.only else WAYS:
            run(arguments.data, name, fold, arguments.out / f"{name}-{fold}")
            print(name, fold, "done", flush=True)


if __name__ == "__main__":
    main()
