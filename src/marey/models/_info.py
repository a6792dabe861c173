"""What is known of a network by its name, without downloading it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from marey.models._checkpoint import Checkpoint, read_config
from marey.models._costs import known_cost
from marey.models._create import Made, build
from marey.models._flow import Stage, data_flow
from marey.models._registry import Entry, is_folder, owner, resolve
from marey.types import Input


@dataclass(frozen=True, slots=True)
class WeightsInfo:
    """Published weights as `marey show` tells them; `labels`: whether the classes have names."""

    name: str
    source: str
    sha256: str | None
    licence: str
    classes: int
    labels: bool
    top1: float | None
    protocol: str


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """An architecture as `marey show` tells it. `macs` are of one clip of `shape`, T H W.

    `labels` are those of the weights that the name means, in the order of the logits; a bare name
    means none.
    """

    name: str
    family: str
    input: Input
    classes: int
    labels: tuple[str, ...] | None
    params: int
    macs: int
    shape: tuple[int, int, int]
    options: Mapping[str, Any]
    paper: str
    reference: str
    default: str | None
    weights: tuple[WeightsInfo, ...]


class _Meant(NamedTuple):
    """What a name means, and the weights that go with it."""

    name: str
    entry: Entry
    made: Made
    weights: tuple[WeightsInfo, ...]


def model_info(name: str | os.PathLike[str]) -> ModelInfo:
    """What is known of a name without downloading: of a bare one with all its weights."""
    meant = _meant(name)
    entry, made = meant.entry, meant.made
    shape = (made.input.frames, *made.input.size)
    found = known_cost(entry, made)
    return ModelInfo(
        name=meant.name,
        family=entry.family,
        input=made.input,
        classes=made.classes,
        labels=made.labels,
        params=found.params,
        macs=found.macs,
        shape=shape,
        options={**entry.options, **made.options},
        paper=entry.paper,
        reference=entry.reference,
        default=entry.default,
        weights=meant.weights,
    )


def model_flow(name: str | os.PathLike[str]) -> tuple[Stage, ...]:
    """How a clip flows through the network of that name, stage by stage; with random weights."""
    meant = _meant(name)
    net = build(meant.entry, meant.made.classes, meant.made.options)
    net.input = meant.made.input
    return data_flow(net)


def _meant(name: str | os.PathLike[str]) -> _Meant:
    if is_folder(name):
        config = read_config(Path(name))
        full = os.fspath(name)
        return _Meant(
            full, owner(config, name), Made.checkpoint(config), (_folder_info(full, config),)
        )
    asked = resolve(os.fspath(name))
    entry, tag = asked.entry, asked.tag
    made = Made.bare(entry) if tag is None else Made.published(entry, entry.weights[tag])
    made = made._replace(options={**made.options, **asked.options})
    tags = [tag] if tag else entry.weights
    return _Meant(asked.name, entry, made, tuple(_weights_info(entry, tag) for tag in tags))


def _weights_info(entry: Entry, tag: str) -> WeightsInfo:
    weights = entry.weights[tag]
    made = Made.published(entry, weights)
    return WeightsInfo(
        name=f"{entry.name}.{tag}",
        source=weights.source,
        sha256=weights.sha256,
        licence=weights.licence,
        classes=made.classes,
        labels=made.labels is not None,
        top1=weights.top1,
        protocol=weights.protocol,
    )


def _folder_info(name: str, config: Checkpoint) -> WeightsInfo:
    return WeightsInfo(
        name=name,
        source=name,
        sha256=config.sha256,
        licence=config.licence or "not stated",
        classes=config.classes,
        labels=config.labels is not None,
        top1=None,
        protocol="",
    )
