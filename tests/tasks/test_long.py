"""Two hours of video: memory that does not grow, but for the report; events where they are."""

from __future__ import annotations

import os
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from test_detect import Light

from marey.tasks.detect import KEPT, detect
from marey.video.write import VideoWriter

MINUTES, RATE = 120, 4
STATM = Path("/proc/self/statm")


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="memory is read from /proc")
def test_two_hours(tmp_path: Path) -> None:
    """Each minute one bright stretch, seconds 20 to 30."""
    video, page = tmp_path / "long.mp4", os.sysconf("SC_PAGE_SIZE")
    images = {bright: np.full((32, 32, 3), bright, np.uint8) for bright in (0, 255)}
    with VideoWriter(video, 32, 32, Fraction(RATE)) as writer:
        for index in range(MINUTES * 60 * RATE):
            bright = 255 if 20 <= index / RATE % 60 < 30 else 0
            writer.write(images[bright], Fraction(index, RATE))
    held: list[float] = []

    def note(done: float, total: float | None) -> None:
        held.append(int(STATM.read_text().split()[1]) * page / 2**20)

    report = detect(video, Light(), threshold=0.5, leave=0.5, top=1, progress=note)
    suns = [event for event in report.events if event.label == "sun"]
    assert len(suns) == MINUTES
    starts = [event.start % 60 for event in suns]
    assert starts == pytest.approx([20] * MINUTES, abs=0.5)
    assert KEPT > len(held) == len(report.windows) > 14_000
    tenth = len(held) // 10
    # A window in the report is half a kilobyte; one of its clips would be as much as all of these.
    assert max(held) - max(held[:tenth]) < 16
