"""Videos in which something can be seen to happen, their table, and a network that sees it."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import toy as toys

from marey.models._checkpoint import save_checkpoint
from marey.types import Event
from marey.video.write import VideoWriter

LABELS = ("glow", "shine")  # the picture turns red, or green
SECONDS = 16
FPS = 10
WINDOW = toys.PREPARE.seconds or 0

SETTINGS = {"width": 32, "levels": 4, "epochs": 40, "batch": 2, "lr": 3e-3, "warmup": 2, "ema": 0.9}


def make_video(path: Path, events: Sequence[Event], start: float = 0, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    with VideoWriter(path, 32, 24, Fraction(FPS)) as writer:
        for k in range(SECONDS * FPS):
            image = rng.integers(0, 60, (24, 32, 3), dtype=np.uint8)
            for event in events:
                if event.start <= start + (k + 0.5) / FPS < event.end:
                    image[..., LABELS.index(event.label)] = 230
            writer.write(image, Fraction(start) + Fraction(k, FPS))
    return path


def some_events(seed: int, start: float = 0) -> list[Event]:
    """One or two of each label, of 1.5 to 4 s, apart from each other."""
    rng = np.random.default_rng(seed)
    events, time = [], start + float(rng.uniform(0.5, 2))
    while (end := time + float(rng.uniform(1.5, 4))) < start + SECONDS - 0.5:
        label = LABELS[(seed + len(events)) % 2]
        events.append(Event(label, round(time, 1), round(end, 1), 1.0))
        time = end + float(rng.uniform(1, 2.5))
    return events


def make_annotated(folder: Path, videos: int = 8) -> Path:
    """`videos`, every fourth for validation and one in which nothing happens; their table."""
    with (folder / "events.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("video", "start", "end", "label", "split"))
        for number in range(videos):
            name, split = f"{number}.mp4", "val" if number % 4 == 3 else "train"
            events = [] if number == 0 else some_events(number)
            make_video(folder / name, events, seed=number)
            for event in events:
                table.writerow((name, event.start, event.end, event.label, split))
            if not events:
                table.writerow((name, "", "", "", split))
    return folder / "events.csv"


def make_network(folder: Path) -> Path:
    """A checkpoint of two untrained layers: enough to tell colours apart."""
    toys.register()
    save_checkpoint(toys.create(), folder)
    return folder
