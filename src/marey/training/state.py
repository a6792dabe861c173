"""Where a run stands: all that its next step depends on, in one file that is written whole."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from marey.errors import RecipeError, WeightsError
from marey.files import whole_file
from marey.models._checkpoint import save_checkpoint
from marey.models._net import Net
from marey.training.recipe import Recipe

STATE = "state.pt"


@dataclass(slots=True)
class Progress:
    """The place in the run: `done` steps of `epoch` are taken, `step` of all.

    `loss_sum` is over the `clips` of this epoch so far. `history` has a row for each finished
    epoch, and `best` is the number of the row with the best validation.
    """

    epoch: int = 0
    done: int = 0
    step: int = 0
    loss_sum: float = 0.0
    clips: int = 0
    best: int | None = None
    finished: bool = False
    history: list[dict[str, Any]] = field(default_factory=list)

    @property
    def loss(self) -> float:
        """The mean training loss of this epoch so far."""
        return self.loss_sum / max(1, self.clips)

    def count(self, loss: float, clips: int) -> None:
        """A step is taken, with this mean loss over so many clips."""
        self.loss_sum += loss * clips
        self.clips += clips
        self.done += 1
        self.step += 1

    def close(self, scores: Mapping[str, Any], recipe: Recipe, rate: float) -> bool:
        """Finish the epoch; tell whether it is the best so far, by the scores of its validation.

        Without validation, the last is.
        """
        row: dict[str, Any] = {
            "epoch": self.epoch + 1,
            "step": self.step,
            "train_loss": self.loss,
            "clips_per_s": rate,
            **scores,
        }
        improved = self.best is None or rank(row) > rank(self.history[self.best])
        self.end_epoch(row, improved or not scores, recipe.epochs, recipe.patience)
        return improved

    def end_epoch(self, row: dict[str, Any], best: bool, epochs: int, patience: int) -> None:
        """Add the epoch's row, the best so far or not, and go on to the next, if there is one."""
        self.history.append(row)
        if best:
            self.best = self.epoch
        self.epoch, self.done, self.loss_sum, self.clips = self.epoch + 1, 0, 0.0, 0
        stale = self.epoch - 1 - (self.best or 0)
        self.finished = self.epoch == epochs or (0 < patience <= stale)


def rank(row: Mapping[str, Any]) -> tuple[float, float]:
    """Better rows rank higher: by accuracy or mAP, and by the loss where that is equal."""
    return row.get("val_top1", row.get("val_map", 0.0)), -row.get("val_loss", 0.0)


@dataclass(frozen=True, slots=True)
class State:
    """The parts of a run that change from step to step, saved and restored together."""

    net: nn.Module
    ema: nn.Module | None
    optimizer: Optimizer
    progress: Progress

    def save(self, out: Path, identity: dict[str, Any]) -> None:
        """Write everything to the run's folder; `identity` says which run this is."""
        with whole_file(out / STATE) as temporary:
            torch.save(
                {
                    "identity": identity,
                    "net": self.net.state_dict(),
                    "ema": None if self.ema is None else self.ema.state_dict(),
                    "optimizer": self.optimizer.state_dict(),
                    "progress": asdict(self.progress),
                },
                temporary,
            )

    def restore(self, saved: dict[str, Any]) -> None:
        """Put back what `read_state` found."""
        self.net.load_state_dict(saved["net"])
        if self.ema is not None:
            self.ema.load_state_dict(saved["ema"])
        self.optimizer.load_state_dict(saved["optimizer"])
        for name, value in saved["progress"].items():
            setattr(self.progress, name, value)


def saved_state(out: Path, identity: dict[str, Any], *, resume: bool) -> dict[str, Any] | None:
    """The state to go on from, None for a new run."""
    return read_state(out, identity) if is_begun(out, resume=resume) else None


def is_begun(out: Path, *, resume: bool) -> bool:
    """Whether a run stands in this folder; RecipeError if it is not to be resumed."""
    if not (out / STATE).exists():
        return False
    if not resume:
        raise RecipeError(
            "holds a run already",
            where=out,
            do="Go on with it (--resume), or name another folder for a new one.",
        )
    return True


def read_state(out: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """What `State.save` wrote; only tensors and plain values are read, never code.

    RecipeError if it is another run's: of another recipe, other data or other labels.
    """
    try:
        saved: dict[str, Any] = torch.load(out / STATE, map_location="cpu", weights_only=True)
        then = saved["identity"]
    except Exception as error:  # a damaged zip or pickle raises nearly anything
        raise WeightsError(
            f"is no training state ({error})",
            where=out / STATE,
            do="Train into another folder.",
        ) from error
    changed = [key for key in identity if identity[key] != then.get(key)]
    if changed == ["recipe"]:
        recipe, old = identity["recipe"], then["recipe"]
        keys = {**old, **recipe}  # a run of one kind may stand where another is begun
        changed = [f"{key} = {old.get(key)!r}" for key in keys if recipe.get(key) != old.get(key)]
    if changed:
        raise RecipeError(
            f"the run here is another one; it has other {', '.join(changed)}",
            where=out,
            do="Resume it with what it began with, or name another folder for a new run.",
        )
    return saved


def save_checkpoint_whole(net: Net, folder: Path, extra: Mapping[str, Any]) -> None:
    """`save_checkpoint`, so that nobody finds the tensors of one epoch beside another's words."""
    with whole_folder(folder) as fresh:
        save_checkpoint(net, fresh, extra=extra)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """The name of a new folder, which takes the place of `folder` when the block ends well."""
    fresh, stale = (folder.with_name(f".{folder.name}-{name}") for name in ("new", "old"))
    shutil.rmtree(fresh, ignore_errors=True)  # of a run that was killed
    yield fresh
    shutil.rmtree(stale, ignore_errors=True)
    if folder.exists():
        folder.rename(stale)
    fresh.rename(folder)
    shutil.rmtree(stale, ignore_errors=True)
