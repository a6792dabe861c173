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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from fnmatch import fnmatch
from functools import cache, partial
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import marey.models
from marey.errors import ModelError
from marey.files import Stamp
from marey.models._checkpoint import CONFIG, STATE, Checkpoint, read_config, verify_state
from marey.models._fetch import fetch
from marey.models._net import Net, check_labels
from marey.models._rule import joined, sequence
from marey.models._weights import OWN_LAYOUT, Weights, load_state, read_state
from marey.types import Input

PREFIX = "timm/"  # before the name of any of timm's networks

Builder = Callable[..., Net]
Classes = int | Sequence[str] | None


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


def create_model(name: str | os.PathLike[str], *, classes: Classes = None, **options: Any) -> Net:
    """A network by its name; `classes` is a count, or the labels in order.

    A bare name is untrained and downloads nothing. With weights, other classes than theirs give a
    new, untrained head, and `net.report` says so. The net is in evaluation mode.

    >>> create_model("r3d_18", classes=["serve", "smash"]).labels
    ('serve', 'smash')
    """
    if is_folder(name):
        if options:
            raise ModelError("a checkpoint has its options already", where=name)
        return load_checkpoint(name, classes=classes)
    asked = resolve(os.fspath(name))
    entry, tag, options = asked.entry, asked.tag, {**options, **asked.options}
    if tag is None:
        net = build(entry, classes, options)
    elif entry.weights[tag].layout == OWN_LAYOUT:
        path, _ = fetch(entry.weights[tag])
        net = load_checkpoint(path.parent, classes=classes, **options)
        net.licence = entry.weights[tag].licence
    else:
        net = _load_published(entry, entry.weights[tag], asked.name, classes, options)
    net.name = asked.name
    return net


def load_checkpoint(
    folder: str | os.PathLike[str], *, classes: Classes = None, **options: Any
) -> Net:
    """The network that `save_checkpoint` wrote; with other `classes` it gets a new head."""
    folder = Path(folder)
    files = (Stamp.of(folder / CONFIG), Stamp.of(folder / STATE))
    config = read_config(folder)
    entry = owner(config, folder)
    wanted, new_head = _wanted(classes, config.classes, config.labels)
    net = build(entry, wanted, {**config.options, **options})
    path = verify_state(folder, config)
    net.report.load = load_state(
        net, read_state(path), source=str(folder), new_head=new_head, files=files
    )
    net.name, net.input, net.licence = str(folder), config.input, config.licence
    net.multilabel = config.multilabel and not new_head
    return net


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


def build(entry: Entry, classes: Classes, options: Mapping[str, Any]) -> Net:
    """The untrained network, its identity filled in."""
    unknown = sorted(set(options) - set(entry.options))
    if unknown:
        known = ", ".join(f"{name}={default!r}" for name, default in entry.options.items())
        raise ModelError(
            f"has no option {unknown[0]!r}", where=entry.name, do=f"Its options are: {known}."
        )
    labels = None if classes is None or isinstance(classes, int) else check_labels(classes)
    count = len(labels) if labels else (entry.classes if classes is None else classes)
    if not isinstance(count, int) or count < 1:
        raise ModelError(f"classes must be at least 1, got {classes!r}", where=entry.name)
    if "rule" in options:
        options = {**options, "rule": joined(sequence(options["rule"]))}
    net = entry.build(classes=count, **options)
    net.architecture = net.name = entry.name
    net.options = {**entry.options, **options}
    net.input = _with_frames(entry.input, options)
    net.labels = labels
    return net.eval()


def _with_frames(prepare: Input, options: Mapping[str, Any]) -> Input:
    return replace(prepare, frames=options["frames"]) if "frames" in options else prepare


class Made(NamedTuple):
    """What a network was made for, by whoever made its weights."""

    classes: int
    labels: tuple[str, ...] | None
    input: Input
    options: Mapping[str, Any]

    @classmethod
    def bare(cls, entry: Entry) -> Made:
        return cls(entry.classes, None, entry.input, {})

    @classmethod
    def checkpoint(cls, config: Checkpoint) -> Made:
        return cls(config.classes, config.labels, config.input, config.options)

    @classmethod
    def published(cls, entry: Entry, weights: Weights) -> Made:
        if weights.layout == OWN_LAYOUT:
            return cls.checkpoint(read_config(fetch(weights)[0].parent))
        labels = weights.labels() if weights.labels else None
        return cls(
            weights.classes or entry.classes, labels, weights.input or entry.input, weights.options
        )


def _load_published(
    entry: Entry, weights: Weights, name: str, classes: Classes, options: Mapping[str, Any]
) -> Net:
    made = Made.published(entry, weights)
    wanted, new_head = _wanted(classes, made.classes, made.labels)
    net = build(entry, wanted, {**made.options, **options})
    path, pinned = fetch(weights)
    files = (Stamp.of(path),)
    net.report.load = load_state(
        net,
        read_state(path),
        source=name,
        layout=weights.layout,
        new_head=new_head,
        pinned=pinned,
        files=files,
    )
    net.input, net.licence = _with_frames(made.input, options), weights.licence
    net.multilabel = weights.multilabel and not new_head
    return net


def _wanted(
    classes: Classes, published: int, labels: tuple[str, ...] | None
) -> tuple[Classes, bool]:
    """The classes to build, and whether their head is a new one.

    As many classes as published keep the head, and its labels; other labels are other classes.
    """
    if classes is None or (isinstance(classes, int) and classes == published):
        return labels or published, False
    if not isinstance(classes, int) and tuple(classes) == labels:
        return labels, False
    return classes, True
