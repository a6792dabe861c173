"""Training: a network, samples and a recipe in; a folder with checkpoints, metrics and plots out.

A step is a function of what `State` holds and of the step's number: the order of samples, their
augmentation, the learning rate and the chance in the network are all drawn from the seed and from
where the run stands. So a run that is killed and resumed ends as if nothing had happened.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

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

if TYPE_CHECKING:
    from marey.training.trainer import Trainer

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
    net, told = starting_net(recipe, manifest.labels)
    run = train(net, manifest, recipe, out=out, resume=resume, bar=bar)
    return dataclasses.replace(run, warnings=(*told, *run.warnings))


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
    manifest = split(manifest, recipe)
    _refuse_untaught(manifest)
    recipe, warnings = made_to_learn(net, recipe, manifest.labels)
    manifest = dataclasses.replace(manifest, labels=net.labels or ())
    identity = identity_of(net, recipe, manifest.data_hash())

    def trainer() -> Trainer[Any]:
        from marey.training.record import ClipRecord
        from marey.training.trainer import ClipTrainer

        sources = _look(manifest, net.input, recipe, warnings, bar)
        record = ClipRecord(out, manifest, net.name)
        return ClipTrainer(net, recipe, sources, out, record, identity)

    validated = "val" in manifest.splits
    how = {"validated": validated, "resume": resume, "bar": bar}
    return carry_out(trainer, identity, out, warnings, **how)


def starting_net(recipe: Recipe, labels: tuple[str, ...]) -> tuple[Net, list[str]]:
    """The network that the recipe names, for these labels, and what is to be told of it."""
    name = with_rule_options(starting_point(recipe), recipe.time)
    options = dict(recipe.options)
    if recipe.frames and "frames" in model_options(name):
        options.setdefault("frames", recipe.frames)
    torch.manual_seed(recipe.seed)  # new layers start from chance
    net = create_model(name, classes=labels, **options)
    untrained = f"{name} started untrained, without weights"
    return net, [untrained] if net.report.load is None else []


def made_to_learn(net: Net, recipe: Recipe, labels: tuple[str, ...]) -> tuple[Recipe, list[str]]:
    """Give `net` these labels, the recipe's input and what it freezes.

    The recipe comes back as it is to be followed, and with it what is to be told.
    """
    warnings = _told_of_loading(net)
    adopt_labels(net, labels, recipe.seed, warnings)
    recipe = keep_sides(recipe, labels, warnings)
    net.input = recipe.input(net.input)
    stages = net.early() if recipe.freeze == "early" else recipe.freeze
    freeze(net, stages, norms=recipe.freeze_norms)
    return recipe, [*warnings, *_told_of_frozen(net)]


def carry_out(
    make: Callable[[], Trainer[Any]],
    identity: dict[str, Any],
    out: Path,
    warnings: list[str],
    *,
    validated: bool,
    resume: bool,
    bar: bool,
) -> Run:
    """Train what `make` gives in the folder `out`, from the state that is there if there is one."""
    saved = saved_state(out, identity, resume=resume)
    if saved is not None and saved["progress"]["finished"]:
        progress = Progress(**saved["progress"])
        warnings.append("the run was finished already")
    else:
        trainer = make()
        if saved is not None:
            trainer.state.restore(saved)
        show = bar and trainer.accelerator.is_main_process
        with Bar("train", trainer.recipe.epochs * trainer.steps, show=show) as shown:
            trainer.fit(shown)
        progress = trainer.progress
    best = "best" if validated else "last"
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


def identity_of(net: Net, recipe: Recipe, data: str) -> dict[str, Any]:
    """What makes a run this run; a checkpoint carries it, and a resumed run must agree with it."""
    kept = {key: value for key, value in recipe.to_dict().items() if key not in _FREE}
    return {
        "recipe": kept | {"model": net.name, "options": net.options},
        "data": data,
        "labels": list(net.labels or ()),
    }


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


def _refuse_untaught(manifest: Manifest) -> None:
    """DataError for a label that no training sample has."""
    trained = {sample.label for sample in manifest.split("train").samples}
    absent = [label for label in manifest.labels if label not in trained]
    if absent:
        raise DataError(
            f"no training sample has the label {absent[0]!r}",
            where=manifest.root,
            do="Put samples of every label into the training split.",
        )


def adopt_labels(net: Net, labels: tuple[str, ...], seed: int, warnings: list[str]) -> None:
    """Make the net speak of these classes.

    A net that knows the same labels keeps its head, and its order counts; any other gets a new one.
    """
    if net.labels is not None and set(net.labels) == set(labels):
        return
    torch.manual_seed(seed)
    warnings.append(f"the head of {net.classes} classes is replaced by one of {len(labels)}")
    replace_head(net, len(labels), labels)


def keep_sides(recipe: R, labels: tuple[str, ...], warnings: list[str]) -> R:
    """The recipe without mirroring where labels tell left from right."""
    sided = [label for label in labels if {"left", "right"} & set(_words(label))]
    if not (recipe.flip and sided):
        return recipe
    warnings.append(f"clips are not mirrored, because of the label {sided[0]!r}")
    return recipe.replace({"flip": False})


def _words(label: str) -> list[str]:
    return "".join(c if c.isalpha() else " " for c in label.lower()).split()
