"""Time without frames that nothing announced is told, with where it was."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

from marey.video.read import open_video

Make = Callable[..., Path]


def test_a_gap_is_told_with_its_times(make: Make) -> None:
    times = (*range(0, 50), *range(120, 200), *range(300, 320))
    moments = tuple(Fraction(k, 25) for k in times)
    with open_video(make("a.ts", times=moments)) as reader:
        start = reader.video.start
        for _ in range(2):
            assert sum(1 for _ in reader.frames()) == len(times)
            spans = [(start + a, start + b) for a, b in ((2.0, 4.8), (8.0, 12.0))]
            expected = [f"gap: no frame from {a:.2f} to {b:.2f} s" for a, b in spans]
            assert [words for words in reader.warnings() if "gap" in words] == expected


def test_of_many_gaps_the_first_are_told_and_all_counted(make: Make) -> None:
    moments = tuple(2 * burst + Fraction(k, 25) for burst in range(24) for k in range(10))
    with open_video(make("a.ts", times=moments)) as reader:
        assert sum(1 for _ in reader.frames()) == 240
        gaps = [words for words in reader.warnings() if "gap" in words]
        assert len(gaps) == 21
        assert gaps[-1] == "gaps after these: 3"
