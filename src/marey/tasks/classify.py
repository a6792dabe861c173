"""A video in, labels on a time line out."""

from __future__ import annotations

import os
from collections.abc import Generator
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.outputs.journal import Journal
from marey.runtime import Runtime, compile
from marey.tasks._seen import Progress, Seen, labels_of
from marey.tasks._spent import Spent
from marey.tasks._windows import by_window
from marey.types import Report, Scores
from marey.video.read import Decode, Limits, Reader, nothing_decoded, open_video

DEFAULT_MODEL = "efficientnet_lite0.in1k"


def classify(
    video: str | os.PathLike[str],
    model: str | Runtime = DEFAULT_MODEL,
    *,
    window: float | None = None,
    step: float | None = None,
    top: int = 5,
    decode: Decode = "all",
    threads: int = 0,
    limits: Limits | None = None,
    progress: Progress | None = None,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> Report:
    """The best `top` labels of every window of `video`, and of the whole of it.

    `window` and `step` are seconds; a window is by default as long as the network's clip, a step as
    long as the window. `model` is a name, a checkpoint folder, or what `marey.compile` gave.
    `decode`, `threads` and `limits` are those of `open_video`; `spent` is told what it took, and
    `journal` keeps what the network says. Many videos go through `classify_all`. Raises
    `VideoError`, `ModelError` or `WeightsError`.
    """
    runtime = compile(model) if isinstance(model, str) else model
    spent = spent or Spent()
    opened = partial(open_video, video, limits=limits, threads=threads, decode=decode)
    with spent.on("seconds"), opened() as reader:
        spent.frames = reader.counts
        seen = Seen(labels_of(runtime), top)
        scored = score(reader, runtime, window=window, step=step, spent=spent, journal=journal)
        with closing(scored):
            for _ in seen.passing(scored, reader.video, progress):
                pass
        if not seen.count:
            raise nothing_decoded(video)
        return Report(
            video=reader.video,
            model=runtime.card(),
            top=seen.top,
            windows=tuple(seen.windows),
            warnings=(*runtime.warnings, *reader.warnings()),
        )


def score(
    reader: Reader,
    runtime: Runtime,
    *,
    window: float | None = None,
    step: float | None = None,
    batch: int = 1,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> Generator[Scores]:
    """The class probabilities of one window after another, as `by_window` goes about it."""
    p_of = sigmoid if runtime.multilabel else softmax
    how: dict[str, Any] = {"window": window, "step": step, "batch": batch}
    how |= {"spent": spent, "journal": journal}
    return by_window(reader, runtime, p_of, **how)


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """N K logits to N K probabilities."""
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True), np.float32)


def sigmoid(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """N K logits to N K probabilities, each class by itself."""
    return np.asarray(0.5 + 0.5 * np.tanh(0.5 * logits), np.float32)  # which never overflows
