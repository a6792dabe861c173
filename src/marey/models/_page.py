"""The page `docs/models.md`, made from the registry so that it cannot drift."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence

from marey.models._info import ModelInfo, WeightsInfo, model_info
from marey.models._registry import list_models

_HEAD = """\
# Models

This page is generated; a test holds it to the registry. To write it anew:
`python -m marey.models._costs && python -m marey.models._page > docs/models.md`

A bare name (`r3d_18`) is an untrained network and downloads nothing. `name.tag` loads weights, and
a tag alone does where only one network has it. `marey show NAME` tells all that is known of one.
`timm/NAME+RULE` is any convolutional network of timm's with time put into it: [timed.md](timed.md).

## Networks

GMACs are of one clip of T x H x W: convolutions and matrix products, one multiply-accumulate each.

"""
_WEIGHTS = """
## Weights

They are fetched at first use, verified and cached (`MAREY_CACHE`); `MAREY_MIRROR=file:///folder`
serves them from a folder instead. Where no hash is published the first download is pinned and said
so. The licence is that of the weights' publisher; data sets have terms of their own.

"""


def page() -> str:
    """All networks and all weights, as Markdown."""
    nets = [model_info(name) for name in list_models()]
    weights = [item for net in nets for item in net.weights]
    return (
        _HEAD
        + _table(_NETWORKS, map(_network, nets))
        + _WEIGHTS
        + _table(_PUBLISHED, map(_published, weights))
    )


_NETWORKS = [
    "network",
    "family",
    "T x H x W",
    "parameters",
    "GMACs",
    "classes",
    "default",
    "paper",
    "reference",
]
_PUBLISHED = ["weights", "classes", "labels", "top-1", "protocol", "licence", "hash", "source"]


def _network(net: ModelInfo) -> Sequence[str]:
    return (
        f"`{net.name}`",
        net.family,
        " x ".join(map(str, net.shape)),
        f"{net.params:,}",
        f"{net.macs / 1e9:.2f}",
        str(net.classes),
        f"`{net.default}`" if net.default else "none",
        f"[{net.paper}](https://arxiv.org/abs/{net.paper})",
        net.reference,
    )


def _published(item: WeightsInfo) -> Sequence[str]:
    return (
        f"`{item.name}`",
        str(item.classes),
        "yes" if item.labels else "numbers only",
        "" if item.top1 is None else f"{item.top1:.1f} %",
        item.protocol,
        item.licence,
        f"`{item.sha256[:8]}…`" if item.sha256 else "pinned",
        f"`{item.source.rpartition('/')[2]}`",
    )


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


if __name__ == "__main__":
    sys.stdout.write(page())
