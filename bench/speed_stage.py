"""What the parts of bench/speed.py share: videos, a network, processes of their own."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from marey.benchmark.footage import LOOP, make_loop, repeat
from marey.benchmark.fresh import ask
from marey.benchmark.model import with_weights

MODEL = "x3d_s"
_CHILD = (str(Path(__file__).with_name("speed.py")), "--ask")


@dataclass(frozen=True)
class Stage:
    """A folder that is thrown away in the end, and how much is measured.

    `minutes` is the length of the long video, `names` are the networks beside their peers.
    """

    folder: Path
    minutes: float
    repeats: int
    names: tuple[str, ...]

    @cached_property
    def model(self) -> str:
        """The network that labels videos, as a checkpoint with weights by a formula."""
        return with_weights(MODEL, self.folder / MODEL)

    def footage(self, minutes: float, height: int = 720) -> str:
        """A made video of `height` pixels, 16:9, in a folder of its own; six seconds or more."""
        once = self.folder / f"{height}.mp4"
        if not once.exists():
            make_loop(once, size=(height, height * 16 // 9))
        times = max(1, round(60 * minutes / LOOP))
        path = self.folder / f"{height}-{times}" / "made.mp4"
        path.parent.mkdir(exist_ok=True)
        return str(path if path.exists() else repeat(once, path, times))

    def ask(self, part: str, **question: object) -> Any:
        """What a part of bench/speed.py answers in a fresh process."""
        return ask(part, question, command=_CHILD).value


def tell(what: str) -> None:
    """Progress, on stderr."""
    print(what, file=sys.stderr, flush=True)


def mean_bit_rate(path: str, seconds: float) -> float:
    """Mbit/s."""
    return Path(path).stat().st_size * 8e-6 / seconds


Result = Mapping[str, Any]
