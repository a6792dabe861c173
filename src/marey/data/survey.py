"""Look at every sample before work begins: which can be read, and which cannot and why."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch.utils.data import DataLoader, Dataset

from marey.data.cache import Cache
from marey.data.manifest import Manifest
from marey.data.source import Source, open_source
from marey.errors import DataError, MareyError, VideoError
from marey.types import Input
from marey.video.windows import pick, views

_SHOWN = 5


@dataclass(frozen=True, slots=True)
class Lost:
    """A sample whose video cannot be used, and why."""

    video: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Survey:
    """What can be read of a manifest, in its order, and what cannot."""

    sources: tuple[Source, ...]
    lost: tuple[Lost, ...]

    def warnings(self) -> tuple[str, ...]:
        """What to tell about it, in few words however large the data are."""
        told = lost_words(self.lost, len(self.sources) + len(self.lost))
        damaged = [f"{s.video.name} ({'; '.join(s.warnings)})" for s in self.sources if s.warnings]
        if damaged:
            told = (*told, f"{len(damaged)} videos are used but odd: {_few(damaged)}")
        return told


def survey(
    manifest: Manifest,
    prepare: Input,
    *,
    cache: Cache | None = None,
    workers: int = 0,
    progress: Callable[[], None] = lambda: None,
) -> Survey:
    """Read one clip of every sample, or decode it into the cache; `progress` is called after each.

    Samples that cannot be read are left out and listed; DataError if that is all of them.
    """
    sources, lost = [], []
    for found in DataLoader(_Looks(manifest, prepare, cache), None, num_workers=workers):
        if isinstance(found, Source):
            sources.append(found)
        elif isinstance(found, Lost):
            lost.append(found)
        else:
            raise found
        progress()
    refuse_all_lost(len(sources), lost, manifest)
    return Survey(tuple(sources), tuple(lost))


def refuse_all_lost(readable: int, lost: list[Lost], manifest: Manifest) -> None:
    """DataError if nothing is left."""
    if not readable:
        raise DataError(
            f"none of {len(lost)} videos can be read; the first: {lost[0].reason}",
            where=manifest.root,
            do="Run `marey check` on some of them.",
        )


def lost_words(lost: tuple[Lost, ...], samples: int) -> tuple[str, ...]:
    """One sentence on the samples that are lost; none if there are none."""
    if not lost:
        return ()
    return (f"{len(lost)} of {samples} samples left out: {_few([one.reason for one in lost])}",)


def _few(texts: list[str]) -> str:
    more = f"; and {len(texts) - _SHOWN} more" if len(texts) > _SHOWN else ""
    return "; ".join(texts[:_SHOWN]) + more


class _Looks(Dataset[Source | Lost | MareyError]):
    """A look at each sample, in the data loader's workers; other errors travel back as values."""

    def __init__(self, manifest: Manifest, prepare: Input, cache: Cache | None) -> None:
        self.samples, self.targets = manifest.samples, manifest.targets
        self.prepare, self.cache = prepare, cache

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Source | Lost | MareyError:
        sample, prepare = self.samples[index], self.prepare
        try:
            source = open_source(sample, self.targets[index], prepare, self.cache)
            if source.cached is None:
                (middle,) = views(source.duration, prepare, source.fps, 1, start=source.span.start)
                source.clips([(middle, pick(middle, prepare, source.fps))], prepare)
        except VideoError as error:
            return Lost(sample.video, str(error))
        except MareyError as error:
            return error
        return source
