"""The training loop, on Accelerate: one process or many, on CPU or CUDA."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

import torch
from accelerate import Accelerator
from timm.utils.model_ema import ModelEmaV3
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset

from marey.data.augment import Augment
from marey.data.dataset import EpochSampler, TestClips, TrainClips, collate
from marey.data.source import Source
from marey.errors import MareyError, RecipeError
from marey.models._net import Net, param_groups
from marey.nn.clip import normalise
from marey.runtime.torch import channels_last
from marey.training.bar import Bar
from marey.training.metrics import Metrics, measure
from marey.training.recipe import Recipe
from marey.training.record import Record
from marey.training.schedule import cosine, step_seed
from marey.training.state import Progress, State, save_checkpoint_whole

S = TypeVar("S")
Batch = Any
"""What a loader gives: N clips first, and what is known of them."""


class Validated(Protocol):
    """What a validation has found."""

    def row(self) -> dict[str, Any]: ...


class Trainer(ABC, Generic[S]):
    """Takes a run from where its `progress` stands to its end; `sources` are those of each split.

    What a sample is, what is lost on it and how the network is measured is said by subclasses.
    """

    def __init__(
        self,
        net: Net,
        recipe: Recipe,
        sources: Mapping[str, Sequence[S]],
        out: Path,
        record: Record,
        identity: dict[str, Any],
    ) -> None:
        self.accelerator = Accelerator()
        self.recipe, self.out, self.record, self.identity = recipe, out, record, identity
        self.net = net.to(self.accelerator.device)
        channels_last(net)
        self.ema = ModelEmaV3(net, decay=recipe.ema, use_warmup=True) if recipe.ema else None
        groups = param_groups(
            net,
            recipe.lr,
            head_lr=recipe.head_lr,
            time_lr=recipe.time_lr,
            weight_decay=recipe.weight_decay,
        )
        self.peaks = [group["lr"] for group in groups]
        optimizer = torch.optim.AdamW(groups)
        self.progress = Progress()
        self.state = State(net, self.ema, optimizer, self.progress)
        self.model, self.optimizer = self.accelerator.prepare(net, optimizer)
        self._load(sources)

    @abstractmethod
    def _samples(self, sources: Sequence[S], augment: Augment) -> Dataset[Any]:
        """What is learnt from, by the keys (epoch, sample)."""

    @abstractmethod
    def _views(self, sources: Sequence[S]) -> Dataset[Any]:
        """What is looked at in a validation, by its number."""

    @staticmethod
    @abstractmethod
    def _collate(items: list[Any]) -> Batch | MareyError:
        """What is learnt from in one step; or the first error in it."""

    @staticmethod
    @abstractmethod
    def _collate_views(items: list[Any]) -> Batch | MareyError:
        """What is looked at together in a validation; or the first error in it."""

    @abstractmethod
    def _loss(self, batch: Batch) -> Tensor:
        """The mean over what is learnt in a step."""

    @abstractmethod
    def _measured(self, net: Net, batches: Iterable[Batch]) -> Validated:
        """How good `net` is on the views of a validation."""

    def _load(self, sources: Mapping[str, Sequence[S]]) -> None:
        recipe, count = self.recipe, len(sources["train"])
        augment = Augment(recipe.crop, recipe.flip, recipe.colour, recipe.gamma_jitter)
        self.sampler = EpochSampler(count, recipe.seed)
        common: dict[str, Any] = {
            "batch_size": recipe.batch,
            "num_workers": recipe.workers,
            "persistent_workers": recipe.workers > 0,
        }
        # A last batch that is too small disturbs norms; other samples are left out in each epoch.
        how = {"collate_fn": self._collate, "drop_last": count >= recipe.batch, **common}
        train = DataLoader(self._samples(sources["train"], augment), sampler=self.sampler, **how)
        self.train_loader = self.accelerator.prepare(train)
        self.steps = len(self.train_loader)
        self.val_loader = None
        if sources["val"]:
            how = {"collate_fn": self._collate_views, **common}
            self.val_loader = self.accelerator.prepare(
                DataLoader(self._views(sources["val"]), **how)
            )

    def fit(self, bar: Bar) -> None:
        """Train to the last epoch, or until `patience` epochs have brought nothing."""
        if self.accelerator.is_main_process:
            self.record.open(self.progress.step)
        try:
            self._fit(bar)
        finally:
            self.record.close()

    def _fit(self, bar: Bar) -> None:
        progress = self.progress
        while not progress.finished:
            began, first = time.monotonic(), progress.clips
            self._train_epoch(bar)
            rate = (progress.clips - first) / (time.monotonic() - began)
            metrics = self._validate()
            self._close_epoch(metrics, rate)

    def _train_epoch(self, bar: Bar) -> None:
        recipe, progress = self.recipe, self.progress
        self.sampler.begin(
            progress.epoch, skip=progress.done * recipe.batch * self.accelerator.num_processes
        )
        self.model.train()
        for batch in self.train_loader:
            loss = self._step(_opened(batch))
            progress.count(loss, len(batch[0]))
            bar.move(progress.step, f"epoch {progress.epoch + 1}, loss {progress.loss:.3f}")
            if recipe.save_every and progress.step % recipe.save_every == 0:
                self._save_state()

    def _step(self, batch: Batch) -> float:
        """One step of the optimiser; its loss."""
        recipe, step = self.recipe, self.progress.step
        factor = cosine(step, recipe.epochs * self.steps, round(recipe.warmup * self.steps))
        for group, peak in zip(self.optimizer.param_groups, self.peaks, strict=True):
            group["lr"] = peak * factor
        torch.manual_seed(step_seed(recipe.seed, step, self.accelerator.process_index))
        loss = self._loss(batch)
        value = float(loss.detach())
        if value != value:
            raise RecipeError(
                f"the loss became NaN in step {step}", do='Lower lr, or set precision = "no".'
            )
        self.accelerator.backward(loss)
        if recipe.clip_norm:
            self.accelerator.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        self.optimizer.step()
        self.optimizer.zero_grad()
        if self.ema is not None:
            self.ema.update(self.net, step=step)
        if self.accelerator.is_main_process:
            self.record.step(step, {"loss": value, "lr": recipe.lr * factor})
        return value

    def _autocast(self) -> torch.autocast:
        device, precision = self.accelerator.device.type, self.recipe.precision
        # On CPU bfloat16 is emulated unless the machine has the instructions; it must be asked for.
        helps = device == "cuda" and torch.cuda.is_bf16_supported()
        enabled = precision == "bf16" or (precision == "auto" and helps)
        return torch.autocast(device, torch.bfloat16, enabled=enabled)

    @property
    def result(self) -> Net:
        """The network that the run is for: the averaged one, if there is one."""
        return self.net if self.ema is None else self.ema.module

    @torch.no_grad()
    def _validate(self) -> Validated | None:
        if self.val_loader is None:
            return None
        return self._measured(self.result.eval(), map(_opened, self.val_loader))

    def _close_epoch(self, metrics: Validated | None, rate: float) -> None:
        """Write down what the epoch brought; the state last, so that a kill repeats all of it."""
        progress = self.progress
        improved = progress.close(metrics.row() if metrics else {}, self.recipe, round(rate, 2))
        if self.accelerator.is_main_process:
            extra = {**self.identity, "seed": self.recipe.seed, "metrics": progress.history[-1]}
            save_checkpoint_whole(self.result, self.out / "last", extra)
            if metrics is not None and improved:
                save_checkpoint_whole(self.result, self.out / "best", extra)
                self.record.best(metrics)
            self.record.epoch(progress.history)
        self._save_state()

    def _save_state(self) -> None:
        if self.accelerator.is_main_process:
            self.state.save(self.out, self.identity)
        self.accelerator.wait_for_everyone()


class ClipTrainer(Trainer[Source]):
    """Learns the labels of clips; a batch are N T H W 3 uint8 and N class numbers."""

    def _samples(self, sources: Sequence[Source], augment: Augment) -> Dataset[Any]:
        return TrainClips(sources, self.net.input, augment, seed=self.recipe.seed)

    def _views(self, sources: Sequence[Source]) -> Dataset[Any]:
        """One of each sample, the middle of time and space."""
        return TestClips(sources, self.net.input, (1, 1))

    _collate = _collate_views = staticmethod(collate)

    def _loss(self, batch: Batch) -> Tensor:
        clips, targets = batch
        with self._autocast():
            logits = self.model(normalise(clips, self.net.input))
        smoothing = self.recipe.label_smoothing
        return F.cross_entropy(logits.float(), targets, label_smoothing=smoothing)

    def _measured(self, net: Net, batches: Iterable[Batch]) -> Metrics:
        scores, targets = [], []
        for clips, target in batches:
            with self._autocast():
                logits = net(normalise(clips.flatten(0, 1), net.input))
            p, target = self.accelerator.gather_for_metrics((logits.float().softmax(1), target))
            scores.append(p)
            targets.append(target)
        return measure(torch.cat(scores), torch.cat(targets))


def _opened(batch: Batch | MareyError) -> Batch:
    """The batch, or the error that a worker met on the way to it."""
    if isinstance(batch, MareyError):
        raise batch
    return batch
