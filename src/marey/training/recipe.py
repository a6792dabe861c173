"""A training recipe: every choice that is not the network or the data, read from a TOML file."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from marey.errors import RecipeError
from marey.training.keys import Keys, Ranges
from marey.types import Input, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe(Keys):
    """How to train. The keys of the TOML file are these fields, flat; `options` is a table.

    What describes the clip (`frames` to `gamma`) is the network's own where it is None. Learning
    rates are per batch of `batch` clips. `docs/training.md` says what each key does.
    """

    model: str = "efficientnet_lite0.in1k"
    options: Mapping[str, Any] = field(default_factory=dict)
    pretrained: bool = True
    time: Mapping[str, Any] = field(default_factory=dict)

    frames: int | None = None
    sampling: Sampling | None = None
    seconds: float | None = None
    every: int | None = None
    fps: float | None = None
    size: int | tuple[int, int] | None = None
    resize: int | tuple[int, int] | None = None
    gamma: float | None = None

    folds: int = 5
    fold: int = 0
    cache: str | None = None
    cache_fps: float = 10.0
    workers: int = 2

    crop: tuple[float, float] = (0.5, 1.0)
    flip: bool = True
    colour: float = 0.2
    gamma_jitter: float = 0.0

    epochs: int = 20
    batch: int = 8
    lr: float = 3e-4
    head_lr: float | None = None
    time_lr: float | None = None
    weight_decay: float = 0.05
    warmup: float = 1.0
    label_smoothing: float = 0.1
    clip_norm: float = 1.0
    ema: float = 0.99
    freeze: int | Literal["early"] = 0
    freeze_norms: bool = True
    precision: Literal["auto", "no", "bf16"] = "auto"
    patience: int = 0
    save_every: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        self.check(_RANGES)
        check_crop(self.crop)
        check_fold(self.folds, self.fold)

    def input(self, base: Input) -> Input:
        """The input of a network, `base`, with what this recipe says of it."""
        sampling = self.sampling or base.sampling
        seconds = self.seconds or base.seconds
        if sampling == "dense":
            seconds = None
        elif seconds is None:
            raise RecipeError(
                f"sampling {sampling!r} needs seconds, the length of a window",
                do="Set seconds to about the length of a labelled span.",
            )
        size = (self.size, self.size) if isinstance(self.size, int) else self.size or base.size
        # Where only the size is given, the margin is the usual 256 for 224.
        resize = self.resize or (base.resize if self.size is None else round(min(size) * 8 / 7))
        if np.any(np.less(resize, size)):
            raise RecipeError(
                f"frames scaled to {resize} are smaller than the size {size} cut from them",
                do="Make resize at least as large as size.",
            )
        return dataclasses.replace(
            base,
            frames=self.frames or base.frames,
            sampling=sampling,
            seconds=seconds,
            every=self.every or base.every,
            fps=self.fps or base.fps,
            size=size,
            resize=resize,
            gamma=self.gamma or base.gamma,
        )


def check_crop(crop: tuple[float, float]) -> None:
    """RecipeError for parts of the picture that are reversed."""
    if crop[0] > crop[1]:
        raise RecipeError(f"crop is {crop}", do="Give the smaller part first.")


def check_fold(folds: int, fold: int) -> None:
    """RecipeError unless there is a fold of that number."""
    if folds == 1 or not 0 <= fold < max(folds, 1):
        raise RecipeError(
            f"fold {fold} of {folds} does not exist",
            do="Count folds from 0; folds is 0 (train on everything) or at least 2.",
        )


_RANGES: Ranges = {
    "frames": (1, 1024),
    "seconds": (0.01, 3600),
    "every": (1, 1024),
    "fps": (0.01, 1000),
    "size": (1, 4096),
    "resize": (1, 4096),
    "gamma": (0.01, 100),
    "folds": (0, 1000),
    "fold": (0, 999),
    "cache_fps": (0.01, 1000),
    "workers": (0, 256),
    "crop": (0.01, 1),
    "colour": (0, 1),
    "gamma_jitter": (0, 10),
    "epochs": (1, 100_000),
    "batch": (1, 100_000),
    "lr": (0, 100),
    "head_lr": (0, 100),
    "time_lr": (0, 100),
    "weight_decay": (0, 100),
    "warmup": (0, 100_000),
    "label_smoothing": (0, 0.99),
    "clip_norm": (0, 1e6),
    "ema": (0, 0.999999),
    "freeze": (0, 1000),
    "patience": (0, 100_000),
    "save_every": (0, 1e9),
    "seed": (0, 2**32 - 1),
}
