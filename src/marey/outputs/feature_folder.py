"""A folder of features, a file a video: made once, and found again while nothing has changed."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path

from marey.errors import DataError
from marey.files import Stamp, make_folder
from marey.outputs.feature_files import read_features, write_features
from marey.types import VideoFeatures


class FeatureFolder:
    """Files `STEM-HASH.npz`, with a hash of the video's path and of what its features depend on.

    That is the hash of the `network`, and `how` they were asked for: `window`, `stride`, `decode`.
    A file holds the size and time of its video: if these have changed, or the file is damaged, it
    is as if there were none, and `warnings` count it. `hits` counts the others.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        network: str | None,
        how: Mapping[str, object],
    ) -> None:
        self.folder = make_folder(folder)
        self._about = [network, how]
        self._seen: dict[Path, Stamp] = {}
        self._good: set[Path] = set()
        self._met: Counter[str] = Counter()
        self.hits = 0

    def path(self, video: str | os.PathLike[str]) -> Path:
        """Where the features of a video are, or will be."""
        video = Path(video).absolute()
        about = json.dumps([str(video), *self._about], sort_keys=True)
        name = f"{video.stem[:40]}-{hashlib.sha256(about.encode()).hexdigest()[:12]}.npz"
        return self.folder / name

    def find(self, video: str | os.PathLike[str]) -> VideoFeatures | None:
        """The features of a video as it is now, if they are there and whole."""
        path = self.path(video)
        seen = self._seen[path] = Stamp.of(video)
        if not path.exists():
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

    def paths(self, videos: Iterable[str | os.PathLike[str]]) -> list[Path]:
        """The files of those whose features were found or written, in this order."""
        return [path for path in map(self.path, videos) if path in self._good]

    def remove(self) -> None:
        """Nothing of it is needed any more."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def warnings(self) -> tuple[str, ...]:
        """What was there in vain, counted."""
        return tuple(f"{count} {what}" for what, count in self._met.items())
