"""A progress bar on stderr, where that is a terminal; elsewhere nothing."""

from __future__ import annotations

from types import TracebackType
from typing import Self


class Bar:
    """One line that says what is being done and how far it is."""

    def __init__(self, what: str, total: int, *, show: bool = True) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeRemainingColumn,
        )

        console = Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            disable=not (show and console.is_terminal),
            transient=True,
        )
        self._task = self._progress.add_task(what, total=total, note="")

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._progress.stop()

    def move(self, to: int | None = None, note: str | None = None) -> None:
        """One further, or to a given place; `note` stands behind the bar."""
        if to is None:
            self._progress.advance(self._task)
        else:
            self._progress.update(self._task, completed=to)
        if note is not None:
            self._progress.update(self._task, note=note)
