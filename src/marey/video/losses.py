"""The ledger of what a video did not give: nothing is lost silently."""

from __future__ import annotations

from collections import Counter
from functools import reduce
from operator import or_
from typing import Any

_GAPS = 20  # told one by one; a stream of days may have any number


class Losses:
    """Notes on one video, and counted losses of each pass over it, told in words."""

    def __init__(self) -> None:
        self._notes: dict[str, None] = {}
        self._gaps: dict[tuple[float, float], None] = {}
        self._passes: list[Counter[str]] = []
        self._earlier: Counter[str] = Counter()

    def note(self, text: str) -> None:
        """Keep a sentence, once however many passes say it."""
        self._notes[text] = None

    def begin(self) -> Counter[str]:
        """A fresh counter for one pass over the file, from kind of loss to how often."""
        counts: Counter[str] = Counter()
        self._passes.append(counts)
        return counts

    def gap(self, start: float, end: float, counts: Counter[str]) -> None:
        """Keep a span without frames, once however many passes meet it; of many, the first ones."""
        if len(self._gaps) < _GAPS or (start, end) in self._gaps:
            self._gaps[start, end] = None
        else:
            counts["gaps after these"] += 1

    def words(self) -> list[str]:
        """The notes, the gaps, then each kind of loss with its count in the pass that lost most."""
        gaps = (f"gap: no frame from {start:.2f} to {end:.2f} s" for start, end in self._gaps)
        counts = (f"{what}: {count}" for what, count in self._counts().items())
        return [*self._notes, *gaps, *counts]

    def _counts(self) -> Counter[str]:
        # The union of two counters keeps the larger count of each key.
        return reduce(or_, self._passes, Counter[str]()) + self._earlier

    def state(self) -> dict[str, Any]:
        """All that has been lost so far, JSON-ready; for `go_on`."""
        return {
            "notes": list(self._notes),
            "gaps": [list(gap) for gap in self._gaps],
            "counts": dict(self._counts()),
        }

    def go_on(self, state: dict[str, Any]) -> None:
        """Add what was lost before the place from which the passes to come will read on."""
        self._notes |= dict.fromkeys(state["notes"])
        self._gaps |= dict.fromkeys((start, end) for start, end in state["gaps"])
        self._earlier = Counter(state["counts"])
