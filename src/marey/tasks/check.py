"""Can a video be read, what is in it, and what would be lost?"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass
from typing import Any

from marey.types import Video
from marey.video.read import Limits, open_video


@dataclass(frozen=True, slots=True)
class Check:
    """What decoding a whole video found: its frames, when the last one starts, the losses."""

    video: Video
    frames: int
    last: float | None
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"video": self.video.to_dict()}


def check(video: str | os.PathLike[str], *, limits: Limits | None = None) -> Check:
    """Decode all of `video`, scaled to a thumbnail so that it costs no more than decoding.

    Raises `VideoError` where nothing can be read.
    """
    with open_video(video, limits=limits or Limits()) as reader:
        frames, last = 0, None
        for frame in reader.frames(size=(16, 16)):
            frames, last = frames + 1, float(frame.time)
        return Check(reader.video, frames, last, tuple(reader.warnings()))
