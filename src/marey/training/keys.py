"""Choices read from a TOML file: every key has a type, a range and a default."""

from __future__ import annotations

import dataclasses
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, Self, Union, get_args, get_origin, get_type_hints

from marey.errors import RecipeError

Ranges = Mapping[str, tuple[float, float]]
"""Lowest and highest value of every number; both belong to the range."""


@dataclass(frozen=True, slots=True)
class Keys:
    """Base of the recipes: a subclass lists the keys, as fields that all have a default."""

    @classmethod
    def read(cls, path: str | os.PathLike[str]) -> Self:
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
    def from_dict(cls, keys: Mapping[str, Any]) -> Self:
        """The recipe with these keys; what is not named keeps its default."""
        known = [key.name for key in dataclasses.fields(cls)]
        for key in keys:
            if key not in known:
                near = get_close_matches(key, known, n=3) or known
                raise RecipeError(f"unknown key {key!r}", do=f"Choose from {', '.join(near)}.")
        return cls(**keys)

    def replace(self, settings: Mapping[str, Any]) -> Self:
        """The recipe with other values, as `--set key=value` gives them.

        Strings are read as TOML values where they are one ("1e-3", "false", "[0.3, 1.0]"). The
        empty string takes a key back to its default; `TABLE.NAME` sets one entry of a table.
        """
        keys = self.to_dict()
        defaults = type(self)().to_dict()
        for name, text in settings.items():
            value = _parsed(text) if isinstance(text, str) else text
            table, _, option = name.partition(".")
            if option and isinstance(defaults.get(table), Mapping):
                keys[table] = {**keys[table], option: value}
            else:
                keys[name] = defaults.get(name) if value == "" else value
        return self.from_dict(keys)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; `from_dict` reads it back."""
        return {key.name: getattr(self, key.name) for key in dataclasses.fields(self)}

    def check(self, ranges: Ranges) -> None:
        """Bring every value to the type of its field; RecipeError for what does not fit."""
        hints = get_type_hints(type(self))
        for key, value in self.to_dict().items():
            # The dataclass is frozen; arrays in TOML are lists, and 1 is as good as 1.0.
            object.__setattr__(self, key, _checked(key, value, hints[key], ranges))


def _parsed(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _checked(key: str, value: Any, hint: Any, ranges: Ranges) -> Any:
    """`value` as the type that `hint` names; RecipeError says what would be allowed."""
    kinds = get_args(hint) if get_origin(hint) in (UnionType, Union) else (hint,)
    if value is None and NoneType in kinds:
        return None
    for kind in kinds:
        fitted = _fitted(value, kind)
        if fitted is not None:
            _in_range(key, fitted, ranges)
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


def _in_range(key: str, value: Any, ranges: Ranges) -> None:
    if key not in ranges or isinstance(value, str):
        return
    low, high = ranges[key]
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
