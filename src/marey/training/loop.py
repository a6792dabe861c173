"""Training: a network, samples and a recipe in; a folder with checkpoints, metrics and plots out.

A step is a function of what `State` holds and of the step's number: the order of samples, their
augmentation, the learning rate and the chance in the network are all drawn from the seed and from
where the run stands. So a run that is killed and resumed ends as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch

from marey.data.cache import Cache
from marey.data.manifest import Manifest
from marey.data.source import Source
from marey.data.survey import survey
from marey.errors import DataError, RecipeError
from marey.files import make_folder
from marey.models._create import create_model
from marey.models._net import Net, freeze, replace_head
from marey.models._registry import best_name, model_options, with_rule_options
from marey.training.bar import Bar
from marey.training.extras import require_train_extra
from marey.training.recipe import Recipe
from marey.training.state import Progress, saved_state
from marey.training.temporal_recipe import TemporalRecipe
from marey.types import Input

R = TypeVar("R", Recipe, TemporalRecipe)

# What may change between two sittings of one run, because its result does not depend on it. Whether
# frames come from a cache does matter: a cache rounds times to its own rate.
_FREE = ("workers", "save_every")


@dataclass(frozen=True, slots=True)
class Run:
    """What a training left in its folder `out`.

    `best` and `last` are checkpoint folders; without validation they are the same. `metrics` are
    those of the best epoch. `warnings` tell what was left out or decided.
    """

    out: Path
    best: Path
    last: Path
    metrics: Mapping[str, Any]
    warnings: tuple[str, ...]


def train_from(
    data: str | os.PathLike[str],
    recipe: Recipe,
    *,
    out: str | os.PathLike[str],
    resume: bool = False,
    bar: bool = True,
) -> Run:
    """Train the network that the recipe names on the labels of `data`, a folder or a CSV.

    A bare name starts from its default weights, unless the recipe says `pretrained = false`.
    """
    require_train_extra()
    manifest = Manifest.read(data)
    name = with_rule_options(starting_point(recipe), recipe.time)
    options = dict(recipe.options)
    if recipe.frames and "frames" in model_options(name):
        options.setdefault("frames", recipe.frames)
    torch.manual_seed(recipe.seed)  # new layers start from chance
    net = create_model(name, classes=manifest.labels, **options)
    untrained = net.report.load is None
    run = train(net, manifest, recipe, out=out, resume=resume, bar=bar)
    if untrained:
        told = f"{name} started untrained, without weights"
        run = dataclasses.replace(run, warnings=(told, *run.warnings))
    return run


def train(
    net: Net,
    manifest: Manifest,
    recipe: Recipe,
    *,
    out: str | os.PathLike[str],
    resume: bool = False,
    bar: bool = True,
) -> Run:
    """Train `net` in place and write `out/best` and `out/last`, checkpoint folders.

    The manifest's `train` and `val` splits are used; where it names none, one of `recipe.folds`
    folds is held out. A head for other labels than the manifest's is replaced. `resume` goes on
    where the run in `out` stopped, and starts it if there is none. With `bar`, a progress bar shows
    where stderr is a terminal.

    Raises DataError, RecipeError, or VideoError for a video that fails after it was found readable.
    """
    require_train_extra()
    out = make_folder(out)
    warnings = _told_of_loading(net)
    manifest = split(manifest, recipe)
    manifest = adopt_labels(net, manifest, recipe.seed, warnings)
    recipe = keep_sides(recipe, manifest.labels, warnings)
    net.input = recipe.input(net.input)
    stages = net.early() if recipe.freeze == "early" else recipe.freeze
    freeze(net, stages, norms=recipe.freeze_norms)
    warnings.extend(_told_of_frozen(net))
    identity = _identity(net, manifest, recipe)
    saved = saved_state(out, identity, resume=resume)
    if saved is None or not saved["progress"]["finished"]:
        progress = _fit(net, manifest, recipe, out, identity, saved, warnings, bar)
    else:
        progress = Progress(**saved["progress"])
        warnings.append("the run was finished already")
    best = "best" if "val" in manifest.splits else "last"
    return Run(out, out / best, out / "last", progress.history[progress.best or 0], tuple(warnings))


def starting_point(recipe: Recipe) -> str:
    """The full name of the network to begin with."""
    if recipe.pretrained:
        return best_name(recipe.model)
    if best_name(recipe.model, bare=True) != recipe.model:
        raise RecipeError(
            f"model {recipe.model!r} names weights, but pretrained is false",
            do="Name the network alone, or set pretrained = true.",
        )
    return recipe.model


def _told_of_loading(net: Net) -> list[str]:
    """What loading the weights had to say; from now on they are other weights."""
    report, net.report.load = net.report.load, None
    if report is None:
        return []
    new = [f"the head is new, of {net.classes} classes"] if report.new_head else []
    return [*new, *dataclasses.replace(report, new_head=False, untaught="").warnings]


def _told_of_frozen(net: Net) -> list[str]:
    """New layers over time that stand in frozen stages will never learn."""
    new = net.report.time.new if net.report.time else ()
    frozen = [name for name in new if not net.get_parameter(name).requires_grad]
    if not frozen:
        return []
    return [
        f"{len(frozen)} of {len(new)} new layers over time stand in frozen stages and do not "
        "learn; put the rule into later stages (stages=last), or freeze fewer"
    ]


def _identity(net: Net, manifest: Manifest, recipe: Recipe) -> dict[str, Any]:
    """What makes a run this run; a checkpoint carries it, and a resumed run must agree with it."""
    kept = {key: value for key, value in recipe.to_dict().items() if key not in _FREE}
    return {
        "recipe": kept | {"model": net.name, "options": net.options},
        "data": manifest.data_hash(),
        "labels": list(manifest.labels),
    }


def _fit(
    net: Net,
    manifest: Manifest,
    recipe: Recipe,
    out: Path,
    identity: dict[str, Any],
    saved: dict[str, Any] | None,
    warnings: list[str],
    bar: bool,
) -> Progress:
    from marey.training.record import Record
    from marey.training.trainer import Trainer

    sources = _look(manifest, net.input, recipe, warnings, bar)
    record = Record(out, manifest, net.name)
    trainer = Trainer(net, recipe, sources, out, record, identity)
    if saved is not None:
        trainer.state.restore(saved)
    main = trainer.accelerator.is_main_process
    with Bar("train", recipe.epochs * trainer.steps, show=bar and main) as progress:
        trainer.fit(progress)
    return trainer.progress


def _look(
    manifest: Manifest, prepare: Input, recipe: Recipe, warnings: list[str], bar: bool
) -> dict[str, tuple[Source, ...]]:
    """The readable samples of each split."""
    cache = None if recipe.cache is None else Cache(Path(recipe.cache), recipe.cache_fps)
    sources: dict[str, tuple[Source, ...]] = {"train": (), "val": ()}
    what = "read videos" if cache is None else "decode videos"
    with Bar(what, len(manifest), show=bar) as progress:
        for name in manifest.splits:
            part = manifest.split(name)
            found = survey(
                part, prepare, cache=cache, workers=recipe.workers, progress=progress.move
            )
            sources[name] = found.sources
            warnings.extend(found.warnings())
    return sources


def split(manifest: Manifest, recipe: Recipe) -> Manifest:
    """The samples to train and validate on, each with its split; a test split is left alone."""
    if recipe.folds == 0:
        kept = [s for s in manifest.samples if s.split in (None, "train", "val")]
        manifest = manifest.with_samples(dataclasses.replace(s, split="train") for s in kept)
    elif not manifest.splits:
        return manifest.stratified(recipe.folds, recipe.fold, recipe.seed)
    else:
        kept = [s for s in manifest.samples if s.split in ("train", "val")]
        manifest = manifest.with_samples(kept)
    if "train" not in manifest.splits:
        raise DataError(
            "no sample is for training", where=manifest.root, do="Give some the split 'train'."
        )
    return manifest


def adopt_labels(net: Net, manifest: Manifest, seed: int, warnings: list[str]) -> Manifest:
    """Make the net and the manifest speak of the same classes, in one order.

    A net that knows the same labels keeps its head, and its order counts; any other gets a new one.
    """
    known, wanted = net.labels, manifest.labels
    trained = {sample.label for sample in manifest.split("train").samples}
    absent = [label for label in wanted if label not in trained]
    if absent:
        raise DataError(
            f"no training sample has the label {absent[0]!r}",
            where=manifest.root,
            do="Put samples of every label into the training split.",
        )
    if known is not None and set(known) == set(wanted):
        return dataclasses.replace(manifest, labels=known)
    torch.manual_seed(seed)
    warnings.append(f"the head of {net.classes} classes is replaced by one of {len(wanted)}")
    replace_head(net, len(wanted), wanted)
    return manifest


def keep_sides(recipe: R, labels: tuple[str, ...], warnings: list[str]) -> R:
    """The recipe without mirroring where labels tell left from right."""
    sided = [label for label in labels if {"left", "right"} & set(_words(label))]
    if not (recipe.flip and sided):
        return recipe
    warnings.append(f"clips are not mirrored, because of the label {sided[0]!r}")
    return recipe.replace({"flip": False})


def _words(label: str) -> list[str]:
    return "".join(c if c.isalpha() else " " for c in label.lower()).split()
