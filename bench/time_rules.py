"""What does time bring, by each rule? One backbone, one recipe, the same folds; only time differs.

    python bench/time_rules.py MEDIA --out runs/rules [--only WAY] [--part K OF]
    python bench/time_rules.py MEDIA --out runs/rules --report

MEDIA is a folder with `motions6/` and `fights/groups.csv`. A queue of trainings, the most telling
first: each way of seeing time on each fold, `fights` by group, more seeds, untrained late layers. A
finished one is not run again; two queues side by side take different ones (`--part 0 2` and
`--part 1 2`). `--report` writes the page and its plot from what is there, and says what is not.

The layers before the last resolution are frozen, so what they make of the clips is computed once,
for every clip as it is and in eight augmented versions; a training then takes a minute or two. It
is otherwise the loop of `marey train` with `recipes/timed.toml`. The accuracy is that of the last
epoch on the fold held out: no epoch is chosen by the clips it is tested on.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor, nn
from torch.nn import functional as F

from marey.data.augment import Augment
from marey.data.cache import Cache
from marey.data.dataset import TrainClips, fixed_views
from marey.data.manifest import Manifest
from marey.data.source import open_source
from marey.files import make_folder, whole_file
from marey.models._create import create_model
from marey.models._net import Net, freeze, param_groups
from marey.models.timed import Timed
from marey.nn.clip import normalise
from marey.nn.inflated import SpaceTimeConv
from marey.nn.time import fold, unfold
from marey.training.recipe import Recipe
from marey.training.schedule import cosine

RECIPE = Path(__file__).parents[1] / "recipes" / "timed.toml"
BACKBONE = "efficientnet_lite0"
FIRST = 5  # the first of the backbone's `blocks` that works at the last resolution
FOLDS, VERSIONS = 3, 8


class Way(NamedTuple):
    """A way of seeing time: its rule, and what it is in words."""

    rule: str
    words: str


LATE = "stages=last"
WAYS = {
    "none": Way("none", "frames averaged (TSN)"),
    "tam": Way(f"tam:{LATE}", "TAM from the identity"),
    "tam-difference": Way(f"tam:{LATE}:init=difference", "TAM from differences"),
    "tam-difference-5": Way(
        f"tam:{LATE}:init=difference:kernel=5", "TAM from differences, five frames"
    ),
    "tam-last": Way(
        "tam:layers=last:kernel=5:init=difference",
        "TAM from differences before the last layer",
    ),
    "full": Way(f"full:{LATE}", "3D kernels (I3D, rMC) from the centre"),
    "full-difference": Way(f"full:{LATE}:init=difference", "3D kernels from differences"),
    "full-last": Way("full:layers=last:kernel=5", "last 1x1 layer as 5x1x1, from the centre"),
    "full-last-difference": Way(
        "full:layers=last:kernel=5:init=difference",
        "last 1x1 layer as 5x1x1, from differences",
    ),
    "split": Way(f"split:{LATE}", "(2+1)D, S3D from the identity"),
    "split-difference": Way(f"split:{LATE}:init=difference", "(2+1)D, S3D from differences"),
    "shift": Way(f"shift:{LATE}", "TSM"),
    "tam-shift": Way(f"tam:{LATE}:init=shift", "TSM, but learnable"),
    "gate": Way(f"gate:{LATE}", "adaptive kernels (TANet)"),
    "segments": Way("segments:parts=4", "head over four parts in order"),
    "gru": Way("rnn:cell=gru:width=128", "head with a GRU"),
    "lstm": Way("rnn:width=512", "head with an LSTM"),
    "conv1d": Way("conv1d", "head with convolutions"),
    "both": Way(
        f"tam:{LATE}:init=difference+segments:parts=4", "TAM from differences, head over four parts"
    ),
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


def queue() -> Iterator[Run]:
    """All runs, the most telling first."""
    for number in range(FOLDS):
        yield from (Run("motions6", way, number) for way in WAYS)
    for way in ("none", "tam-difference", "segments"):
        yield from (Run("fights", way, number) for number in range(FOLDS))
    for seed in (1, 2):
        for way in ("none", "tam-difference", "full-last-difference", "full"):
            yield from (Run("motions6", way, number, seed) for number in range(FOLDS))
    for way in ("none", "full-last-difference"):
        yield from (Run("motions6", way, number, scratch=True) for number in range(FOLDS))
    for seed in (1, 2):
        for way in ("tam", "segments"):
            yield from (Run("motions6", way, number, seed) for number in range(FOLDS))


@cache
def recipe_of(data: str) -> Recipe:
    return Recipe.read(RECIPE).replace(DATA[data][1])


def model(way: str) -> str:
    rule = WAYS[way].rule
    return f"{BACKBONE}.in1k" + ("" if rule == "none" else f"+{rule}")


class Clips(NamedTuple):
    """What the frozen layers make of a data set: V N T C H W augmented, N T C H W as it is."""

    augmented: Tensor
    plain: Tensor
    manifest: Manifest

    @property
    def targets(self) -> Tensor:
        return torch.tensor(self.manifest.targets)


def clips_of(media: Path, data: str, out: Path) -> Clips:
    """The frozen layers' maps of every clip; computed once and kept in `out`."""
    manifest = Manifest.read(media / DATA[data][0])
    kept = out / f"{data}.pt"
    if not kept.exists():
        recipe = recipe_of(data)
        net = create_model(f"{BACKBONE}.in1k", classes=len(manifest.labels))
        net.input = recipe.input(net.input)
        cache = Cache(Path(recipe.cache or out / "cache"), recipe.cache_fps)
        sources = [
            open_source(sample, target, net.input, cache)
            for sample, target in zip(manifest.samples, manifest.targets, strict=True)
        ]
        augment = Augment(recipe.crop, recipe.flip, recipe.colour, recipe.gamma_jitter)
        drawn = TrainClips(sources, net.input, augment, seed=0)
        versions = [
            torch.stack([early(net, clip_of(drawn, version, k)) for k in range(len(sources))])
            for version in range(VERSIONS)
        ]
        plain = [
            early(net, torch.from_numpy(fixed_views(source, net.input, (1, 1))))
            for source in sources
        ]
        with whole_file(kept) as path:
            torch.save({"augmented": torch.stack(versions), "plain": torch.stack(plain)}, path)
    maps = torch.load(kept)
    return Clips(maps["augmented"], maps["plain"], manifest)


