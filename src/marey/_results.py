"""Where verbs over many videos put what they find, and how they go through them."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import asdict
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

from marey import __version__
from marey.console import Bars, Failures, complain, emit_text, warn
from marey.errors import MareyError, OutputError
from marey.files import stamps

if TYPE_CHECKING:
    from rich.console import RenderableType

    from marey.outputs.feature_folder import FeatureFolder
    from marey.outputs.journal import Journal
    from marey.outputs.part import Part
    from marey.runtime import Ready
    from marey.tasks.many import Done
    from marey.types import ModelCard, Report, VideoFeatures

F = TypeVar("F", "Report", "VideoFeatures")
Found = TypeVar("Found", contravariant=True)


class Kept(Protocol[Found]):
    """Where what was found is kept, video by video."""

    def by(
        self, model: str, card: ModelCard, **how: object
    ) -> AbstractContextManager[Sequence[Path]]:
        """The videos still to do by this network in this way; all are written when that is done."""
        ...

    @property
    def journal(self) -> Callable[[str], Journal | None] | None:
        """Where the answers on a video are kept while it is not done; None: nowhere."""
        ...

    def add(self, video: str, found: Found, /) -> None: ...


class Results:
    """Where reports go: to stdout, drawn by `draw`, as they come, or into one `output` at the end.

    What is done towards an output is kept in a file beside it: a run that was stopped goes on from
    there. `embed` is that of `marey.write`. Raises OutputError for an output that cannot be, before
    any work.
    """

    def __init__(
        self,
        output: Path | None,
        videos: Sequence[Path],
        draw: Callable[[Report], RenderableType],
        *,
        embed: bool = False,
    ) -> None:
        from marey.outputs import check_output, check_sources

        self._output, self._videos, self._draw, self._embed = output, videos, draw, embed
        self._part: Part | None = None
        if output is not None:
            check_output(output, len(videos))
            check_sources(output, videos)

    @contextmanager
    def by(self, model: str, card: ModelCard, **how: object) -> Iterator[Sequence[Path]]:
        """As `Kept` has it."""
        if self._output is None:
            yield self._videos
            return
        from marey.outputs import write
        from marey.outputs.part import Part

        # What else is named in `how` counts, too.
        names = (model, how.get("actions"), how.get("detector"))
        files = [stamp for name in names if name for stamp in stamps(str(name))]
        said = {"marey": __version__, "model": asdict(card), "files": files, **how}
        with Part(self._output, said) as self._part:
            warn(self._part.path, self._part.warnings)
            yield [video for video in self._videos if video not in self._part]
            done = [video for video in self._videos if video in self._part]
            if done:
                warn(self._output, write(self._part.reports(done), self._output, embed=self._embed))
            self._part.remove()

    @property
    def journal(self) -> Callable[[str], Journal | None] | None:
        """As `Kept` has it."""
        return None if self._part is None else self._part.journal

    def add(self, video: str, report: Report) -> None:
        from marey.outputs.text import pieces

        if self._part is None:
            emit_text(chain(pieces(report), "\n"), partial(self._draw, report))
        else:
            self._part.add(video, report)


class FeatureResults:
    """Where features go: a folder with a `.npz` a video, or one `.npz` or `.parquet` of all.

    What such a file is made of is kept in a folder beside it until it is whole, and so is what the
    network said of a video that is not done: a run that was stopped goes on. Raises OutputError for
    an output that cannot be, before any work.
    """

    def __init__(self, output: Path, videos: Sequence[Path]) -> None:
        from marey.outputs import check_output
        from marey.outputs.feature_files import JOINS

        self._output, self._videos = output, videos
        self._join = None if output.is_dir() else JOINS.get(output.suffix)
        self._folder: FeatureFolder | None = None
        if self._join is not None:
            check_output(output, len(videos), suffixes=tuple(JOINS))
        elif output.suffix and not output.is_dir():
            raise OutputError(
                f"unknown output format {output.suffix!r}",
                where=output,
                do=f"Choose one of {' '.join(JOINS)}, or a folder; one with a dot must be there.",
            )

    @contextmanager
    def by(self, model: str, card: ModelCard, **how: object) -> Iterator[Sequence[Path]]:
        """As `Kept` has it."""
        from marey.outputs.feature_folder import FeatureFolder

        place = self._output
        if self._join is not None:
            place = place.with_name(f"{place.name}.part")
        self._folder = folder = FeatureFolder(place, card, how)
        todo = [video for video in self._videos if folder.find(video) is None]
        earlier = [f"{folder.hits} videos are there from an earlier run"] if folder.hits else []
        begun = [f"{folder.begun} videos were begun in an earlier run"] if folder.begun else []
        warn(place, [*earlier, *begun, *folder.warnings()])
        try:
            yield todo
            folder.forget()
            parts = folder.paths(self._videos)
            if self._join is not None and parts:
                self._join(parts, self._output)
                folder.remove()
        finally:
            if self._join is not None:
                with suppress(OSError):  # it holds something, or is gone
                    place.rmdir()

    @property
    def journal(self) -> Callable[[str], Journal | None] | None:
        """As `Kept` has it."""
        return None if self._folder is None else self._folder.journal

    def add(self, video: str, found: VideoFeatures) -> None:
        assert self._folder is not None
        self._folder.write(video, found)


def find_all(
    results: Kept[F],
    failures: Failures,
    run: partial[Generator[Done[F]]],
    model: str,
    net: Ready,
    *,
    threads: int | None,
    verbose: bool,
    **about: object,
) -> None:
    """Do what `run` does to many videos by one network, and tell what went wrong.

    `about` is what else the results depend on, besides what `run` is given.
    """
    warn(model, net.warnings)  # also in what is found; told here once
    if verbose:
        complain(f"{net.card().runtime}, {net.card().precision}")
    how = {**run.keywords, **about}
    with results.by(model, net.card(), **how) as todo, Bars(len(todo)) as bars:
        run = partial(run, threads=threads or 0, progress=bars.begin, journal=results.journal)
        for done in run(todo, net):
            bars.end(done.video)
            if verbose:
                complain(f"{done.video}: {done.spent}")
            if isinstance(done.found, MareyError):
                failures.tell(done.found)
            else:
                warn(done.video, done.found.warnings[len(net.warnings) :])
                results.add(done.video, done.found)
