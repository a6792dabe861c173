"""The ledger of what a video did not give: nothing is lost silently."""

from __future__ import annotations

from collections import Counter
from functools import reduce
from operator import or_


class Losses:
    """Notes on one video, and counted losses of each pass over it, told in words."""

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}
        self._passes: list[Counter[str]] = []

    def note(self, text: str) -> None:
        """Keep a sentence, once however many passes say it."""
        self._notes[text] = None

    def begin(self) -> Counter[str]:
        """A fresh counter for one pass over the file, from kind of loss to how often."""
        counts: Counter[str] = Counter()
        self._passes.append(counts)
        return counts

    def words(self) -> list[str]:
        """The notes, then each kind of loss with its count in the pass that lost most."""
        # The union of two counters keeps the larger count of each key.
        worst: Counter[str] = reduce(or_, self._passes, Counter())
        return [*self._notes, *(f"{what}: {count}" for what, count in worst.items())]
