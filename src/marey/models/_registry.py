"""Every network by its name.

A name is `architecture`, untrained; `architecture.tag`, with those weights; a tag alone where only
one architecture has it; or the path of a checkpoint folder. `timm/NAME` is any network of timm's,
and `+RULE` behind an image network's name puts time into it (`timm/convnext_tiny+tam`). Family
files register themselves when they are imported, and all of them are: a new model is one file.
"""

from __future__ import annotations

import inspect
import os
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any

import marey.models
from marey.errors import ModelError
from marey.models._checkpoint import CONFIG, Checkpoint, read_config
from marey.models._net import Net
from marey.models._rule import joined, sequence
from marey.models._weights import Weights
from marey.types import Input

PREFIX = "timm/"  # before the name of any of timm's networks

Builder = Callable[..., Net]


@dataclass(frozen=True, slots=True)
class Entry:
    """One architecture: how to build it, and what is published for it.

    `family` is the file of `marey.models` that it is built in, or `timm`. `boxes`: it is a
    `RoiNet`, which judges boxes in its clips.
    """

    name: str
    family: str
    build: Builder
    input: Input
    classes: int
    weights: Mapping[str, Weights]
    default: str | None
    paper: str
    reference: str
    boxes: bool = False

    @property
    def options(self) -> dict[str, Any]:
        """The options that the builder takes, with their defaults."""
        parameters = inspect.signature(self.build).parameters.values()
        return {p.name: p.default for p in parameters if p.name != "classes"}


_ENTRIES: dict[str, Entry] = {}


def register(
    prepare: Input,
    *,
    classes: int,
    paper: str,
    reference: str,
    weights: Mapping[str, Weights] = MappingProxyType({}),
    default: str | None = None,
    boxes: bool = False,
) -> Callable[[Builder], Builder]:
    """List the decorated builder under its own name.

    The builder takes `classes` and its options by keyword. `default` is the tag that a verb uses
    when it is given the bare name; None refuses, as no weights would be meant by everybody.
    `boxes`: what it builds is a `RoiNet`.
    """
    assert default is None or default in weights

    def decorate(build: Builder) -> Builder:
        name = build.__name__
        assert name not in _ENTRIES
        _ENTRIES[name] = Entry(
            name,
            build.__module__.rpartition(".")[2],
            build,
            prepare,
            classes,
            MappingProxyType(dict(weights)),
            default,
            paper,
            reference,
            boxes,
        )
        return build

    return decorate


def owner(config: Checkpoint, folder: object) -> Entry:
    entry = _entry(config.model)
    if entry is None:
        raise ModelError(
            f"is of a network {config.model!r} that marey cannot make by itself",
            where=folder,
            do="Make it as you did, by `marey.timed`, and load `model.safetensors` into it; or "
            "update marey, if the network is one of its own.",
        )
    return entry


def default_weights(name: str | os.PathLike[str]) -> str:
    """The full name a verb uses for `name`; ModelError where only random weights would be left."""
    if is_folder(name):
        return os.fspath(name)
    asked = resolve(os.fspath(name))
    entry, tag = asked.entry, asked.tag or asked.entry.default
    if tag is None:
        known = ", ".join(f"{entry.name}.{tag}" for tag in entry.weights)
        raise ModelError(
            "has no weights that could label anything",
            where=entry.name,
            do=f"Choose one of: {known}." if known else "Train it, and give the checkpoint folder.",
        )
    return replace(asked, tag=tag).name


def best_name(name: str | os.PathLike[str], *, bare: bool = False) -> str:
    """`name` with its default weights where it names none and has some; `bare`: without any."""
    if is_folder(name):
        return os.fspath(name)
    asked = resolve(os.fspath(name))
    return replace(asked, tag=None if bare else asked.tag or asked.entry.default).name


def takes_boxes(name: str | os.PathLike[str]) -> bool:
    """Whether the network of that name judges boxes in its clips, as a `RoiNet` does."""
    if is_folder(name):
        return owner(read_config(Path(name)), name).boxes
    return resolve(os.fspath(name)).entry.boxes


def with_rule_options(name: str | os.PathLike[str], options: Mapping[str, Any]) -> str:
    """`name` with these options for the rules in it, where they do not say their own."""
    if is_folder(name):
        return os.fspath(name)
    asked = resolve(os.fspath(name))
    if not asked.rule:
        return asked.name
    rules = [rule.otherwise(options) for rule in sequence(asked.rule)]
    return replace(asked, rule=joined(rules)).name


