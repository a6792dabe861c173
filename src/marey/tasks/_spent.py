"""Where the time goes that a video takes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from marey.video.read import Counts

T = TypeVar("T")


@dataclass(slots=True)
class Spent:
    """What a video took: `seconds` in all, those in the network, those waiting for its frames.

    Decoding goes on beside the network. Much waiting means that decoding is what takes long; where
    several videos go at once, the network's seconds hold those in which it served another.
    """

    seconds: float = 0.0
    network: float = 0.0
    waiting: float = 0.0
    clips: int = 0
    frames: Counts = field(default_factory=Counts)

    def __str__(self) -> str:
        counts = self.frames
        return (
            f"{self.seconds:.2f} s, of them {self.network:.2f} in the network and "
            f"{self.waiting:.2f} waiting for frames; {counts.decoded} frames decoded "
            f"({counts.decoded / max(self.seconds, 1e-9):.0f} a second), {counts.skipped} skipped, "
            f"{counts.converted} converted, {counts.seeks} seeks; {self.clips} clips"
        )

    def waited(self, items: Iterable[T]) -> Iterator[T]:
        """The items; how long each was waited for is added."""
        source = iter(items)
        while True:
            with self.on("waiting"):
                try:
                    item = next(source)
                except StopIteration:
                    return
            yield item

    @contextmanager
    def on(self, what: Literal["seconds", "network", "waiting"]) -> Iterator[None]:
        """Add the time that the block takes."""
        began = time.perf_counter()
        try:
            yield
        finally:
            setattr(self, what, getattr(self, what) + time.perf_counter() - began)
