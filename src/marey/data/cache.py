"""Frames decoded once: a folder with an array of uint8 frames for every sample.

Decoding is most of the work of training on few cores. The cache holds a sample's frames at a fixed
rate and already at the size that the network's input resizes to, so an epoch only maps files into
memory. A clip takes, for each moment it wants, the cached frame of the interval that holds it.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np

from marey.data.formats import Sample
from marey.errors import VideoError
from marey.files import make_folder, whole_file
from marey.types import Input, Window
from marey.video.read import Reader


@dataclass(frozen=True, slots=True)
class Entry:
    """A cached sample: `frames` is an .npy file, T H W 3 uint8, `frame_rate` of them a second."""

    frames: Path
    frame_rate: float
    span: Window
    fps: Fraction | None
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Cache:
    """A folder of decoded frames, `frame_rate` a second."""

    folder: Path
    frame_rate: float

    def find(self, sample: Sample, prepare: Input) -> Entry | None:
        """The entry of a sample, None if it has none or its video has changed since."""
        frames, about = self._files(sample, prepare)
        # The description is written last: where it stands, the frames are whole.
        if not (about.is_file() and frames.is_file()):
            return None
        data = json.loads(about.read_text(encoding="utf-8"))
        fps = None if data["fps"] is None else Fraction(data["fps"])
        return Entry(frames, self.frame_rate, Window(*data["span"]), fps, tuple(data["warnings"]))

    def store(self, sample: Sample, reader: Reader, span: Window, prepare: Input) -> Entry:
        """Decode a sample's frames and keep them; memory holds one frame at a time."""
        make_folder(self.folder)
        frames, about = self._files(sample, prepare)
        count = max(1, round((span.end - span.start) * self.frame_rate))
        middles = (span.start + (k + 0.5) / self.frame_rate for k in range(count))
        # The middle of a last, shorter interval may lie beyond the end.
        times = [min(time, math.nextafter(span.end, span.start)) for time in middles]
        read = reader.frames(times=times, size=prepare.resize, interpolation=prepare.interpolation)
        with whole_file(frames) as path:
            array, given = None, 0
            for frame in read:
                if array is None:
                    shape = (count, *frame.image.shape)
                    array = np.lib.format.open_memmap(path, "w+", np.uint8, shape)
                array[given] = frame.image
                given += 1
            if array is None:
                raise VideoError("holds no frame in the labelled span", where=sample.video)
            array[given:] = array[given - 1]
            array.flush()
        fps, warnings = reader.video.fps, reader.warnings()
        with whole_file(about) as path:
            text = {
                "video": str(sample.video),
                "span": [span.start, span.end],
                "fps": None if fps is None else str(fps),
                "warnings": warnings,
            }
            path.write_text(json.dumps(text) + "\n", encoding="utf-8")
        return Entry(frames, self.frame_rate, span, fps, tuple(warnings))

    def _files(self, sample: Sample, prepare: Input) -> tuple[Path, Path]:
        """Where a sample's files lie: named by all that their contents depend on."""
        status = sample.video.stat()
        key = [
            str(sample.video.resolve()),
            status.st_mtime_ns,
            status.st_size,
            sample.start,
            sample.end,
            prepare.resize,
            prepare.interpolation,
            self.frame_rate,
        ]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
        return self.folder / f"{name}.npy", self.folder / f"{name}.json"
