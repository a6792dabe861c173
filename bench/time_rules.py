"""What does time bring, by each rule? One backbone, one recipe, the same folds; only time differs.

    python bench/time_rules.py MEDIA --out runs/rules [--only WAY]
    python bench/time_rules.py MEDIA --out runs/rules --report

MEDIA is a folder with `motions6/` and `fights/groups.csv`. A queue of runs, the most telling first:
each way of seeing time on each fold, then more seeds, untrained networks, and `fights` by group. A
finished run is not run again, and one that was stopped goes on where it was; two queues side by
side take different runs (`--part 0 2`, `--part 1 2`). `--report` writes the page and its plot from
the runs that are there, and says what was not run. The accuracy of a run is that of its last epoch
on the fold held out: no epoch is chosen by the clips it is tested on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from marey.data.cache import Cache
from marey.data.manifest import Manifest
from marey.files import whole_file
from marey.models._registry import create_model
from marey.training.evaluate import evaluate
from marey.training.loop import train
from marey.training.recipe import Recipe

RECIPE = Path(__file__).parents[1] / "recipes" / "timed.toml"
BACKBONE = "efficientnet_lite0"
FOLDS = 3


class Way(NamedTuple):
    """A way of seeing time: its rule, and what it is in words."""

    rule: str
    words: str


LATE = "stages=4"
WAYS = {
    "none": Way("none", "frames averaged"),
    "tam": Way(f"tam:{LATE}", "TAM from the identity"),
    "tam-difference": Way(f"tam:{LATE}:init=difference", "TAM from differences"),
    "full": Way(f"full:{LATE}", "3D kernels (I3D, rMC) from the centre"),
    "full-difference": Way(f"full:{LATE}:init=difference", "3D kernels from differences"),
    "full-last": Way(
        "full:layers=pointwise:match=conv_head:kernel=5", "the last 1x1 layer as 5x1x1"
    ),
    "split": Way(f"split:{LATE}", "(2+1)D from the identity"),
    "shift": Way(f"shift:{LATE}", "TSM"),
    "gate": Way(f"gate:{LATE}", "adaptive kernels (TANet)"),
    "segments": Way("segments:parts=4", "head over four parts in order"),
    "gru": Way("rnn:cell=gru:width=128", "head with a GRU"),
    "lstm": Way("rnn:width=512", "head with an LSTM"),
    "conv1d": Way("conv1d", "head with convolutions over time"),
    "both": Way(f"tam:{LATE}:init=difference+segments:parts=4", "TAM from differences, and parts"),
}

# What the clips need: motions6 is nearly black, and shown whole.
DATA: dict[str, tuple[str, dict[str, Any]]] = {
    "motions6": (
        "motions6",
        {
            "seconds": 2.4,
            "size": [112, 144],
            "resize": [112, 144],
            "gamma": 0.4,
            "crop": [0.77, 1.0],
            "colour": 0.1,
            "gamma_jitter": 0.2,
        },
    ),
    "fights": ("fights/groups.csv", {"seconds": 2.0, "size": [112, 144], "resize": [112, 144]}),
}


@dataclass(frozen=True, slots=True)
class Run:
    """One training: on which data, which way, which fold, from which seed, from weights or not."""

    data: str
    way: str
    fold: int
    seed: int = 0
    scratch: bool = False

    @property
    def name(self) -> str:
        start = "-scratch" if self.scratch else ""
        return f"{self.data}-{self.way}{start}-{self.fold}-{self.seed}"

    def recipe(self) -> Recipe:
        changes = {**DATA[self.data][1], "seed": self.seed, "folds": 0, "workers": 1}
        changes["model"] = model(self.way, scratch=self.scratch)
        if self.scratch:
            changes |= {"pretrained": False, "freeze": 0, "freeze_norms": False, "lr": 1e-3}
        return Recipe.read(RECIPE).replace(changes)


def model(way: str, *, scratch: bool = False) -> str:
    tag = "" if scratch else ".in1k"
    rule = WAYS[way].rule
    return f"{BACKBONE}{tag}" + ("" if rule == "none" else f"+{rule}")


def queue() -> Iterator[Run]:
    """All runs, the most telling first."""
    for fold in range(FOLDS):
        yield from (Run("motions6", way, fold) for way in WAYS)
    for way in ("none", "tam-difference", "segments"):
        yield from (Run("fights", way, fold) for fold in range(FOLDS))
    for seed in (1, 2):
        for way in ("none", "tam-difference", "full"):
            yield from (Run("motions6", way, fold, seed) for fold in range(FOLDS))
    for way in ("none", "full"):
        yield from (Run("motions6", way, fold, scratch=True) for fold in range(FOLDS))


def run(media: Path, one: Run, out: Path) -> None:
    """Train, test the last epoch on the clips held out, write `result.json`."""
    out = out / one.name
    result = out / "result.json"
    if result.exists():
        return
    recipe = one.recipe()
    manifest = Manifest.read(media / DATA[one.data][0]).stratified(FOLDS, one.fold, seed=0)
    torch.manual_seed(one.seed)
    net = create_model(
        recipe.model,
        classes=manifest.labels,
        **({"frames": recipe.frames} if recipe.frames else {}),
    )
    trained = train(net, manifest.split("train"), recipe, out=out, resume=True)
    cache = Cache(Path(recipe.cache), recipe.cache_fps) if recipe.cache else None
    found = evaluate(trained.last, manifest.split("val"), views=(1, 1), cache=cache, workers=1)
    history = (out / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    rates = [json.loads(line)["clips_per_s"] for line in history]
    losses = [json.loads(line)["train_loss"] for line in history]
    row = {
        "run": one.name,
        "data": one.data,
        "way": one.way,
        "fold": one.fold,
        "seed": one.seed,
        "scratch": one.scratch,
        "samples": found.samples,
        "hits": round(found.metrics.top1 * found.samples),
        "labels": list(found.labels),
        "confusion": found.metrics.confusion.tolist(),
        "train_loss": losses[-1],
        "seconds_an_epoch": found_seconds(rates, len(manifest.split("train"))),
    }
    with whole_file(result) as path:
        path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")


def found_seconds(rates: list[float], clips: int) -> float:
    """The fastest epoch: the others were disturbed."""
    return round(clips / max(rates), 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("media", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/rules"))
    parser.add_argument("--only", choices=list(WAYS))
    parser.add_argument("--part", type=int, nargs=2, default=(0, 1), metavar=("K", "OF"))
    parser.add_argument("--report", action="store_true")
    arguments = parser.parse_args()
    if arguments.report:
        from time_rules_page import write

        write(arguments.out)
        return
    part, of = arguments.part
    for number, one in enumerate(queue()):
        if number % of == part and arguments.only in (None, one.way):
            run(arguments.media, one, arguments.out)
            print(one.name, "done", flush=True)


if __name__ == "__main__":
    main()
