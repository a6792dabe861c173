"""Two hours of video: memory that does not grow, but for the report; events where they are."""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
from test_detect import Light

from marey.tasks.detect import KEPT, detect
from marey.types import Report
from marey.video.write import VideoWriter

MINUTES, RATE = 120, 4
STATM = Path("/proc/self/statm")


@pytest.mark.slow
@pytest.mark.skipif(not STATM.exists(), reason="memory is read from /proc")
def test_two_hours(tmp_path: Path) -> None:
    """Each minute one bright stretch, seconds 20 to 30."""
    video = tmp_path / "long.mp4"
    images = {bright: np.full((32, 32, 3), bright, np.uint8) for bright in (0, 255)}
    with VideoWriter(video, 32, 32, Fraction(RATE)) as writer:
        for index in range(MINUTES * 60 * RATE):
            bright = 255 if 20 <= index / RATE % 60 < 30 else 0
            writer.write(images[bright], Fraction(index, RATE))
    # In a process of its own: that of the other tests holds gigabytes, which come and go.
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        report, held = pool.submit(_watched, video).result()
    suns = [event for event in report.events if event.label == "sun"]
    assert len(suns) == MINUTES
    starts = [event.start % 60 for event in suns]
    assert starts == pytest.approx([20] * MINUTES, abs=0.5)
    assert KEPT > len(held) == len(report.windows) > 14_000
    tenth = len(held) // 10
    # A window in the report is half a kilobyte; one of its clips would be as much as all of these.
    assert max(held) - max(held[:tenth]) < 16


def _watched(video: Path) -> tuple[Report, list[float]]:
    """What is found, and the MiB that the process holds at each window."""
    held: list[float] = []
    page = os.sysconf("SC_PAGE_SIZE")

    def note(done: float, total: float | None) -> None:
        held.append(int(STATM.read_text().split()[1]) * page / 2**20)

    return detect(video, Light(), threshold=0.5, leave=0.5, top=1, progress=note), held
