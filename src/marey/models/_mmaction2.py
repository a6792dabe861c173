"""What all families share of open-mmlab/mmaction2: where its files are, and how it names blocks."""

from __future__ import annotations

from typing import Any

from marey.models._weights import Weights

# Published fragments of a bottleneck's names and FAIR's, replaced in this order.
BOTTLENECK = {
    **{f".conv{k}.conv.": f".conv_{letter}." for k, letter in enumerate("abc", start=1)},
    **{f".conv{k}.bn.": f".norm_{letter}." for k, letter in enumerate("abc", start=1)},
}


def published(path: str, **said: Any) -> Weights:
    """A file of its zoo; `path` is below `mmaction/`, and ends in the beginning of the hash.

    `said` are the other fields of `Weights`.
    """
    return Weights(
        source=f"https://download.openmmlab.com/mmaction/{path}.pth",
        sha256=path.rpartition("-")[2],
        licence="Apache-2.0",
        layout="mmaction2",
        **said,
    )


def trained(kind: str, config: str, stamp: str, **said: Any) -> Weights:
    """A file that it trained by one of its configurations of the networks `kind`."""
    return published(f"v1.0/recognition/{kind}/{config}/{config}_{stamp}", **said)
