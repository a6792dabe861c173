"""What a process holds while something runs, seen from a thread beside it; Linux only."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from marey.benchmark.result import Memory

_STATUS = Path("/proc/self/statm")
_EVERY = 0.05  # seconds


class Watch:
    """`with Watch() as watch: …`; then `seen`, MiB of resident memory every 50 ms."""

    def __init__(self) -> None:
        self.seen: list[float] = []
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def _look(self) -> None:
        wanted = _STATUS.exists()
        while wanted:
            wanted = not self._done.wait(_EVERY)  # once more at the end, however short it was
            self.seen.append(resident())

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._done.set()
        self._thread.join()

    def highest(self) -> Memory | None:
        """In the first tenth of the time, and in the rest; None where it cannot be seen."""
        if not self.seen:
            return None
        tenth = 1 + len(self.seen) // 10
        early = max(self.seen[:tenth])
        return Memory(early, max(self.seen[tenth:], default=early))


def resident() -> float:
    """MiB that this process holds now."""
    return int(_STATUS.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20
