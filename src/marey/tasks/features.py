"""A video in, what a network sees in it out: a vector a window, before any label is decided on."""

from __future__ import annotations

import os
from contextlib import closing
from functools import partial
from typing import Any

import numpy as np

from marey.errors import ModelError
from marey.outputs.journal import Journal
from marey.runtime import Runtime, compile
from marey.tasks._seen import Progress
from marey.tasks._spent import Spent
from marey.tasks._windows import Rows, by_window
from marey.tasks.classify import DEFAULT_MODEL
from marey.types import VideoFeatures
from marey.video.read import Decode, Limits, nothing_decoded, open_video
from marey.video.windows import usual_stride


def features(
    video: str | os.PathLike[str],
    model: str | os.PathLike[str] | Runtime = DEFAULT_MODEL,
    *,
    window: float | None = None,
    stride: float | None = None,
    decode: Decode = "all",
    threads: int = 0,
    limits: Limits | None = None,
    progress: Progress | None = None,
    spent: Spent | None = None,
    journal: Journal | None = None,
) -> VideoFeatures:
    """The features of every window of `video`, N D: the vector before the network's last layer.

    That is what its head sees of each frame, averaged over time. `window` and `stride` are seconds:
    a window is by default as long as the network's clip (a longer one averages the clips in it),
    and one follows a quarter of the clip after another. `model` is a name, a checkpoint folder, or
    what `marey.compile(…, features=True)` gave.

    Memory is bounded by the result, D floats a window. `decode`, `threads` and `limits` are those
    of `open_video`; `spent` is told what it took. Many videos go through `features_all`. Raises
    `VideoError`, `ModelError` or `WeightsError`.
    """
    runtime = seer(model)
    spent = spent or Spent()
    opened = partial(open_video, video, limits=limits, threads=threads, decode=decode)
    with spent.on("seconds"), opened() as reader:
        spent.frames = reader.counts
        stride = stride or usual_stride(runtime.input, reader.video.fps)
        spans, values = [], []
        how: dict[str, Any] = {"window": window, "step": stride, "spent": spent, "journal": journal}
        made = by_window(reader, runtime, _as_they_are, **how)
        with closing(made) as rows:
            for row in rows:
                spans.append((row.window.start, row.window.end))
                values.append(row.p)
                if progress:
                    progress(row.window.end - reader.video.start, reader.video.duration)
        if not values:
            raise nothing_decoded(video)
        return VideoFeatures(
            video=reader.video,
            model=runtime.card(),
            stride=stride,
            spans=np.array(spans),
            values=np.stack(values),
            warnings=(*runtime.warnings, *reader.warnings()),
        )


def seer(model: str | os.PathLike[str] | Runtime) -> Runtime:
    """The network that gives features; ModelError for one that was made ready to give scores."""
    if isinstance(model, str | os.PathLike):
        return compile(model, features=True)
    card = model.card()
    if card.network is None:
        raise ModelError(
            "gives scores, not features", where=card.name, do="Compile it with `features=True`."
        )
    return model


def _as_they_are(rows: Rows) -> Rows:
    return rows
