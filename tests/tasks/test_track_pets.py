"""Real people, tracked: the proof of `docs/results/track.md`, and each tracker at work."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest

from marey.data.box_files import BoxFile
from marey.tasks._collected import collect
from marey.tasks._trackers import TRACKERS
from marey.tasks.follow import follow
from marey.tasks.track import track
from marey.training.track_metrics import TrackMetrics, evaluate_tracks
from marey.types import Report
from marey.video.read import open_video

MARKED = 69  # frames with a truth


def measured(media: Path, **how: object) -> TrackMetrics:
    folder = media / "pets09_s2l1"
    file = BoxFile(folder / "det.txt")
    with open_video(media / "clips/ocv_vtest.avi") as reader:
        frames = islice(reader.frames(), MARKED + 10)
        found = collect(follow(reader, file, frames=frames, **how))  # type: ignore[arg-type]
        report = Report(reader.video, file.card(), (), (), tracks=found)
    return evaluate_tracks(report, folder / "gt_001-069.txt").metrics


def test_the_default_holds_what_is_promised(media: Path) -> None:
    found = measured(media)
    assert found.mota >= 0.60
    assert found.switches < 5


@pytest.mark.parametrize("tracker", TRACKERS)
def test_every_tracker_follows_people(media: Path, tracker: str) -> None:
    found = measured(media, tracker=tracker)
    assert found.mota > 0.5
    assert found.idf1 > 0.5


def test_the_embedded_detector_finds_people(media: Path) -> None:
    report = track(media / "clips/ocv_vtest.avi", every=12)
    assert len(report.tracks) > 3
