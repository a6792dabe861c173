"""The made video is as long as it says, as heavy as it says, and moves."""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import av
import numpy as np
import pytest

from marey.benchmark.footage import GOP, LOOP, make_footage, make_loop, repeat, scene
from marey.tasks.check import check


@pytest.mark.parametrize(("seconds", "frames"), [(1.6, 40), (7.2, 180), (12, 300)])
def test_it_is_as_long_as_asked_with_regular_times(
    tmp_path: Path, seconds: float, frames: int
) -> None:
    path = make_footage(tmp_path / "made.mp4", seconds, (36, 64))
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        times = [frame.pts * stream.time_base for frame in container.decode(stream)]
    assert {after - before for before, after in pairwise(times)} == {Fraction(1, 25)}
    assert len(times) == frames
    found = check(path)
    assert (found.frames, found.warnings) == (frames, ())
    assert [path.name for path in tmp_path.iterdir()] == ["made.mp4"]


def test_a_loop_repeats_bit_for_bit(tmp_path: Path) -> None:
    once = make_loop(tmp_path / "once.mp4", 0.4, (36, 64))
    twice = repeat(once, tmp_path / "twice.mp4", 2)
    with av.open(str(twice)) as container:
        images = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(images) == 20
    assert all(np.array_equal(a, b) for a, b in zip(images[:10], images[10:], strict=True))


def test_it_weighs_what_a_cameras_does(tmp_path: Path) -> None:
    path = make_loop(tmp_path / "loop.mp4", LOOP, (180, 320))
    megabits = path.stat().st_size * 8e-6 / LOOP
    assert megabits == pytest.approx(3 / 16, rel=0.2)  # of 3 Mbit/s at 720p, 16 times the pixels
    with av.open(str(path)) as container:
        packets = [packet.is_keyframe for packet in container.demux(video=0) if packet.size]
    assert [k for k, key in enumerate(packets) if key] == [0, GOP, 2 * GOP]


def test_the_scene_moves_and_has_grain() -> None:
    first, second, *_ = (picture.astype(int) for picture in scene(3, (90, 160)))
    assert first.shape == (90, 160, 3)
    assert np.abs(second - first).mean() > 2
    assert np.abs(np.diff(first, axis=1)).mean() > 2
