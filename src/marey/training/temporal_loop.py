"""Training a temporal head: features and annotated events in; a folder with checkpoints out."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from marey.data.annotations import Annotations
from marey.data.formats import listed
from marey.errors import DataError
from marey.files import make_folder
from marey.models._temporal_head import Features, HeadConfig, TemporalHead
from marey.training.bar import Bar
from marey.training.event_metrics import EventMetrics, measure_events
from marey.training.loop import Run
from marey.training.state import saved_state
from marey.training.temporal_recipe import TemporalRecipe
from marey.training.temporal_trainer import TemporalTrainer


def train_temporal(
    features: Iterable[Features],
    annotations: Annotations,
    recipe: TemporalRecipe | None = None,
    *,
    made_by: Mapping[str, Any],
    out: str | os.PathLike[str],
    beside: Path | None = None,
    resume: bool = False,
    bar: bool = True,
) -> Run:
    """Train a head on the features of annotated videos, and write `out/best` and `out/last`.

    `features` are held in memory; `made_by` tells how they were made, and is kept in the
    checkpoints, as is the folder `beside`, the network that made them. The annotations' `train` and
    `val` splits are used; where they name none, one of `recipe.folds` folds is held out. Best is by
    the mean average precision over tIoU 0.3 to 0.7 on the validation videos, then over 0.5 to 0.95;
    each label's threshold is the score of highest F1 at tIoU 0.5 there: so results on them are a
    little too good. Without validation there is only `last`, and the thresholds are the training
    videos' own.

    Deterministic on a CPU. `resume` goes on where the run in `out` stopped, and starts it if there
    is none. Raises DataError for features that are missing, not finite, or unlike each other.
    """
    recipe = recipe or TemporalRecipe()
    warnings = list(annotations.warnings)
    annotations = split_videos(annotations, recipe)
    table = matched(features, annotations, warnings)
    first = next(iter(table.values()))
    config = HeadConfig(
        labels=annotations.labels,
        channels=len(first.values),
        stride=first.stride,
        network=first.network,
        made_by=dict(made_by),
        width=recipe.width,
        levels=recipe.levels,
        thresholds=(0.5,) * len(annotations.labels),
    )
    identity = {
        "recipe": recipe.of_head(),
        "data": data_hash(annotations, table),
        "labels": list(annotations.labels),
        "made_by": dict(made_by),
    }

    def trainer(out: Path) -> TemporalTrainer:
        return TemporalTrainer(
            table, annotations, config, recipe, recipe.alone, out, identity, beside
        )

    return carry_out(trainer, annotations, identity, out, warnings, resume=resume, bar=bar)


def carry_out(
    make: Callable[[Path], TemporalTrainer],
    annotations: Annotations,
    identity: dict[str, Any],
    out: str | os.PathLike[str],
    warnings: list[str],
    *,
    resume: bool,
    bar: bool,
) -> Run:
    """Train what `make` gives in the folder `out`, from the state that is there if there is one."""
    out = make_folder(out)
    saved = saved_state(out, identity, resume=resume)
    trainer = make(out)
    if saved is not None:
        trainer.state.restore(saved)
    if trainer.progress.finished:
        warnings.append(f"the run in {out} was finished already")
    else:
        annotations.write(out / "split.csv")
        with Bar("train", trainer.phase.epochs * trainer.steps, show=bar) as shown:
            trainer.fit(shown)
    best = "best" if "val" in annotations.splits else "last"
    return Run(out, out / best, out / "last", trainer.best or {}, tuple(warnings))


def evaluate_temporal(
    head: TemporalHead, features: Iterable[Features], annotations: Annotations
) -> EventMetrics:
    """Metrics of all that the head finds in these videos, whatever its score.

    DataError where the annotations hold labels that the head does not know, or features miss.
    """
    unknown = [label for label in annotations.labels if label not in head.config.labels]
    if unknown:
        raise DataError(
            f"holds labels that the head does not know: {listed(unknown)}",
            where=annotations.root,
            do=f"It knows {listed(list(head.config.labels))}.",
        )
    table = matched(features, annotations, [])
    found = {v.name: head.candidates(table[v.name], v.span) for v in annotations.videos}
    return measure_events(found, annotations.truth)


def split_videos(annotations: Annotations, recipe: TemporalRecipe) -> Annotations:
    """The videos to train and validate on, each with its split; a test split is left alone."""
    used = [video for video in annotations.videos if video.split != "test"]
    if recipe.folds == 0:
        used = [dataclasses.replace(video, split="train") for video in used]
    elif not annotations.splits:
        annotations = annotations.stratified(recipe.folds, recipe.fold, recipe.seed)
        used = list(annotations.videos)
    else:
        used = [video for video in used if video.split is not None]
    annotations = annotations.with_videos(used)
    taught = {event.label for video in annotations.split("train").videos for event in video.events}
    absent = [label for label in annotations.labels if label not in taught]
    if absent:
        raise DataError(
            f"no training video has an event of {listed(absent)}",
            where=annotations.root,
            do="Put videos with every label into the training split.",
        )
    if "val" in annotations.splits and not any(annotations.split("val").truth.values()):
        raise DataError(
            "no validation video has an event",
            where=annotations.root,
            do="Choose other videos for validation, or another fold.",
        )
    return annotations


def matched(
    features: Iterable[Features], annotations: Annotations, warnings: list[str]
) -> dict[str, Features]:
    """The features of the annotated videos, by name; DataError if they cannot be used together."""
    table: dict[str, Features] = {}
    wanted = {video.name for video in annotations.videos}
    extra = 0
    for one in features:
        if one.video in table:
            raise DataError("its features are given twice", where=one.video, do="Give them once.")
        if one.video in wanted:
            table[one.video] = one
        else:
            extra += 1
    missing = sorted(wanted - set(table))
    if missing:
        raise DataError(
            f"{len(missing)} of {len(wanted)} annotated videos have no features: {listed(missing)}",
            where=annotations.root,
            do="Make their features, or leave the videos out.",
        )
    if extra:
        warnings.append(f"{extra} videos with features are not among those annotated here")
    first = table[annotations.videos[0].name]
    for one in table.values():
        _check(one, first)
    short = _too_short(annotations, table)
    if short:
        warnings.append(
            f"{short} events are shorter than a feature's stride, {first.stride:g} s, and may not "
            "be learnt; make features with a smaller one"
        )
    return table


def _check(one: Features, first: Features) -> None:
    values = one.values
    what = ""
    if values.ndim != 2 or not values.size:
        what = f"are of shape {values.shape}, not channels x time"
    elif len(values) != len(first.values):
        what = f"have {len(values)} channels, those of {first.video} have {len(first.values)}"
    elif abs(one.stride / first.stride - 1) > 0.01:
        what = f"come every {one.stride:g} s, those of {first.video} every {first.stride:g} s"
    elif one.network != first.network:
        what = f"were made by another network than those of {first.video}"
    elif not np.isfinite(values).all():
        what = "hold values that are not finite"
    if what:
        raise DataError(
            f"its features {what}", where=one.video, do="Make all with one network and stride."
        )


def _too_short(annotations: Annotations, table: Mapping[str, Features]) -> int:
    return sum(
        event.end - event.start < table[video.name].stride
        for video in annotations.videos
        for event in video.events
    )


def data_hash(annotations: Annotations, table: Mapping[str, Features]) -> str:
    """A SHA-256 over annotations and features."""
    digest = hashlib.sha256(annotations.data_hash().encode())
    for name in sorted(table):
        one = table[name]
        told = (name, one.network, one.start, one.stride, one.values.shape)
        digest.update(repr(told).encode())
        digest.update(np.ascontiguousarray(one.values, np.float32).tobytes())
    return digest.hexdigest()
