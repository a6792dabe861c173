"""What the command line shares: inputs that fail one by one, progress, output."""

from __future__ import annotations

import json
import sys
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from signal import SIGINT, SIGTERM, signal
from threading import Event
from typing import TYPE_CHECKING, Any, TypeVar

import typer

from marey.errors import MareyError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.progress import TaskID

    from marey.tasks._seen import Progress

T = TypeVar("T")


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
            self.tell(error)

    def tell(self, error: MareyError) -> None:
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
        # A video may be given twice, and begin again before it has ended.
        self._tasks: defaultdict[str, deque[TaskID]] = defaultdict(deque)
        self._all = self._rich.add_task("videos", total=total, visible=total > 1)

    def __enter__(self) -> Bars:
        self._rich.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._rich.stop()

    def begin(self, video: str) -> Progress:
        """A callback that moves the bar of this video: seconds done, seconds in all."""
        task = self._rich.add_task(Path(video).name, total=None)
        self._tasks[video].append(task)
        return lambda done, total: self._rich.update(task, completed=done, total=total)

    def end(self, video: str) -> None:
        self._rich.advance(self._all)
        if self._tasks[video]:
            self._rich.remove_task(self._tasks[video].popleft())


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
    each = [rows] if isinstance(rows, Mapping) else rows
    emit_text((json.dumps(row, ensure_ascii=False) + "\n" for row in each), render)


def emit_text(pieces: Iterable[str], render: Callable[[], RenderableType]) -> None:
    """The same of what is text in pieces, each written as it comes."""
    if sys.stdout.isatty():
        from rich.console import Console

        Console().print(render())
        return
    for piece in pieces:
        print(piece, end="")  # noqa: T201
    sys.stdout.flush()


class Screen:
    """What is seen live, on stdout: on a terminal a line a source, and events as they end.

    In a pipe each moment is a line of JSON, unless it is `quiet`.
    """

    def __init__(self, *, quiet: bool) -> None:
        from rich.console import Console
        from rich.live import Live

        self._quiet = quiet
        self._rows: dict[str, Mapping[str, Any]] = {}
        self._live = Live(console=Console(), auto_refresh=False) if sys.stdout.isatty() else None

    def __enter__(self) -> Screen:
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *exc: object) -> None:
        if self._live:
            self._live.stop()

    def show(self, row: Mapping[str, Any]) -> None:
        from marey.outputs.live import board, happened

        self._rows[row["source"]] = row
        if self._live:
            for event in row["events"]:
                self._live.console.print(happened(row["source"], event), highlight=False)
            self._live.update(board(self._rows.values()), refresh=True)
        elif not self._quiet:
            print(json.dumps(row, ensure_ascii=False), flush=True)  # noqa: T201


@contextmanager
def until_signalled() -> Iterator[Event]:
    """Set by Ctrl-C or SIGTERM, so that what is under way ends well; a second one does not wait."""
    asked = Event()

    def ask(number: int, frame: object) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    before = {number: signal(number, ask) for number in (SIGINT, SIGTERM)}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal(number, handler)


def settings_from(changes: Iterable[str] | None) -> dict[str, str]:
    """`["lr=1e-3", …]` as a dictionary; anything else is wrong usage."""
    pairs = [change.partition("=") for change in changes or ()]
    for key, equals, _ in pairs:
        if not (key and equals):
            raise typer.BadParameter(f"{key!r} is not of the form key=value", param_hint="--set")
    return {key.strip(): value.strip() for key, _, value in pairs}


def thresholds_from(pairs: Iterable[str] | None) -> dict[str, float]:
    """`["serve=0.4", …]` as thresholds by label, which may hold = signs; else wrong usage."""
    found = {}
    for pair in pairs or ():
        label, _, value = pair.rpartition("=")
        try:
            found[label] = float(value)
        except ValueError:
            found[label] = 0.0
        if not (label and 0 < found[label] <= 1):
            raise typer.BadParameter(
                f"{pair!r} is not of the form label=0.4, above 0 and at most 1",
                param_hint="--label-threshold",
            )
    return found


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


def needed(given: T | None, option: str) -> T:
    """The value of an option that this way of using a verb cannot do without."""
    if given is None:
        raise typer.BadParameter("is missing", param_hint=option)
    return given


def only_for(what: str, **given: object) -> None:
    """Wrong usage, if any of these options is given: they are for something else."""
    for name, value in given.items():
        if value:
            raise typer.BadParameter(f"is for {what}", param_hint=f"--{name}")
