"""A toy that training solves in seconds: which way a square moves, and a net able to see it."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

import marey.models._registry as registry
from marey.models._create import create_model
from marey.models._net import Net
from marey.nn.heads import Mean
from marey.training.recipe import Recipe
from marey.types import Image, Input
from marey.video.write import VideoWriter

LABELS = ("approach", "retreat")  # rightwards and leftwards: only the order of frames differs
SIZE = 16

RECIPE = Recipe(
    model="tiny",
    epochs=4,
    batch=4,
    lr=1e-2,
    ema=0.9,
    folds=3,
    flip=False,
    crop=(0.8, 1.0),
    freeze_norms=False,
    workers=0,
)


def make_toy(root: Path, videos: int = 6) -> Path:
    """`videos` of each label, 12 frames at 12 a second, under `root`, a folder a class."""
    rng = np.random.default_rng(0)
    for label in LABELS:
        (root / label).mkdir(parents=True)
        for number in range(videos):
            frames = [_frame(k, int(rng.integers(4, 16)), rng) for k in range(12)]
            if label == "retreat":
                frames.reverse()
            with VideoWriter(root / label / f"{number}.mp4", 32, 24, Fraction(12)) as writer:
                for k, image in enumerate(frames):
                    writer.write(image, Fraction(k, 12))
    return root


def _frame(k: int, y: int, rng: np.random.Generator) -> Image:
    image = rng.integers(0, 60, (24, 32, 3), dtype=np.uint8)
    image[y : y + 8, 2 * k : 2 * k + 8] = 250
    return image


class Tiny(Net):
    """Two convolutions over space and time; with dropout, for chance in the net."""

    def __init__(self, classes: int) -> None:
        layers = [nn.Conv3d(3, 8, 3, stride=(1, 2, 2), padding=1), nn.BatchNorm3d(8), nn.ReLU()]
        body = nn.Sequential()
        body.add_module("stem", nn.Sequential(*layers))
        body.add_module("mix", nn.Sequential(nn.Conv3d(8, 16, 3, padding=1), nn.ReLU()))
        super().__init__(body, Mean(16, classes, dropout=0.2))
        self.calls = {"train": 0, "val": 0}
        self.fail_at: tuple[str, int] | None = None

    def forward(self, clip: Tensor) -> Tensor:
        """As any net; where a test says so, the power fails."""
        mode = "train" if self.training else "val"
        self.calls[mode] += 1
        if (mode, self.calls[mode]) == self.fail_at:
            raise KeyboardInterrupt
        return super().forward(clip)


def tiny(*, classes: int) -> Net:
    return Tiny(classes)


PREPARE = Input(
    frames=8,
    size=(SIZE, SIZE),
    resize=SIZE,
    sampling="segments",
    seconds=1.0,
    mean=(0.5, 0.5, 0.5),
    std=(0.5, 0.5, 0.5),
    views=(2, 3),
)


def register(**how: Any) -> None:
    """List `tiny` among the models, as a family file would; `how` may name weights."""
    registry._entries()
    registry._ENTRIES.pop("tiny", None)
    registry.register(PREPARE, classes=2, paper="", reference="", **how)(tiny)


def create(labels: tuple[str, ...] | int = LABELS, seed: int = 0) -> Any:
    torch.manual_seed(seed)
    return create_model("tiny", classes=labels)
