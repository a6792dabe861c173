"""Features that a temporal head learns in seconds: noise, and a pattern for each label."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from marey.data.annotations import AnnotatedVideo, Annotations
from marey.models._temporal_head import Features
from marey.training.temporal_recipe import TemporalRecipe
from marey.types import Event, Window

LABELS = ("jump", "run", "sit")
CHANNELS = 16
STRIDE = 0.4
MADE_BY = {"model": "noise"}
NETWORK = "0123"

RECIPE = TemporalRecipe(width=32, levels=4, epochs=3, batch=4, warmup=1, ema=0.9)


def make_toy(videos: int, seed: int = 0) -> tuple[list[Features], Annotations]:
    """`videos` of 40 to 80 s; every fourth is for validation. Events begin and end anywhere."""
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(7).normal(size=(len(LABELS), CHANNELS))
    features, annotated = [], []
    for number in range(videos):
        name, cells = f"{number}.mp4", int(rng.integers(100, 200))
        start = float(rng.uniform(-1, 1))
        span = Window(start, start + cells * STRIDE)
        events = _events(span, rng)
        edges = start + STRIDE * np.arange(cells + 1)
        values = rng.normal(size=(CHANNELS, cells))
        for event in events:
            inside = np.diff(edges.clip(event.start, event.end)) / STRIDE
            values += patterns[LABELS.index(event.label)][:, None] * inside
        features.append(Features(name, values.astype(np.float32), start, STRIDE, NETWORK))
        split = "val" if number % 4 == 3 else "train"
        annotated.append(AnnotatedVideo(name, Path("/toy") / name, span, events, split))
    return features, Annotations(tuple(annotated), LABELS, Path("/toy"))


def _events(span: Window, rng: np.random.Generator) -> tuple[Event, ...]:
    """Events of 1 to 12 s with at least 1 s between."""
    events, time = [], span.start + float(rng.uniform(1, 5))
    while True:
        end = time + float(np.exp(rng.uniform(0, np.log(12))))
        if end > span.end - 1:
            return tuple(events)
        events.append(Event(str(rng.choice(LABELS)), time, end, 1.0))
        time = end + float(rng.uniform(1, 6))
