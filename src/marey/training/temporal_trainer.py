"""The loop that trains a temporal head: small networks over features in memory, one process.

As in `marey.training.loop` a step is a function of the saved state and of its number, so a run that
is killed and resumed ends as if nothing had happened. The state is saved after each epoch, and
every `save_every` steps.
"""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from collections.abc import Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from timm.utils.model_ema import ModelEmaV3
from torch import nn

from marey.data.annotations import Annotations
from marey.errors import RecipeError
from marey.files import whole_file
from marey.models._temporal_head import Features, HeadConfig, TemporalHead, detector
from marey.nn.temporal import TemporalDetector
from marey.nn.temporal_loss import temporal_loss
from marey.training.bar import Bar
from marey.training.event_metrics import EventMetrics, Events, measure_events
from marey.training.event_thresholds import choose_thresholds
from marey.training.schedule import cosine, step_seed
from marey.training.state import Progress, State, whole_folder
from marey.training.temporal_data import (
    Batch,
    Example,
    Place,
    Stretch,
    collate,
    epoch_of,
    steps_of,
    usual_count,
)
from marey.training.temporal_recipe import Phase, TemporalRecipe
from marey.types import Event

_FLAT = 1e-6  # a channel that never changes is not divided by its deviation


class TemporalTrainer:
    """Takes a run from where its `progress` stands to its end; `features` are by video.

    The folder `beside`, the network that made them, goes into each checkpoint.
    """

    def __init__(
        self,
        features: Mapping[str, Features],
        annotations: Annotations,
        config: HeadConfig,
        recipe: TemporalRecipe,
        phase: Phase,
        out: Path,
        identity: Mapping[str, Any],
        beside: Path | None = None,
    ) -> None:
        self.features, self.annotations = dict(features), annotations
        self.config, self.recipe, self.phase = config, recipe, phase
        self.out, self.identity, self.beside = out, dict(identity), beside
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.videos = annotations.split("train").videos
        self.examples = [
            Example.of(features[video.name], video.events, config.labels) for video in self.videos
        ]
        self.steps = steps_of(self.examples, phase.length, recipe.batch)
        usual = usual_count(self.examples, len(config.labels), config.levels, phase.length)
        self.normaliser = usual * recipe.batch
        torch.manual_seed(recipe.seed)
        self.net = self._made().to(self.device)
        self.ema = ModelEmaV3(self.net, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        self.optimizer = torch.optim.AdamW(self._groups(), lr=phase.lr)
        self.progress = Progress()
        self.state = State(self.net, self.ema, self.optimizer, self.progress)

    def fit(self, bar: Bar) -> None:
        """Train to the last epoch, or until `patience` epochs have brought nothing."""
        while not self.progress.finished:
            self._train_epoch(bar)
            self._close_epoch()

    def _made(self) -> nn.Module:
        """What learns, as it is before the first step."""
        return _standardised(detector(self.config, self.recipe.dropout), self.examples)

    def _groups(self) -> list[dict[str, Any]]:
        return decayed(self.net, self.recipe.weight_decay)

    def _detector(self, net: nn.Module) -> TemporalDetector:
        """The head in what learns."""
        assert isinstance(net, TemporalDetector)
        return net

    def _stretches(self, places: Sequence[Place]) -> list[Stretch]:
        """What a step sees."""
        return [self.examples[place.example].stretch(*place[1:]) for place in places]

    def _train_epoch(self, bar: Bar) -> None:
        recipe, progress = self.recipe, self.progress
        self.net.train()
        seed = (recipe.seed, progress.epoch)
        epoch = epoch_of(self.examples, self.phase.length, recipe.batch, seed)
        for places in islice(epoch, progress.done, None):
            stretches = self._stretches(places)
            batch = collate(stretches, len(self.config.labels), self.config.levels)
            progress.count(self._step(batch.to(self.device)), len(stretches))
            bar.move(progress.step, f"epoch {progress.epoch + 1}, loss {progress.loss:.3f}")
            if recipe.save_every and progress.step % recipe.save_every == 0:
                self.state.save(self.out, self.identity)

    def _step(self, batch: Batch) -> float:
        recipe, phase, step = self.recipe, self.phase, self.progress.step
        factor = cosine(step, phase.epochs * self.steps, round(phase.warmup * self.steps))
        for group in self.optimizer.param_groups:
            group["lr"] = phase.lr * factor
        torch.manual_seed(step_seed(recipe.seed, step, 0))
        answers = self._detector(self.net)(batch.values, batch.mask)
        answers = answers._replace(mask=answers.mask & batch.counted)
        loss = temporal_loss(answers, batch.targets, self.normaliser)
        value = float(loss.detach())
        if value != value:
            raise RecipeError(f"the loss became NaN in step {step}", do="Lower lr, or network_lr.")
        loss.backward()  # type: ignore[no-untyped-call]
        if recipe.clip_norm:
            torch.nn.utils.clip_grad_norm_(self.net.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.net, step=step)
        return value

    def _close_epoch(self) -> None:
        """Write down what the epoch brought; the state last, so that a kill repeats all of it."""
        progress, validates = self.progress, "val" in self.annotations.splits
        metrics, found = None, self._found("val" if validates else "train")
        if validates:
            metrics = measure_events(found, self.annotations.split("val").truth)
        improved = self._close(metrics)
        head = self._head(found, metrics)
        for name in ("last", "best") if validates and improved else ("last",):
            with whole_folder(self.out / name) as folder:
                head.save(folder)
                self._save_network(folder)
        with whole_file(self.out / "metrics.jsonl") as path:
            path.write_text("".join(json.dumps(row) + "\n" for row in progress.history))
        self.state.save(self.out, self.identity)

    def _close(self, metrics: EventMetrics | None) -> bool:
        """Finish the epoch; tell whether it is the best so far. Without validation the last is."""
        progress = self.progress
        row: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "step": progress.step,
            "train_loss": progress.loss,
        }
        if metrics is not None:
            row |= {"val_map": metrics.loose, "val_map_strict": metrics.strict}
            row |= {"val_map_50": metrics.at(0.5)}
        best = self.best
        improved = metrics is None or best is None or _rank(row) > _rank(best)
        progress.end_epoch(row, improved, self.phase.epochs, self.recipe.patience)
        return improved

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The row of the best epoch so far."""
        return None if self.progress.best is None else self.progress.history[self.progress.best]

    def _save_network(self, folder: Path) -> None:
        if self.beside is not None:
            shutil.copytree(self.beside, folder / self.beside.name, copy_function=_linked)

    def _found(self, split: str) -> dict[str, tuple[Event, ...]]:
        """All detections in the videos of a split."""
        head = TemporalHead(self.result, self.config)
        videos = self.annotations.split(split).videos
        return {v.name: head.candidates(self.features[v.name], v.span) for v in videos}

    def _head(self, found: Events, metrics: EventMetrics | None) -> TemporalHead:
        """The network as it stands, with thresholds by what it has found, and the results."""
        truth = {video: self.annotations.truth[video] for video in found}
        config = dataclasses.replace(
            self.config,
            thresholds=choose_thresholds(found, truth, self.config.labels),
            extra={
                **self.identity,
                "metrics": self.progress.history[-1],
                "by_label": None if metrics is None else metrics.to_dict(),
            },
        )
        return TemporalHead(self.result, config)

    @property
    def result(self) -> TemporalDetector:
        """The network that the run is for: the averaged one, if there is one."""
        return self._detector(self.net if self.ema is None else self.ema.module)


def _rank(row: Mapping[str, Any]) -> tuple[float, float]:
    """Better rows rank higher: of few validation videos many have the same mean."""
    return row["val_map"], row["val_map_strict"]


def _linked(source: str, target: str) -> None:
    """The same file under another name, where the system can; best and last change every epoch."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _standardised(net: TemporalDetector, examples: Sequence[Example]) -> TemporalDetector:
    """The network, told the means and deviations of the features it will see."""
    cells = sum(example.cells for example in examples)
    sums = [example.values.double().sum(1, keepdim=True) for example in examples]
    mean = torch.stack(sums).sum(0) / cells
    squares = [((example.values - mean) ** 2).sum(1, keepdim=True) for example in examples]
    net.mean.copy_(mean)
    net.std.copy_((torch.stack(squares).sum(0) / cells).sqrt())
    net.std[net.std < _FLAT] = 1.0
    return net


def decayed(net: nn.Module, decay: float) -> list[dict[str, Any]]:
    """Optimiser groups: biases, norms and scales get no weight decay."""
    kernels = [p for p in net.parameters() if p.ndim > 1]
    others = [p for p in net.parameters() if p.ndim <= 1]
    return [
        {"params": kernels, "weight_decay": decay},
        {"params": others, "weight_decay": 0.0},
    ]
