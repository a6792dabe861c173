"""A training recipe: every choice that is not the network or the data, read from a TOML file."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from marey.errors import RecipeError
from marey.types import Input, Sampling


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
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
        hints = get_type_hints(type(self))
        for key, value in self.to_dict().items():
            # The dataclass is frozen; arrays in TOML are lists, and 1 is as good as 1.0.
            object.__setattr__(self, key, _checked(key, value, hints[key]))
        if self.crop[0] > self.crop[1]:
            raise RecipeError(f"crop is {self.crop}", do="Give the smaller part first.")
        if self.folds == 1 or not 0 <= self.fold < max(self.folds, 1):
            raise RecipeError(
                f"fold {self.fold} of {self.folds} does not exist",
                do="Count folds from 0; folds is 0 (train on everything) or at least 2.",
            )

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Recipe:
        """The recipe in a TOML file; RecipeError names the file and the key that is wrong."""
        path = Path(path)
        try:
            keys = tomllib.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise RecipeError("no such recipe", where=path, do="Give a TOML file.") from error
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise RecipeError(f"cannot be read ({error})", where=path, do="Write TOML.") from error
        try:
            return cls.from_dict(keys)
        except RecipeError as error:
            raise RecipeError(error.what, where=path, do=error.do) from error

    @classmethod
    def from_dict(cls, keys: Mapping[str, Any]) -> Recipe:
        """The recipe with these keys; what is not named keeps its default."""
        known = [key.name for key in dataclasses.fields(cls)]
        for key in keys:
            if key not in known:
                near = get_close_matches(key, known, n=3) or known
                raise RecipeError(f"unknown key {key!r}", do=f"Choose from {', '.join(near)}.")
        return cls(**keys)

    def replace(self, settings: Mapping[str, Any]) -> Recipe:
        """The recipe with other values, as `--set key=value` gives them.

        Strings are read as TOML values where they are one ("1e-3", "false", "[0.3, 1.0]"). The
        empty string takes a key back to its default; `options.NAME` sets one option of the model,
        `time.NAME` one of its rules.
        """
        keys = self.to_dict()
        defaults = Recipe().to_dict()
        for name, text in settings.items():
            value = _parsed(text) if isinstance(text, str) else text
            table, _, option = name.partition(".")
            if table in ("options", "time") and option:
                keys[table] = {**keys[table], option: value}
            else:
                keys[name] = defaults.get(name) if value == "" else value
        return self.from_dict(keys)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it back."""
        return {key.name: getattr(self, key.name) for key in dataclasses.fields(self)}

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


# Lowest and highest value of every number; both belong to the range.
_RANGES: dict[str, tuple[float, float]] = {
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


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _checked(key: str, value: Any, hint: Any) -> Any:
    """`value` as the type that `hint` names; RecipeError says what would be allowed."""
    kinds = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    if value is None and NoneType in kinds:
        return None
    for kind in kinds:
        fitted = _fitted(value, kind)
        if fitted is not None:
            _in_range(key, fitted)
            return fitted
    allowed = " or ".join(_named(kind) for kind in kinds if kind is not NoneType)
    raise RecipeError(f"{key} is {value!r}", do=f"Give {allowed}.")


def _fitted(value: Any, kind: Any) -> Any:
    """`value` as `kind`, or None where it is of another type."""
    if get_origin(kind) is Literal:
        return value if value in get_args(kind) else None
    if get_origin(kind) is tuple:
        parts = value if isinstance(value, list | tuple) else ()
        kinds = get_args(kind)
        if len(parts) != len(kinds):
            return None
        fitted = tuple(map(_fitted, parts, kinds))
        return None if None in fitted else fitted
    if get_origin(kind) is Mapping:
        return dict(value) if isinstance(value, Mapping) else None
    if isinstance(value, bool) and kind is not bool:
        return None
    if kind is float and isinstance(value, int):
        return float(value)
    return value if isinstance(value, kind) else None


def _in_range(key: str, value: Any) -> None:
    if key not in _RANGES or isinstance(value, str):
        return
    low, high = _RANGES[key]
    for number in value if isinstance(value, tuple) else (value,):
        if not low <= number <= high:
            raise RecipeError(f"{key} is {value}", do=f"Stay between {low:g} and {high:g}.")


def _named(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return ", ".join(repr(choice) for choice in get_args(kind))
    if get_origin(kind) is tuple:
        return f"{len(get_args(kind))} numbers"
    if get_origin(kind) is Mapping:
        return "a table"
    return {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}[kind]
