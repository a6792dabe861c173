"""A network by its name: built, given its weights, and told who it is."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from marey.errors import ModelError
from marey.files import Stamp
from marey.models._checkpoint import CONFIG, STATE, Checkpoint, read_config, verify_state
from marey.models._fetch import fetch
from marey.models._net import Net, check_labels
from marey.models._registry import Entry, is_folder, owner, resolve
from marey.models._rule import joined, sequence
from marey.models._weights import OWN_LAYOUT, Weights, load_state, read_state
from marey.types import Input

Classes = int | Sequence[str] | None


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
