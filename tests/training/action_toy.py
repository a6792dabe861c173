"""A toy that training solves in seconds: which rectangles blink, and a net that sees it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

import marey.models._registry as registry
from marey.models._roi_net import RoiNet
from marey.nn.roi import BoxMax
from marey.training.recipe import Recipe
from marey.types import Input
from marey.video.write import VideoWriter

ACTIONS = ("blink", "rest")  # dark or bright at any moment, both of them: only time tells
HEIGHT, WIDTH, FPS, FRAMES = 48, 64, 12, 36
KEYS = (1.0, 1.5, 2.0)  # seconds
BOXES = ((4, 6, 20, 24), (26, 10, 40, 40), (46, 4, 60, 22))  # pixels

RECIPE = Recipe(
    epochs=4,
    batch=4,
    lr=2e-2,
    ema=0.9,
    folds=4,
    crop=(0.6, 1.0),
    label_smoothing=0.0,
    pretrained=False,
    freeze_norms=False,
    workers=0,
)


def does(video: int, box: int) -> str:
    """What that rectangle does."""
    return ACTIONS[(video >> box) % 2]


def make_video(path: Path, number: int) -> Path:
    rng = np.random.default_rng(number)
    phases = rng.integers(0, 2, len(BOXES))
    with VideoWriter(path, WIDTH, HEIGHT, Fraction(FPS)) as writer:
        for k in range(FRAMES):
            image = rng.integers(90, 120, (HEIGHT, WIDTH, 3), dtype=np.uint8)
            for box, (x1, y1, x2, y2) in enumerate(BOXES):
                blinks = does(number, box) == "blink"
                image[y1:y2, x1:x2] = 250 if (phases[box] + k * blinks) % 2 else 10
            writer.write(image, Fraction(k, FPS))
    return path


def lines(video: int) -> list[str]:
    """What is marked in it, three boxes a key frame."""
    return [
        f"{video},{time},{x1 / WIDTH},{y1 / HEIGHT},{x2 / WIDTH},{y2 / HEIGHT},{does(video, k)},{k}"
        for time in KEYS
        for k, (x1, y1, x2, y2) in enumerate(BOXES)
    ]


def make_marked(root: Path, videos: int = 8) -> Path:
    """A file of lines, beside its videos."""
    root.mkdir(parents=True, exist_ok=True)
    for number in range(videos):
        make_video(root / f"{number}.mp4", number)
    table = root / "marked.csv"
    table.write_text("\n".join(line for number in range(videos) for line in lines(number)))
    return table


class TinyBoxes(RoiNet):
    """Two convolutions over space and time, and boxes; with dropout, for chance in the net."""

    def __init__(self, classes: int) -> None:
        layers = [nn.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1), nn.BatchNorm3d(8), nn.ReLU()]
        body = nn.Sequential()
        body.add_module("stem", nn.Sequential(*layers))
        body.add_module(
            "mix", nn.Sequential(nn.Conv3d(8, 16, 3, stride=(1, 2, 2), padding=1), nn.ReLU())
        )
        super().__init__(body, BoxMax(16, classes, dropout=0.1, stride=4))
        self.calls = {"train": 0, "val": 0}
        self.fail_at: tuple[str, int] | None = None

    def forward(self, clip: Tensor, boxes: Any = None) -> Tensor:
        """As any net for boxes; where a test says so, the power fails."""
        mode = "train" if self.training else "val"
        self.calls[mode] += 1
        if (mode, self.calls[mode]) == self.fail_at:
            raise KeyboardInterrupt
        return super().forward(clip, boxes)


PREPARE = Input(
    frames=6, size=(HEIGHT, HEIGHT), resize=HEIGHT, fps=FPS, mean=(0.5,) * 3, std=(0.5,) * 3
)

FAIL_AT: list[tuple[str, int]] = []
"""Where the next networks that are made fail."""


def tiny_boxes(*, classes: int) -> RoiNet:
    net = TinyBoxes(classes)
    net.fail_at = FAIL_AT[0] if FAIL_AT else None
    return net


def register() -> None:
    """List `tiny_boxes` among the models, as a family file would."""
    registry._entries()
    registry._ENTRIES.pop("tiny_boxes", None)
    registry.register(PREPARE, classes=2, paper="", reference="", boxes=True)(tiny_boxes)