def clip_of(drawn: TrainClips, version: int, index: int) -> Tensor:
    item = drawn[version, index]
    if not isinstance(item, tuple):
        raise item
    return item[0][None]


@torch.inference_mode()
def early(net: Net, clips: Tensor) -> Tensor:
    """uint8 1 T H W 3 → what the frozen layers make of it, T C H W, in half precision."""
    image: Any = net.body.net
    maps = image.bn1(image.conv_stem(fold(normalise(clips, net.input))))
    for block in image.blocks[:FIRST]:
        maps = block(maps)
    return maps.half()  # type: ignore[no-any-return]


def late(net: Timed, maps: Tensor) -> Tensor:
    """N T C H W, from the frozen layers → logits, N K."""
    image: Any = net.body.net
    net.body.clock.clips = len(maps)
    x = maps.float().flatten(0, 1).contiguous(memory_format=torch.channels_last)
    for block in image.blocks[FIRST:]:
        x = block(x)
    return net.head(unfold(image.bn2(image.conv_head(x)), len(maps)))  # type: ignore[no-any-return]


def untrain(net: Timed) -> None:
    """Draw the late layers anew, as if no image had ever taught them."""
    image: Any = net.body.net
    for part in (image.blocks[FIRST:], image.conv_head, image.bn2):
        for module in part.modules():
            if isinstance(module, nn.Conv2d | SpaceTimeConv):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
            elif hasattr(module, "reset_parameters"):
                module.reset_parameters()


