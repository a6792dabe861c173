"""Things that move as told, and a detector that sees where they are: frames carry their number."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marey.boxes import NOTHING, Detections
from marey.testing.videos import frame_number, make_video
from marey.types import Input, ModelCard

Where = Callable[[int], tuple[float, float, float, float] | None]


def straight(
    x: float, y: float, dx: float, *, side: float = 12, hidden: Sequence[int] = ()
) -> Where:
    """A square that moves `dx` pixels a frame, and is not seen in the `hidden` ones."""

    def where(number: int) -> tuple[float, float, float, float] | None:
        left = x + dx * number
        return None if number in hidden else (left, y, left + side, y + side)

    return where


@dataclass
class Eye:
    """A detector of `things` by label; `asked` are the frames that it looked at."""

    things: Sequence[tuple[str, Where]]
    score: float = 0.9
    asked: list[int] = field(default_factory=list)
    warnings: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(label for label, _ in self.things)) or ("person",)

    def card(self) -> ModelCard:
        look = Input(1, (64, 96), 64, mean=(0.5,) * 3, std=(0.5,) * 3)
        return ModelCard("eye", None, len(self.labels), "test", "float32", look)

    def __call__(self, frames: NDArray[np.uint8], /) -> list[Detections]:
        numbers = [frame_number(frame) for frame in frames]
        self.asked += numbers
        return [self._one(number) for number in numbers]

    def _one(self, number: int) -> Detections:
        seen = [(label, box) for label, at in self.things if (box := at(number)) is not None]
        if not seen:
            return NOTHING
        boxes = np.array([box for _, box in seen], np.float32)
        scores = np.full(len(seen), self.score, np.float32)
        return Detections(boxes, scores, tuple(label for label, _ in seen))


def make_joined(path: Path) -> Path:
    """Two seconds, the second of another size than the first."""
    parts = [
        make_video(
            path.with_name(f"{k}.ts"),
            frames=25,
            first=25 * k,
            size=size,
            start=Fraction(k),
            codec="mpeg2video",
            b_frames=0,
        )
        for k, size in enumerate([(64, 96), (96, 160)])
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path
