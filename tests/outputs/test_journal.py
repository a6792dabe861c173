"""What a network has said is on disk, survives a kill, and belongs to a video and its settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from marey.errors import OutputError
from marey.outputs.journal import Journal

SETTINGS = {"model": "m", "step": 1.0}


def p(k: int) -> np.ndarray:
    return np.array([k, k / 3, 1e-30], np.float32)


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"a video")
    return path


def write(path: Path, video: Path, numbers: range) -> None:
    with Journal(path, video, SETTINGS) as journal:
        assert [row.p[0] for row in journal.rows()] == list(range(numbers.start))
        for k in numbers:
            journal.add(p(k), {"lost": k // 2})


@pytest.mark.parametrize("cut", [0, 1, 30])
def test_what_was_said_comes_back_exactly(tmp_path: Path, video: Path, cut: int) -> None:
    path = tmp_path / "journal"
    write(path, video, range(3))
    # Killed while it wrote: the last line is not whole.
    path.write_bytes(path.read_bytes() + path.read_bytes().splitlines()[-1][:cut])
    write(path, video, range(3, 6))
    with Journal(path, video, SETTINGS) as journal:
        rows = list(journal.rows())
    assert [row.state["lost"] for row in rows] == [0, 0, 1, 1, 2, 2]
    for k, row in enumerate(rows):
        assert row.p.dtype == np.float32
        assert row.p.tobytes() == p(k).tobytes()


def test_states_are_written_where_they_change(tmp_path: Path, video: Path) -> None:
    write(tmp_path / "journal", video, range(6))
    lines = (tmp_path / "journal").read_text().splitlines()
    assert ["state" in line for line in lines[1:]] == [True, False, True, False, True, False]


def test_another_video_or_other_settings_begin_again(tmp_path: Path, video: Path) -> None:
    path = tmp_path / "journal"
    write(path, video, range(3))
    assert not list(Journal(path, video, {**SETTINGS, "step": 2.0}).rows())
    video.write_bytes(b"another video")
    other = Journal(path, video, SETTINGS)
    assert not list(other.rows())
    with other:
        other.add(p(7), {})
    assert [row.p[0] for row in Journal(path, video, SETTINGS).rows()] == [7]


def test_a_file_that_is_none_begins_again(tmp_path: Path, video: Path) -> None:
    path = tmp_path / "journal"
    path.write_bytes(b"\xff\x00 nothing of the kind")
    write(path, video, range(2))


def test_a_folder_that_is_not_there(tmp_path: Path, video: Path) -> None:
    journal = Journal(tmp_path / "none" / "journal", video, SETTINGS)
    assert not list(journal.rows())
    with pytest.raises(OutputError, match="journal"):
        journal.add(p(0), {})
