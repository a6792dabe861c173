"""How to train a temporal head: every choice that is not the features or the annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from marey.training.keys import Keys, Ranges
from marey.training.recipe import check_crop, check_fold


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of training: `warmup` is in epochs, `length` in features a stretch of video."""

    epochs: int
    lr: float
    warmup: float
    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalRecipe(Keys):
    """The keys of the TOML file are these fields, flat.

    `width`, `levels` and `dropout` are the head's; the coarsest level has a point at every
    2 ** (levels - 1) features. A step sees `batch` stretches of at most `length` features; an epoch
    sees every video as many times as it holds such stretches. `warmup` and `patience` are epochs,
    patience 0: never stop early. Where the annotations name no split, one of `folds` validates.

    With `network_epochs`, network and head then learn together for so many epochs, end to end, from
    stretches of `network_length` features, at `network_lr`. The first `freeze` stages of the
    network stay as they are; `crop`, `flip` and `colour` change the pictures, as in `Recipe`.
    """

    width: int = 256
    levels: int = 6
    dropout: float = 0.1

    folds: int = 5
    fold: int = 0

    length: int = 2048
    epochs: int = 60
    batch: int = 2
    lr: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 5.0
    clip_norm: float = 1.0
    ema: float = 0.99
    patience: int = 0
    seed: int = 0

    network_epochs: int = 0
    network_lr: float = 2e-4
    network_length: int = 64
    freeze: int | Literal["early"] = 0
    crop: tuple[float, float] = (0.8, 1.0)
    flip: bool = True
    colour: float = 0.1
    save_every: int = 0

    def __post_init__(self) -> None:
        self.check(_RANGES)
        check_crop(self.crop)
        check_fold(self.folds, self.fold)

    @property
    def alone(self) -> Phase:
        """The head learns, on features that stay as they are."""
        return Phase(self.epochs, self.lr, self.warmup, self.length)

    @property
    def together(self) -> Phase:
        """Network and head learn; the rate rises for a tenth of the time."""
        epochs = self.network_epochs
        return Phase(epochs, self.network_lr, epochs / 10, self.network_length)

    def of_head(self) -> dict[str, Any]:
        """The keys that a head alone depends on."""
        return {key: value for key, value in self.to_dict().items() if key not in _TOGETHER}

    def of_both(self) -> dict[str, Any]:
        """The keys that network and head depend on."""
        return {key: value for key, value in self.to_dict().items() if key != "save_every"}


_TOGETHER = (
    *("network_epochs", "network_lr", "network_length"),
    *("freeze", "crop", "flip", "colour", "save_every"),
)

_RANGES: Ranges = {
    "width": (1, 4096),
    "levels": (1, 12),
    "dropout": (0, 0.9),
    "folds": (0, 1000),
    "fold": (0, 999),
    "length": (8, 1_000_000),
    "epochs": (1, 100_000),
    "batch": (1, 100_000),
    "lr": (0, 100),
    "weight_decay": (0, 100),
    "warmup": (0, 100_000),
    "clip_norm": (0, 1e6),
    "ema": (0, 0.999999),
    "patience": (0, 100_000),
    "seed": (0, 2**32 - 1),
    "network_epochs": (0, 100_000),
    "network_lr": (0, 100),
    "network_length": (8, 100_000),
    "freeze": (0, 1000),
    "crop": (0.01, 1),
    "colour": (0, 1),
    "save_every": (0, 1e9),
}