def train(clips: Clips, one: Run) -> dict[str, Any]:
    """Train on all folds but one, as `marey train` would, and test on that one."""
    recipe = recipe_of(one.data)
    torch.manual_seed(one.seed)
    made = create_model(model(one.way), classes=clips.manifest.labels, frames=recipe.frames or 8)
    assert isinstance(made, Timed)
    if one.scratch:
        untrain(made)
    freeze(made, made.early(), norms=not one.scratch)
    groups = param_groups(
        made,
        1e-3 if one.scratch else recipe.lr,
        head_lr=recipe.head_lr,
        time_lr=recipe.time_lr,
        weight_decay=recipe.weight_decay,
    )
    optimiser, peaks = torch.optim.AdamW(groups), [group["lr"] for group in groups]
    average = ModelEmaV3(made, decay=recipe.ema, use_warmup=True)
    held_out = [s.split == "val" for s in clips.manifest.stratified(FOLDS, one.fold, 0).samples]
    learnt = np.flatnonzero(~np.array(held_out))
    steps, rng = len(learnt) // recipe.batch, np.random.default_rng([one.seed, one.fold])
    made.train()
    losses, epochs = [], []
    for epoch in range(recipe.epochs):
        began, order = time.monotonic(), rng.permutation(learnt)
        for step in range(steps):
            chosen = order[step * recipe.batch : (step + 1) * recipe.batch]
            now = epoch * steps + step
            factor = cosine(now, recipe.epochs * steps, round(recipe.warmup * steps))
            for group, peak in zip(optimiser.param_groups, peaks, strict=True):
                group["lr"] = peak * factor
            maps = clips.augmented[rng.integers(VERSIONS, size=len(chosen)), chosen]
            loss = F.cross_entropy(
                late(made, maps), clips.targets[chosen], label_smoothing=recipe.label_smoothing
            )
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(made.parameters(), recipe.clip_norm)
            optimiser.step()
            average.update(made, step=now)
            losses.append(float(loss.detach()))
        epochs.append(time.monotonic() - began)
    return tested(average.module, clips, np.flatnonzero(held_out)) | {
        "train_loss": float(np.mean(losses[-steps:])),
        "seconds_an_epoch": min(epochs),
    }


@torch.inference_mode()
def tested(net: Any, clips: Clips, samples: Any) -> dict[str, Any]:
    net.eval()
    parts = np.array_split(samples, len(samples) // 8)
    found = torch.cat([late(net, clips.plain[part]).argmax(1) for part in parts]).numpy()
    labels = clips.manifest.labels
    confusion = np.zeros((len(labels), len(labels)), int)
    np.add.at(confusion, (clips.targets[samples].numpy(), found), 1)
    return {
        "samples": len(samples),
        "hits": int(confusion.trace()),
        "labels": list(labels),
        "confusion": confusion.tolist(),
    }


def run(clips: Clips, one: Run, out: Path) -> None:
    """Train and test, and write what came out, unless that is done."""
    result = out / f"{one.name}.json"
    if result.exists():
        return
    row = {
        "run": one.name,
        "data": one.data,
        "way": one.way,
        "fold": one.fold,
        "seed": one.seed,
        "scratch": one.scratch,
        **train(clips, one),
    }
    with whole_file(result) as path:
        path.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
    print(one.name, f"{row['hits']} of {row['samples']}", flush=True)


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
    make_folder(arguments.out)
    known: dict[str, Clips] = {}
    part, of = arguments.part
    for number, one in enumerate(queue()):
        if number % of == part and arguments.only in (None, one.way):
            if one.data not in known:
                known = {one.data: clips_of(arguments.media, one.data, arguments.out)}
            run(known[one.data], one, arguments.out)


if __name__ == "__main__":
    main()
