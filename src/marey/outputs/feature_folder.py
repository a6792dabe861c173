"""A folder of features, a file a video: made once, and found again while nothing has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path

from marey.errors import DataError, VideoError
from marey.files import Stamp, make_folder
from marey.outputs.feature_files import read_features, write_features
from marey.outputs.journal import Journal
from marey.types import ModelCard, VideoFeatures
from marey.video.read import open_video
from marey.video.windows import usual_stride


class FeatureFolder:
    """Files `STEM-HASH.npz`, with a hash of the video's path and of what its features depend on.

    That is the network in `card` and the numbers that it computes in, and `how` they were asked
    for: `window`, `stride` (None: the usual one on that video), `decode`. A file holds the size and
    time of its video: if these have changed, or the file is damaged, it is as if there were none,
    and `warnings` count it. `hits` counts the others, `begun` the videos that a run was stopped in.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        card: ModelCard,
        how: Mapping[str, object],
    ) -> None:
        self.folder = make_folder(folder)
        self._card, self._how = card, how
        self._strides: dict[Path, float | None] = {}
        self._seen: dict[Path, Stamp] = {}
        self._good: set[Path] = set()
        self._journals: set[Path] = set()
        self._met: Counter[str] = Counter()
        self.hits = self.begun = 0

    def path(self, video: str | os.PathLike[str]) -> Path:
        """Where the features of a video are, or will be."""
        video = Path(video).absolute()
        about = [str(video), self._card.network, {**self._how, "stride": self._stride(video)}]
        if self._card.precision != "float32":
            about.append(self._card.precision)
        text = json.dumps(about, sort_keys=True)
        name = f"{video.stem[:40]}-{hashlib.sha256(text.encode()).hexdigest()[:12]}.npz"
        return self.folder / name

    def _stride(self, video: Path) -> object:
        """As asked for, or what that comes to on this video."""
        if self._how["stride"] is not None:
            return self._how["stride"]
        if video not in self._strides:
            self._strides[video] = None
            with suppress(VideoError), open_video(video, threads=1) as reader:
                self._strides[video] = usual_stride(self._card.prepare, reader.video.fps)
        return self._strides[video]

    def find(self, video: str | os.PathLike[str]) -> VideoFeatures | None:
        """The features of a video as it is now, if they are there and whole."""
        path = self.path(video)
        seen = self._seen[path] = Stamp.of(video)
        if not path.exists():
            self.begun += _journal_of(path).exists()
            return None
        try:
            found, source = read_features(path)
        except DataError:
            self._met["files of features were damaged: made anew"] += 1
            return None
        if source != seen:
            self._met["videos have changed since their features were made: made anew"] += 1
            return None
        self.hits += 1
        self._good.add(path)
        return found

    def write(self, video: str | os.PathLike[str], found: VideoFeatures) -> None:
        """Keep the features of a video, as it was when they were looked for."""
        path = self.path(video)
        write_features(found, self._seen.get(path) or Stamp.of(video), path)
        self._good.add(path)
        _journal_of(path).unlink(missing_ok=True)

    def journal(self, video: str | os.PathLike[str]) -> Journal | None:
        """What is known of a video that is not done yet; None for one that is given again."""
        path = _journal_of(self.path(video))
        if path in self._journals:
            return None
        self._journals.add(path)
        return Journal(path, video, {"model": asdict(self._card), **self._how})

    def forget(self) -> None:
        """What was begun will not be gone on with."""
        for path in self._journals:
            path.unlink(missing_ok=True)

    def paths(self, videos: Iterable[str | os.PathLike[str]]) -> list[Path]:
        """The files of those whose features were found or written, in this order."""
        return [path for path in map(self.path, videos) if path in self._good]

    def remove(self) -> None:
        """Nothing of it is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def warnings(self) -> tuple[str, ...]:
        """What was there in vain, counted."""
        return tuple(f"{count} {what}" for what, count in self._met.items())


def _journal_of(path: Path) -> Path:
    return path.with_suffix(".part")
