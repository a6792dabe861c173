"""Made streams of what is followed, for networks whose answers are known."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from marey.tasks._followed import Followed
from marey.types import Frame, Input, ModelCard, Video

FPS = Fraction(10)
SIZE = (96, 160)
CLIP = Input(frames=4, size=(16, 16), resize=16, mean=(0, 0, 0), std=(1, 1, 1), every=2, fps=10)
"""A window of 0.8 s."""


@dataclass
class Player:
    """A square of 40 pixels at `x`, of one brightness, from `first` to before `last`, in frames."""

    x: float
    level: int | Mapping[int, int]
    first: int = 0
    last: int = 10**9
    label: str = "person"
    absent: frozenset[int] = frozenset()

    def here(self, k: int) -> bool:
        return self.first <= k < self.last and k not in self.absent

    def brightness(self, k: int) -> int:
        if isinstance(self.level, int):
            return self.level
        return self.level[max(start for start in self.level if start <= k)]

    def box(self, k: int) -> tuple[float, float, float, float]:
        return self.x, 30, self.x + 40, 70


def video(frames: int, start: float = 0.0, *, end: bool = True) -> Video:
    last = start + frames / float(FPS) if end else None
    return Video("made", "mp4", "h264", SIZE[1], SIZE[0], FPS, start, last, frames)


def stream(
    players: Mapping[int, Player], frames: int, start: Fraction = Fraction(0), scale: int = 1
) -> Iterator[Followed]:
    """A grey picture with the players in it; `scale` makes it smaller than the video is."""
    for k in range(frames):
        image = np.full((*SIZE, 3), 128, np.uint8)
        here = {actor: player for actor, player in players.items() if player.here(k)}
        for player in here.values():
            x1, y1, x2, y2 = map(int, player.box(k))
            image[y1 - 6 : y2 + 6, max(x1 - 6, 0) : max(x2 + 6, 0)] = player.brightness(k)
        order = sorted(here, key=lambda actor: (actor * 7 + k) % 5)  # another in every frame
        yield Followed(
            Frame(np.ascontiguousarray(image[::scale, ::scale]), start + k / FPS),
            np.array(order, np.int64),
            tuple(here[actor].label for actor in order),
            np.array([here[actor].box(k) for actor in order], np.float32).reshape(-1, 4),
            np.ones(len(order), np.float32),
            np.ones(len(order), np.bool_),
            tuple(actor for actor in order if not players[actor].here(k + 1)),
        )


@dataclass
class Bright:
    """Says how bright a clip is: two labels that exclude each other or not."""

    input: Input = CLIP
    multilabel: bool = True
    labels: tuple[str, ...] = ("bright", "dark")
    warnings: tuple[str, ...] = ()
    given: list[np.ndarray] = field(default_factory=list)

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        assert clips.dtype == np.uint8
        assert clips.shape[1:] == (self.input.frames, *self.input.size, 3)
        self.given.append(clips)
        return self.says(clips.mean((1, 2, 3, 4)))

    def says(self, levels: np.ndarray) -> np.ndarray:
        light = 20 * (levels / 255 - 0.5)
        return np.stack([light, -light], 1).astype(np.float32)

    def card(self) -> ModelCard:
        return ModelCard("bright", "none", 2, "test", "float32", self.input, self.multilabel)


@dataclass
class BrightBoxes(Bright):
    """The same of boxes in the middle frame of a clip of the whole picture."""

    boxes: list[np.ndarray] = field(default_factory=list)

    def judge(self, frames: np.ndarray, boxes: np.ndarray) -> np.ndarray:
        self.given.append(frames)
        self.boxes.append(boxes)
        middle = frames[:, self.input.frames // 2]
        parts = [
            middle[int(n), round(y1) : round(y2), round(x1) : round(x2)]
            for n, x1, y1, x2, y2 in boxes
        ]
        return self.says(np.array([part.mean() for part in parts]))


def drain(passing: Iterable[Followed]) -> int:
    return sum(1 for _ in passing)
