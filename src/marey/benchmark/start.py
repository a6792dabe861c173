"""The first label of a video, with nothing imported that it does not take."""

from __future__ import annotations

import os

from marey.runtime import Runtime
from marey.tasks.classify import classify


class _EnoughError(Exception):
    """The first label is there, and no more are wanted."""


def first_label(video: str | os.PathLike[str], runtime: Runtime, threads: int = 0) -> None:
    """Classify a video until its first window has its scores."""

    def enough(done: float, total: float | None) -> None:
        raise _EnoughError

    try:
        classify(video, runtime, threads=threads, progress=enough)
    except _EnoughError:
        return
