"""A run over many videos that is stopped goes on where it was, and gives what one run gives."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from test_outputs import make_report

from marey.errors import OutputError
from marey.files import stamps
from marey.outputs.part import Part
from marey.types import Report


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / f"{k}.mp4" for k in range(4)]
    for path in paths:
        path.write_bytes(path.name.encode())
    return paths


def report(video: Path) -> Report:
    return make_report(str(video))


def test_reports_come_back_in_any_order(tmp_path: Path, videos: list[Path]) -> None:
    with Part(tmp_path / "out.csv", {"top": 5}) as part:
        for video in (videos[2], videos[0]):
            part.add(video, report(video))
        assert [video in part for video in videos] == [True, False, True, False]
        assert list(part.reports(videos)) == [report(videos[0]), report(videos[2])]
        part.remove()
    assert not part.path.exists()


@pytest.mark.parametrize("cut", [0, 1, 20])
def test_a_stopped_run_goes_on(tmp_path: Path, videos: list[Path], cut: int) -> None:
    output = tmp_path / "out.jsonl"
    with Part(output, {"top": 5}) as part:
        for video in videos[:2]:
            part.add(video, report(video))
    # Killed while it wrote: the last line is not whole.
    part.path.write_bytes(part.path.read_bytes() + b'{"source": ["x", [1]], "re'[:cut])
    with Part(output, {"top": 5}) as part:
        assert part.warnings == ["2 videos are there from an earlier run"]
        part.add(videos[3], report(videos[3]))
        assert list(part.reports(videos)) == [report(videos[k]) for k in (0, 1, 3)]
    assert all(json.loads(line) for line in part.path.read_text().splitlines())


def test_a_video_that_has_changed_is_not_done(tmp_path: Path, videos: list[Path]) -> None:
    with Part(tmp_path / "out.csv", {}) as part:
        part.add(videos[0], report(videos[0]))
        videos[0].write_bytes(b"another, longer one")
        assert videos[0] not in part
        assert list(part.reports(videos)) == []
        part.add(videos[0], report(videos[0]))
        assert videos[0] in part


def test_other_settings_begin_again_and_say_so(tmp_path: Path, videos: list[Path]) -> None:
    with Part(tmp_path / "out.csv", {"top": 5}) as part:
        part.add(videos[0], report(videos[0]))
    with Part(tmp_path / "out.csv", {"top": 3}) as part:
        assert videos[0] not in part
        assert part.warnings == ["was begun with other settings; begins again"]


def test_nothing_is_left_where_nothing_was_done(tmp_path: Path) -> None:
    with Part(tmp_path / "out.csv", {}) as part:
        pass
    assert not part.path.exists()


def test_what_a_network_has_said_is_kept_until_its_video_is_done(
    tmp_path: Path, videos: list[Path]
) -> None:
    output = tmp_path / "out.csv"
    for settings, rows in (({"top": 5}, 0), ({"top": 5}, 2), ({"top": 3}, 0)):
        with Part(output, settings) as part:
            journal = part.journal(videos[0])
            assert journal
            assert part.journal(videos[0]) is None  # two must not write one file
            with journal:
                assert len(list(journal.rows())) == rows
                for _ in range(2):
                    journal.add(np.zeros(3, np.float32), {})
    with Part(output, {"top": 3}) as part:
        assert part.warnings == ["1 videos were begun in an earlier run"]
        part.add(videos[0], report(videos[0]))
        assert not list(tmp_path.glob("out.csv.part-*"))


def test_a_folder_that_cannot_be_written_to(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"out\.csv\.part"):
        Part(tmp_path / "none" / "out.csv", {})


def test_stamps_follow_files_and_folders(tmp_path: Path) -> None:
    assert stamps("no/such/thing") == []
    (tmp_path / "a").write_bytes(b"1")
    before = stamps(tmp_path)
    (tmp_path / "a").write_bytes(b"12")
    assert stamps(tmp_path) != before
