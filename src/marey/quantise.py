"""int8: a written file, quantised on real clips, and judged on others of the same footage.

Post-training quantisation (NNCF): what values each layer meets is learnt from clips, prepared as
`marey classify` does it; no weight is trained. What is lost is measured, and told by the file.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.data.formats import Sample, read_samples
from marey.data.source import Source, open_source
from marey.data.survey import Lost, Survey
from marey.errors import DataError, ModelError, VideoError
from marey.runtime._nncf import quantised
from marey.runtime._openvino import core, save
from marey.runtime.file import FileRuntime
from marey.tasks.classify import sigmoid, softmax
from marey.types import Image, Input
from marey.video.clips import clips
from marey.video.prepare import centre_crop
from marey.video.read import find_videos, open_video
from marey.video.windows import pick, views

CLIPS = 64
"""How many clips are looked at, unless asked otherwise; three of four calibrate."""

KEPT = 0.9
"""How much of the network's certainty int8 must keep, by the labels that it finds best.

Not how often they are the same: where two labels are nearly tied, either is as good.
"""

_HELD_OUT = 4  # every fourth clip judges, and calibrates nothing
_FEW = 8  # of fewer clips, all calibrate and all judge


@dataclass(frozen=True, slots=True)
class Quantised:
    """How an int8 file compares with the float32 file it was made from.

    `footage` is the name of the folder or table, and `hash` that of all its clips' frames.
    `calibrated` clips set the ranges, `compared` clips judged: `difference` is the largest of any
    logit relative to the largest logit, `agreement` the share of clips whose best label stays.
    `kept` is what int8's best labels have of the float32 probability of the best ones, both above
    that of a label by chance: 1 is all, 0 is chance.
    """

    footage: str
    hash: str
    calibrated: int
    compared: int
    difference: float
    agreement: float
    kept: float


def quantise(
    full: Path, path: Path, footage: Path, most: int = CLIPS
) -> tuple[Quantised, tuple[str, ...]]:
    """Write the float32 file `full` in int8 to `path`: how they compare, and what to tell.

    `footage` is a folder of videos, however deep, or a CSV table of labelled spans (of its split
    `train`, if it names that); `most` clips are spread evenly over its videos. Raises DataError
    where no video can be read, and ModelError where int8 does not answer as the network does.
    """
    before = FileRuntime(full, "f32")
    with TemporaryDirectory(prefix="marey-", ignore_cleanup_errors=True) as folder:
        kept, small = Path(folder) / "clips.npy", Path(folder) / full.name
        seen = _gather(footage, before.input, most, kept)
        quantised(full, kept, seen.calibrate, small)
        found, slower = _compared(before, FileRuntime(small), seen)
        _refuse_other(found, footage)
        _write(small, path, {**before.about, "int8": asdict(found)})
    same = seen.calibrate == seen.judge
    few = ("int8 was judged on the clips that calibrated it: give more",) if same else ()
    return found, (*seen.warnings, *few, *slower)


@dataclass(frozen=True, slots=True)
class _Footage:
    """Clips as a network sees them, uint8 n T H W 3, mapped from a file."""

    name: str
    frames: NDArray[np.uint8]
    hash: str
    warnings: tuple[str, ...]

    @property
    def judge(self) -> list[int]:
        """The clips that say how good int8 is."""
        every = list(range(len(self.frames)))
        return every if len(every) < _FEW else every[_HELD_OUT - 1 :: _HELD_OUT]

    @property
    def calibrate(self) -> list[int]:
        every, judge = range(len(self.frames)), set(self.judge)
        return [k for k in every if len(every) < _FEW or k not in judge]


def _gather(path: Path, prepare: Input, most: int, file: Path) -> _Footage:
    """Clips of the footage at `path`, into `file`; memory holds one at a time."""
    if most < 1:
        raise DataError(f"{most} clips cannot calibrate", do="Give at least 1; 64 are usual.")
    samples = _samples(path)
    shape = (most, prepare.frames, *prepare.size, 3)
    frames = np.lib.format.open_memmap(file, "w+", np.uint8, shape)
    digest, count = hashlib.sha256(), 0
    read: list[Source] = []
    lost: list[Lost] = []
    for number, sample in enumerate(samples):
        # These shares differ by one at most, and add up to `most`.
        share = (number + 1) * most // len(samples) - number * most // len(samples)
        try:
            for clip in _clips(sample, prepare, share, read) if share else ():
                frames[count] = clip
                digest.update(frames[count].tobytes())
                count += 1
        except VideoError as error:
            lost.append(Lost(sample.video, str(error)))
    if not count:
        first = lost[0].reason if lost else "no window holds a frame"
        raise DataError(
            f"no clip can be read; the first: {first}",
            where=path,
            do="Run `marey check` on some of the videos.",
        )
    frames.flush()
    told = Survey(tuple(read), tuple(lost)).warnings()
    return _Footage(path.absolute().name, frames[:count], digest.hexdigest(), told)


def _samples(path: Path) -> list[Sample]:
    if path.is_dir():
        return [Sample(video, "") for video in find_videos(path)]
    samples = read_samples(path)
    return [sample for sample in samples if sample.split == "train"] or samples


def _clips(sample: Sample, prepare: Input, most: int, read: list[Source]) -> Iterator[Image]:
    """Up to `most` clips of a sample, from start to end; `read` is told what was odd."""
    source = open_source(sample, 0, prepare)
    if not np.isfinite(source.duration):
        raise VideoError("does not say how long it is", where=sample.video)
    spans = views(source.duration, prepare, source.fps, most, start=source.span.start)
    plan = [(span, pick(span, prepare, source.fps)) for span in spans]
    with open_video(sample.video) as reader:
        for clip in clips(reader, plan, size=prepare.resize, interpolation=prepare.interpolation):
            yield centre_crop(clip.frames, prepare.size)
        read.append(replace(source, warnings=tuple(reader.warnings())))


def _compared(
    before: FileRuntime, after: FileRuntime, seen: _Footage
) -> tuple[Quantised, tuple[str, ...]]:
    """How far `after` is from `before`, and a warning where it is no faster."""
    rows = []
    for k in seen.judge:
        given = seen.frames[k : k + 1]
        began = perf_counter()
        expected = before(given)
        middle = perf_counter()
        found = after(given)
        rows.append((expected[0], found[0], middle - began, perf_counter() - middle))
    expected, found, *times = map(np.array, zip(*rows, strict=True))
    p = (sigmoid if before.multilabel else softmax)(expected)
    best = found.argmax(1)
    certain, chosen = p.max(1) - p.mean(1), p[np.arange(len(p)), best] - p.mean(1)
    compared = Quantised(
        footage=seen.name,
        hash=seen.hash,
        calibrated=len(seen.calibrate),
        compared=len(seen.judge),
        difference=float(np.abs(found - expected).max() / np.abs(expected).max()),
        agreement=float(np.mean(best == expected.argmax(1))),
        kept=float(chosen.sum() / certain.sum()),
    )
    took, takes = (1000 * float(np.median(time)) for time in times)
    if takes < took:
        return compared, ()
    return compared, (f"int8 is no faster here: {takes:.0f} ms a clip, float32 takes {took:.0f}",)


def _refuse_other(found: Quantised, footage: Path) -> None:
    # Written so that a NaN fails.
    if found.kept >= KEPT and np.isfinite(found.difference):
        return
    raise ModelError(
        f"in int8 its best labels keep {found.kept:.0%} of their certainty ({KEPT:.0%} must be), "
        f"and {found.agreement:.0%} of them stay",
        where=footage,
        do="Calibrate on more clips, of what it knows and will see; or export in float32.",
    )


def _write(model: Path, path: Path, about: Mapping[str, Any]) -> None:
    graph = core().read_model(model)
    graph.set_rt_info(json.dumps(about), ["marey"])
    save(graph, path)
