"""What every listed network costs, counted beforehand: all of them take minutes.

`python -m marey.models._costs` counts anew; a test holds the file to the networks.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import torch

from marey.models._cost import Cost, cost
from marey.models._create import Made, build
from marey.models._registry import Entry, list_models, resolve
from marey.types import Input

FILE = Path(__file__).with_name("costs.json")


def known_cost(entry: Entry, made: Made) -> Cost:
    """From the file, or counted: a network with options, of timm's, or of a checkpoint."""
    listed = None if made.options else _listed().get(_key(entry.name, made.classes, made.input))
    return Cost(*listed) if listed else counted_cost(entry, made)


def counted_cost(entry: Entry, made: Made) -> Cost:
    """Of one clip of its input, by running it without values."""
    with torch.device("meta"):
        net = build(entry, made.classes, made.options)
    return cost(net, (made.input.frames, *made.input.size))


def all_costs() -> dict[str, tuple[int, int]]:
    """Parameters and MACs of every listed network, at its own input and at that of its weights."""
    found: dict[str, tuple[int, int]] = {}
    for entry, made in _all():
        key = _key(entry.name, made.classes, made.input)
        if key not in found:
            counted = counted_cost(entry, made)
            found[key] = (counted.params, counted.macs)
    return dict(sorted(found.items()))


def _all() -> Iterator[tuple[Entry, Made]]:
    for name in list_models():
        entry = resolve(name).entry
        yield entry, Made.bare(entry)
        for weights in entry.weights.values():
            if weights.source.startswith("https:") and not weights.options:
                yield entry, Made.published(entry, weights)


def _key(name: str, classes: int, prepare: Input) -> str:
    return f"{name} {classes} {'x'.join(map(str, (prepare.frames, *prepare.size)))}"


@cache
def _listed() -> dict[str, tuple[int, int]]:
    costs: dict[str, tuple[int, int]] = json.loads(FILE.read_text(encoding="utf-8"))
    return costs


def text() -> str:
    """The file's content, a network a line."""
    rows = ",\n".join(f"{json.dumps(key)}: {list(value)}" for key, value in all_costs().items())
    return "{\n" + rows + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
