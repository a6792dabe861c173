"""How to train a temporal head: every choice that is not the features or the annotations."""

from __future__ import annotations

from dataclasses import dataclass

from marey.training.keys import Keys
from marey.training.recipe import check_fold


@dataclass(frozen=True, slots=True, kw_only=True)
class TemporalRecipe(Keys):
    """The keys of the TOML file are these fields, flat.

    `width`, `levels` and `dropout` are the head's; the coarsest level has a point at every
    2 ** (levels - 1) features. A step sees `batch` stretches of at most `length` features; an epoch
    sees every video as many times as it holds such stretches. `warmup` and `patience` are epochs,
    patience 0: never stop early. Where the annotations name no split, one of `folds` validates.
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

    def __post_init__(self) -> None:
        self.check(_RANGES)
        check_fold(self.folds, self.fold)


_RANGES = {
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
}
