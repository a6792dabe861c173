"""What the command line shares: inputs that fail one by one, progress, output."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from marey.errors import MareyError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from marey.tasks.classify import Progress


def complain(message: str) -> None:
    """One line on stderr."""
    print(f"marey: {message}", file=sys.stderr)  # noqa: T201


def warn(where: object, warnings: Iterable[str]) -> None:
    """What was lost or taken for granted, on stderr, unless it says by itself where."""
    for warning in warnings:
        named = warning.startswith(f"{where}: ")
        complain(f"warning: {warning}" if named else f"warning: {where}: {warning}")


class Failures:
    """Counts the inputs that failed, says why, and lets the others go on."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def catch(self) -> Iterator[None]:
        """An error that the person can mend is told and counted; a bug of ours escapes."""
        try:
            yield
        except MareyError as error:
            self.count += 1
            complain(f"error: {error}")

    def expand(self, paths: Iterable[Path]) -> list[Path]:
        """The files themselves, and the videos in folders; a folder without any fails."""
        from marey.video.read import find_videos

        files: list[Path] = []
        for path in paths:
            with self.catch():
                files.extend(find_videos(path) if path.is_dir() else [path])
        return files

    @property
    def exit_code(self) -> int:
        return 1 if self.count else 0


class Bars:
    """Progress bars on stderr, one a video and one for all; none where stderr is a pipe."""

    def __init__(self, total: int) -> None:
        from rich.console import Console
        from rich.progress import Progress as Rich

        console = Console(stderr=True)
        self._rich = Rich(console=console, disable=not console.is_terminal, transient=True)
        self._all = self._rich.add_task("videos", total=total, visible=total > 1)

    def __enter__(self) -> Bars:
        self._rich.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._rich.stop()

    @contextmanager
    def video(self, path: Path) -> Iterator[Progress]:
        """A callback that moves the bar of this video: seconds done, seconds in all."""
        task = self._rich.add_task(path.name, total=None)
        try:
            yield lambda done, total: self._rich.update(task, completed=done, total=total)
        finally:
            self._rich.remove_task(task)
            self._rich.advance(self._all)


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Says on a terminal's stderr what takes a while, until it is done."""
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def emit(
    rows: Mapping[str, Any] | Iterable[Mapping[str, Any]], render: Callable[[], RenderableType]
) -> None:
    """Results on stdout: drawn by `render` on a terminal, a line of JSON each in a pipe."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(render())
        return
    for row in [rows] if isinstance(rows, Mapping) else rows:
        print(json.dumps(row, ensure_ascii=False), flush=True)  # noqa: T201


def settings_from(changes: Iterable[str] | None) -> dict[str, str]:
    """`["lr=1e-3", …]` as a dictionary; anything else is wrong usage."""
    pairs = [change.partition("=") for change in changes or ()]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise typer.BadParameter(f"{key!r} is not of the form key=value", param_hint="--set")
    return {key.strip(): value.strip() for key, _, value in pairs}


def views_from(text: str | None) -> tuple[int, int] | None:
    """`"10x3"` as (10, 3), clips in time and crops in space."""
    if text is None:
        return None
    clips, _, crops = text.partition("x")
    if not clips.isdecimal() or int(clips) < 1 or crops not in ("1", "3"):
        raise typer.BadParameter(
            f"{text!r} is not clips x crops, with 1 or 3 crops", param_hint="--views"
        )
    return int(clips), int(crops)
