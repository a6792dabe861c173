"""The whole way from a video to its labels, in turns with decoding alone, which no way can beat."""

from __future__ import annotations

import os
from collections.abc import Mapping

from marey.benchmark.memory import Watch
from marey.benchmark.model import first_clip
from marey.benchmark.result import Memory, Way
from marey.benchmark.start import first_label
from marey.benchmark.turns import Run, in_turns
from marey.runtime import Runtime
from marey.tasks._spent import Spent
from marey.tasks.classify import classify
from marey.types import Report
from marey.video.container import open_container
from marey.video.limits import Limits

_CLIPS = 8  # that are timed together: one alone may be as short as a clock's tick


def decode_only(video: str | os.PathLike[str], threads: int = 0) -> int:
    """Decode a video by PyAV alone, and give every frame back unseen; their number."""
    with open_container(os.fspath(video), Limits()) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = threads
        return sum(1 for _ in container.decode(stream))


class _Whole:
    """The whole way, with what it found, took and held the first time."""

    def __init__(self, video: str | os.PathLike[str], runtime: Runtime, threads: int) -> None:
        self._video, self._runtime, self._threads = video, runtime, threads
        self.report: Report
        self.spent: Spent | None = None
        self.memory: Memory | None = None

    def __call__(self) -> None:
        spent = Spent()
        with Watch() as watch:
            self.report = classify(self._video, self._runtime, threads=self._threads, spent=spent)
        if self.spent is None:
            self.spent, self.memory = spent, watch.highest()


def measure(
    video: str | os.PathLike[str],
    runtime: Runtime,
    *,
    threads: int = 0,
    repeats: int,
    beside: Mapping[str, Run] | None = None,
) -> tuple[Way, dict[str, float]]:
    """The whole way and decoding alone; and the seconds of what runs in turns `beside` them.

    `threads` decode, in both (0: as many as FFmpeg finds right). VideoError.
    """
    first_label(video, runtime, threads)  # the first clip of all takes longer
    clip = first_clip(video, runtime.input)
    whole = _Whole(video, runtime, threads)
    frames = decode_only(video, threads)
    runs: dict[str, Run] = {
        "decode": lambda: decode_only(video, threads),
        "whole": whole,
        "clips": lambda: [runtime(clip) for _ in range(_CLIPS)],
    }
    seconds = in_turns(runs | dict(beside or {}), repeats, warm=False)
    assert whole.spent is not None
    found, card = whole.report.video, whole.report.model
    way = Way(
        video=found.path,
        width=found.width,
        height=found.height,
        codec=found.codec,
        frames=frames,
        clips=whole.spent.clips,
        runtime=card.runtime,
        precision=card.precision,
        decode=seconds["decode"],
        whole=seconds["whole"],
        clip=seconds["clips"] / _CLIPS,
        memory=whole.memory,
        warnings=whole.report.warnings,
    )
    return way, {name: seconds[name] for name in beside or ()}