def model_options(name: str | os.PathLike[str]) -> dict[str, Any]:
    """The options that a network of this name takes, with their defaults; a folder takes none."""
    return {} if is_folder(name) else resolve(os.fspath(name)).entry.options


def list_models(pattern: str = "*", *, weights: bool = False) -> list[str]:
    """The names that match `pattern`: architectures, or with `weights` each `architecture.tag`."""
    names = _tagged() if weights else list(_entries())
    return sorted(name for name in names if fnmatch(name, pattern))


@dataclass(frozen=True, slots=True)
class Asked:
    """What a name means: an architecture, and the tag of weights and the rule if it names them."""

    entry: Entry
    tag: str | None
    rule: str = ""

    @property
    def name(self) -> str:
        """The full name."""
        tag = f".{self.tag}" if self.tag else ""
        return f"{self.entry.name}{tag}" + (f"+{self.rule}" if self.rule else "")

    @property
    def options(self) -> dict[str, Any]:
        return {"rule": self.rule} if self.rule else {}


def resolve(name: str) -> Asked:
    """The architecture, tag and rule of `name`; ModelError with the nearest names if none."""
    base, plus, rule = name.partition("+")
    entry, tag = _resolve(base)
    if plus and "rule" not in entry.options:
        raise ModelError(
            f"takes no rule, it is no image network; got '+{rule}'",
            where=entry.name,
            do="Put rules on efficientnet_lite0 or timm/NAME.",
        )
    return Asked(entry, tag, joined(sequence(rule)) if plus else "")


def _resolve(name: str) -> tuple[Entry, str | None]:
    entry = _entry(name)
    if entry:
        return entry, None
    architecture, _, tag = name.partition(".")
    entry = _entry(architecture)
    if entry and tag in entry.weights:
        return entry, tag
    if entry and name.startswith(PREFIX):
        near = get_close_matches(tag, entry.weights, n=3, cutoff=0) or ["no weights at all"]
        raise ModelError(f"has no weights {tag!r}", where=entry.name, do=f"Has {', '.join(near)}.")
    owners = [entry for entry in _entries().values() if name in entry.weights]
    if len(owners) == 1:
        return owners[0], name
    if owners:
        found = ", ".join(f"{entry.name}.{name}" for entry in owners)
        raise ModelError(f"several models have weights {name!r}", do=f"Choose one of: {found}.")
    near = get_close_matches(name, [*_entries(), *_tagged(), *_tags()], n=3, cutoff=0.5)
    raise ModelError(
        f"no model is called {name!r}",
        do=f"Did you mean {', '.join(near)}?" if near else "`marey models` lists all of them.",
    )


def _entry(architecture: str) -> Entry | None:
    """The entry of that exact name, if there is one; timm's are made when they are asked for."""
    if architecture.startswith(PREFIX) and "." not in architecture:
        return _timm_entry(architecture.removeprefix(PREFIX))
    return _entries().get(architecture)


@cache
def _timm_entry(architecture: str) -> Entry:
    from marey.models import _timm

    weights = _timm.weights(architecture)
    return Entry(
        name=PREFIX + architecture,
        family="timm",
        build=partial(_timm.build, architecture),
        input=_timm.prepare(architecture),
        classes=_timm.classes(architecture),
        weights=MappingProxyType(weights),
        default=next(iter(weights), None),
        paper="",
        reference=f"timm {architecture}",
    )


@cache
def _entries() -> dict[str, Entry]:
    """All architectures, once every family file has been imported."""
    for module in pkgutil.iter_modules(marey.models.__path__):
        if not module.name.startswith("_") and not module.ispkg:
            import_module(f"marey.models.{module.name}")
    return _ENTRIES


def _tagged() -> list[str]:
    return [f"{entry.name}.{tag}" for entry in _entries().values() for tag in entry.weights]


def _tags() -> set[str]:
    return {tag for entry in _entries().values() for tag in entry.weights}


def is_folder(name: str | os.PathLike[str]) -> bool:
    """Whether `name` is meant as a path: it has a separator, or a checkpoint lies there."""
    text = os.fspath(name)
    if text.startswith(PREFIX):
        return False
    return (
        isinstance(name, os.PathLike)
        or "/" in text
        or os.sep in text
        or Path(text, CONFIG).exists()
    )
