"""Videos with key frames in which people have marked who does what, as networks learn from them."""

from __future__ import annotations

import hashlib
import json
import os
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from marey.boxes import inside
from marey.data.annotations import left_out
from marey.data.ava import ActionBoxes, AvaFiles, KeyFrame, Known, evaluated, write_boxes
from marey.data.event_checks import VideoFinder
from marey.data.formats import Sample
from marey.data.manifest import Manifest
from marey.data.source import Source
from marey.errors import DataError
from marey.files import Stamp, make_folder, whole_file
from marey.models._labels import ava
from marey.types import Image, Input, Video, Window
from marey.video.read import nothing_decoded, open_video
from marey.video.windows import around

_AVA = dict(enumerate(ava(), 1))


@dataclass(frozen=True, slots=True, eq=False)
class KeyClip:
    """A key frame and who is in it: `boxes` B 4, as shares of the picture; `targets` B K."""

    frame: KeyFrame
    source: Source
    boxes: NDArray[np.float64]
    targets: NDArray[np.bool_]

    def look(self, prepare: Input, cache: Path | None = None) -> tuple[Image, NDArray[np.float32]]:
        """The clip around it, T H W 3, the whole picture scaled to `prepare.resize`, and the boxes.

        Those are x1 y1 x2 y2 in its pixels, cut off at its edges. Where the clip reaches beyond the
        video, the first or last frame repeats. With `cache`, a folder, frames are decoded once and
        kept there. VideoError if nothing can be decoded there.
        """
        frames = self._frames(prepare) if cache is None else self._kept(prepare, cache)
        height, width = frames.shape[1:3]
        scale = np.tile((width, height), 2)
        return frames, (inside(self.boxes, 1, 1) * scale).astype(np.float32)

    def _frames(self, prepare: Input) -> Image:
        plan = around(self.frame.time, prepare, self.source.fps)
        return self.source.clips([plan], prepare)[0]

    def _kept(self, prepare: Input, cache: Path) -> Image:
        """The frames in a file named by all that they depend on."""
        _, picks = around(self.frame.time, prepare, self.source.fps)
        key = [*Stamp.of(self.source.video), *picks.times, prepare.resize, prepare.interpolation]
        name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:32]
        kept = make_folder(cache) / f"{name}.npy"
        if not kept.is_file():
            with whole_file(kept) as path:
                np.save(path, self._frames(prepare))
        found: Image = np.load(kept)
        return found

    def picture(self, prepare: Input) -> Image:
        """The frame in the middle of that clip, H W 3, as large as it is."""
        _, picks = around(self.frame.time, prepare, self.source.fps)
        with open_video(self.source.video, threads=1) as reader:
            for frame in reader.frames(times=picks.times[prepare.frames // 2 :][:1]):
                return frame.image
        raise nothing_decoded(self.source.video)

    def beyond(self, prepare: Input) -> bool:
        """Whether its clip asks for moments before the video or behind it."""
        _, picks = around(self.frame.time, prepare, self.source.fps)
        first, last = min(picks.times), max(picks.times)
        span = self.source.span
        return first < span.start or last >= span.end


@dataclass(frozen=True, slots=True, eq=False)
class MarkedActions:
    """Boxes that people have marked in key frames of videos, which are known by name.

    `actions` are the names, by number, of those that count; a box that does none of them is still
    somebody. `named`: the lines have actions by name. `warnings` tell what was left out.
    """

    boxes: ActionBoxes
    videos: Mapping[str, Video]
    actions: Mapping[int, str]
    path: Path
    named: bool = False
    warnings: tuple[str, ...] = ()

    @classmethod
    def read(
        cls,
        path: str | os.PathLike[str],
        *,
        folder: str | os.PathLike[str] | None = None,
        classes: str | os.PathLike[str] | Mapping[int, str] | None = None,
        skip: bool = False,
    ) -> MarkedActions:
        """Read lines as AVA has them, of videos in `folder` (None: beside the file).

        A video is found by its path there, or by its name without suffix. `classes` is a `.pbtxt`
        of the actions, or their names by number; without it they are those that the lines name, or
        where lines have numbers, AVA's 80. With `skip`, videos that are not there or cannot be read
        are left out and told.

        Raises one DataError with every line that cannot be used: cells that mean nothing, boxes
        without area or outside of the picture, videos that are not there (each once), key frames
        outside of them.
        """
        path, files = Path(path), AvaFiles()
        named = files.named(path)
        if isinstance(classes, Mapping):
            actions = dict(classes)
        elif classes is not None:
            actions = files.actions(Path(classes))
        else:
            actions = named or _AVA
        known = Known(VideoFinder(path.parent if folder is None else Path(folder)), skip=skip)
        boxes = files.marked(path, actions, known)
        files.check()
        told = left_out(known.absent, len(known.absent) + len(known.videos))
        if other := int((~np.isin(boxes.actions, list(actions))).sum()):
            told = (*told, f"lines of other actions, which count as none: {other}")
        if other == len(boxes):
            raise DataError(
                "no line has one of the actions", where=path, do="Give their list by --classes."
            )
        return cls(boxes, known.videos, actions, path, bool(named), told)

    @property
    def judged(self) -> Mapping[int, str]:
        """The actions by whose precision a network is measured: of AVA's 80 those 60."""
        return evaluated() if self.actions == _AVA else self.actions

    @property
    def labels(self) -> tuple[str, ...]:
        """The names of the actions in order of their numbers."""
        return tuple(self.actions[number] for number in sorted(self.actions))

    def numbers(self, labels: Sequence[str]) -> list[int]:
        """The number of each label."""
        number = {name: number for number, name in self.actions.items()}
        return [number[label] for label in labels]

    def clips(self, labels: Sequence[str]) -> tuple[KeyClip, ...]:
        """A clip a key frame, in order of videos and times; columns of its targets are `labels`."""
        column = {number: k for k, number in enumerate(self.numbers(labels))}
        found: dict[KeyFrame, dict[tuple[float, ...], set[int]]] = defaultdict(dict)
        for frame, box, action, person in self.boxes.rows():
            found[frame].setdefault((*box, person), set()).add(action)
        sources = {name: _source(video) for name, video in self.videos.items()}
        return tuple(
            KeyClip(
                frame,
                sources[frame.video],
                np.array([who[:4] for who in found[frame]], np.float64),
                np.array([[n in does for n in column] for does in found[frame].values()], bool),
            )
            for frame in sorted(found)
        )

    def divided(self, folds: int, fold: int, seed: int) -> tuple[MarkedActions, MarkedActions]:
        """Those to train on, and those of fold number `fold`; videos stay whole.

        As `Manifest.stratified`, which spreads the actions evenly.
        """
        samples = tuple(
            Sample(Path(self.videos[frame.video].path), str(action))
            for frame, action in zip(self.boxes.frames, self.boxes.actions.tolist(), strict=True)
        )
        manifest = Manifest(samples, tuple(sorted({s.label for s in samples})), self.path.parent)
        sides = [sample.split for sample in manifest.stratified(folds, fold, seed).samples]
        train, val = (self._only(np.array([s == side for s in sides])) for side in ("train", "val"))
        return train, val

    def _only(self, which: NDArray[np.bool_]) -> MarkedActions:
        boxes = self.boxes.only(which)
        names = {frame.video for frame in boxes.frames}
        videos = {name: video for name, video in self.videos.items() if name in names}
        return replace(self, boxes=boxes, videos=videos)

    def data_hash(self) -> str:
        """A SHA-256 over all lines and the videos' sizes; the order of lines does not count."""
        size = {name: Path(video.path).stat().st_size for name, video in self.videos.items()}
        rows = sorted(
            json.dumps([*frame, size[frame.video], box, action, person])
            for frame, box, action, person in self.boxes.rows()
        )
        told = json.dumps(sorted(self.actions.items()))
        return hashlib.sha256("\n".join([told, *rows]).encode()).hexdigest()

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the lines that `read` reads."""
        write_boxes(self.boxes, path, self.actions if self.named else {}, found=False)


def scored(
    clips: Iterable[KeyClip], scores: Iterable[NDArray[np.floating]], numbers: Sequence[int]
) -> ActionBoxes:
    """Each box of each clip with the score, in [0, 1], of each action; `scores` are B K a clip."""
    frames: list[KeyFrame] = []
    boxes: list[NDArray[np.float64]] = []
    found: list[NDArray[np.floating]] = []
    for clip, p in zip(clips, scores, strict=True):
        frames += [clip.frame] * p.size
        boxes.append(np.repeat(clip.boxes, len(numbers), 0))
        found.append(p.reshape(-1))
    rows = len(frames)
    return ActionBoxes(
        tuple(frames),
        np.concatenate([np.zeros((0, 4)), *boxes]),
        np.tile(np.array(numbers, np.int64), rows // len(numbers)),
        np.concatenate([np.zeros(0), *found]),
        np.full(rows, -1, np.int64),
    )


def told_of_ends(clips: Sequence[KeyClip], prepare: Input) -> list[str]:
    """How many clips reach beyond their video, in words."""
    count = sum(clip.beyond(prepare) for clip in clips)
    what = "clips that reach beyond their video and repeat its first or last frame"
    return [f"{what}: {count} of {len(clips)}"] if count else []


def _source(video: Video) -> Source:
    end = np.inf if video.end is None else video.end
    return Source(Path(video.path), 0, Window(video.start, end), video.fps)
