"""Videos are written with their own times, whole or not at all."""

from __future__ import annotations

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marey.errors import OutputError
from marey.testing.videos import frame_number, numbered
from marey.video.read import open_video
from marey.video.write import VideoWriter


def write(path: Path, times: list[Fraction], size: tuple[int, int] = (64, 96)) -> None:
    with VideoWriter(path, size[1], size[0], Fraction(25)) as writer:
        for index, time in enumerate(times):
            writer.write(numbered(index, size), time)


@pytest.mark.parametrize(
    "times",
    [
        [Fraction(k, 25) for k in range(30)],
        [Fraction(1001 * k, 30_000) for k in range(30)],
        [Fraction(k * k, 50) for k in range(20)],
        [Fraction(3) + Fraction(k, 10) for k in range(20)],
        [Fraction(0)],
    ],
    ids=["regular", "ntsc", "variable", "late start", "one"],
)
def test_times_survive(times: list[Fraction], tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    write(path, times)
    with open_video(path) as reader:
        assert (reader.video.codec, reader.video.width, reader.video.height) == ("h264", 96, 64)
        frames = list(reader.frames())
    assert [frame.time for frame in frames] == times
    assert [frame_number(frame.image) for frame in frames] == list(range(len(times)))
    assert list(tmp_path.iterdir()) == [path]


def test_odd_sizes_grow_to_even(tmp_path: Path) -> None:
    write(tmp_path / "a.mp4", [Fraction(k, 25) for k in range(5)], size=(63, 97))
    with open_video(tmp_path / "a.mp4") as reader:
        assert (reader.video.width, reader.video.height) == (98, 64)


def test_wrong_frames_and_times_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with VideoWriter(path, 96, 64, Fraction(25)) as writer:
        writer.write(numbered(0), Fraction(0))
        with pytest.raises(ValueError, match="times must increase"):
            writer.write(numbered(1), Fraction(0))
        with pytest.raises(ValueError, match="expected uint8 frames"):
            writer.write(numbered(1, (32, 32)), Fraction(1))
        with pytest.raises(ValueError, match="expected uint8 frames"):
            writer.write(np.zeros((64, 96, 3)), Fraction(1))  # type: ignore[arg-type]


def test_a_block_that_fails_leaves_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    path.write_text("before")
    with pytest.raises(ValueError, match="times must increase"):
        write(path, [Fraction(1), Fraction(0)])
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_no_such_folder(tmp_path: Path) -> None:
    with (
        pytest.raises(OutputError, match="cannot be written"),
        VideoWriter(tmp_path / "missing" / "a.mp4", 96, 64, Fraction(25)),
    ):
        pass


FULL = """
import resource, sys
from fractions import Fraction
import numpy as np
from marey.errors import OutputError
from marey.video.write import VideoWriter
rng = np.random.default_rng(0)
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]),) * 2)
try:
    with VideoWriter(sys.argv[1], 320, 240, Fraction(25)) as writer:
        for k in range(60):
            writer.write(rng.integers(0, 255, (240, 320, 3), np.uint8), Fraction(k, 25))
except OutputError as error:
    print(error)
else:
    print("written")
"""


@pytest.mark.skipif(sys.platform == "win32", reason="resource limits")
@pytest.mark.parametrize("size", [0, 100, 40_000, 400_000])
def test_a_full_disk_is_one_error_and_leaves_nothing(size: int, tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    command = [sys.executable, "-c", FULL, str(path), str(size)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith(f"{path}: cannot be written (File too large)")
    assert list(tmp_path.iterdir()) == []
