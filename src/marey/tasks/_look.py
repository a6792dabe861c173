"""What a network says of clips; frames that overlapping clips share are looked at once if that
gives the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from marey.runtime import Runtime
from marey.types import Clip
from marey.video.prepare import centre_crop

Look = Callable[[Sequence[Clip]], NDArray[np.float32]]
"""Clips in order of time → their logits, N K."""


def look_by(runtime: Runtime, *, overlapping: bool) -> Look:
    """The cheapest way to the logits that each clip has by itself."""
    return _Frames(runtime) if overlapping and runtime.card().by_frame else _Clips(runtime)


class _Clips:
    """Each clip by itself."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime

    def __call__(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        size = self._runtime.input.size
        return self._runtime(np.stack([centre_crop(clip.frames, size) for clip in clips]))


class _Frames:
    """Each frame once, as a clip of its own; a clip's logits are the mean over its frames'."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self._known: dict[Fraction, NDArray[np.float32]] = {}

    def __call__(self, clips: Sequence[Clip]) -> NDArray[np.float32]:
        return np.stack([self._of(clip) for clip in clips])

    def _of(self, clip: Clip) -> NDArray[np.float32]:
        # No later clip wants a frame from before this one's first.
        self._known = {time: row for time, row in self._known.items() if time >= clip.times[0]}
        new = {time: k for k, time in enumerate(clip.times) if time not in self._known}
        if new:
            frames = centre_crop(clip.frames[list(new.values())], self._runtime.input.size)
            self._known |= zip(new, self._runtime(frames[:, None]), strict=True)
        rows = [self._known[time] for time in clip.times]
        return np.mean(rows, axis=0, dtype=np.float32)  # type: ignore[no-any-return]
