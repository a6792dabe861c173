"""Features in files: what was written is read, what is damaged or old is made anew."""

from __future__ import annotations

import os
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from marey.errors import DataError
from marey.files import Stamp
from marey.outputs.feature_files import join_npz, join_parquet, read_features, write_features
from marey.outputs.feature_folder import FeatureFolder
from marey.testing.videos import make_video
from marey.types import Input, ModelCard, Video, VideoFeatures

HOW = {"window": None, "stride": 0.5, "decode": "all"}
PREPARE = Input(frames=4, size=(8, 8), resize=8, mean=(0,) * 3, std=(1,) * 3)
CARD = ModelCard("net", None, 5, "test", "float32", PREPARE, network="0123")


def made(video: str = "naïve, b.mp4", rows: int = 7, seed: int = 0) -> VideoFeatures:
    """Random features of a made-up video."""
    start = np.arange(rows) / 2
    values = np.random.default_rng(seed).normal(size=(rows, 5)).astype(np.float32)
    return VideoFeatures(
        Video(video, "mp4", "h264", 8, 8, Fraction(30000, 1001), 0.5, 4.5, 120),
        CARD,
        0.5,
        np.stack((start, start + 1), 1),
        values,
        ("2 frames repeated",),
    )


def same(one: VideoFeatures, other: VideoFeatures) -> bool:
    assert np.array_equal(one.values, other.values)
    assert np.array_equal(one.spans, other.spans)
    rest = [(f.video, f.model, f.stride, f.warnings) for f in (one, other)]
    return rest[0] == rest[1]


@pytest.fixture
def video(tmp_path: Path) -> Path:
    path = tmp_path / "a.mp4"
    path.write_bytes(b"a video")
    return path


def test_what_was_written_is_read(tmp_path: Path, video: Path) -> None:
    write_features(made(), Stamp.of(video), tmp_path / "f.npz")
    found = read_features(tmp_path / "f.npz")
    assert same(found.features, made())
    assert found.source == Stamp.of(video)
    with np.load(tmp_path / "f.npz") as arrays:
        assert sorted(arrays) == sorted(
            ("start", "end", "values", "stride", "network", "video", "about")
        )
        assert (str(arrays["network"]), str(arrays["video"])) == ("0123", "naïve, b.mp4")


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 half a zip"])
def test_what_holds_no_features_is_said(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f.npz").write_bytes(content)
    with pytest.raises(DataError, match=r"f\.npz: holds no features"):
        read_features(tmp_path / "f.npz")
    np.savez(tmp_path / "f.npz", values=np.zeros(3))
    with pytest.raises(DataError, match=r"holds no features \(KeyError"):
        read_features(tmp_path / "f.npz")


def test_several_videos_are_numbered_in_one_file(tmp_path: Path, video: Path) -> None:
    parts = []
    for number in range(3):
        parts.append(tmp_path / f"{number}.npz")
        write_features(made(f"{number}.mp4", 3 + number, number), Stamp.of(video), parts[-1])
    join_npz(parts, tmp_path / "all.npz")
    with np.load(tmp_path / "all.npz") as arrays:
        for number in range(3):
            expected = made(f"{number}.mp4", 3 + number, number)
            assert np.array_equal(arrays[f"{number}/values"], expected.values)
            assert str(arrays[f"{number}/video"]) == f"{number}.mp4"
    join_npz(parts[:1], tmp_path / "one.npz")
    assert same(read_features(tmp_path / "one.npz").features, made("0.mp4", 3))


def test_parquet_has_a_row_a_window(tmp_path: Path, video: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    parts = [tmp_path / "0.npz", tmp_path / "1.npz"]
    for number, part in enumerate(parts):
        write_features(made(f"{number}.mp4", 3, number), Stamp.of(video), part)
    join_parquet(parts, tmp_path / "all.parquet")
    table = parquet.read_table(tmp_path / "all.parquet")
    assert table.column_names == ["video", "start", "end", "stride", "network", "values"]
    rows = table.to_pylist()
    assert [row["video"] for row in rows] == ["0.mp4"] * 3 + ["1.mp4"] * 3
    assert [(row["start"], row["end"]) for row in rows[:2]] == [(0, 1), (0.5, 1.5)]
    assert {(row["stride"], row["network"]) for row in rows} == {(0.5, "0123")}
    values = np.array([row["values"] for row in rows[3:]], np.float32)
    assert np.array_equal(values, made("1.mp4", 3, 1).values)


def test_a_folder_gives_back_what_still_holds(tmp_path: Path, video: Path) -> None:
    folder = FeatureFolder(tmp_path / "cache", CARD, HOW)
    assert folder.find(video) is None
    folder.write(video, made())
    again = FeatureFolder(tmp_path / "cache", CARD, HOW)
    found = again.find(video)
    assert found is not None
    assert same(found, made())
    assert (again.hits, again.warnings(), again.paths([video])) == (1, (), [folder.path(video)])
    for card, how in (
        (replace(CARD, network="4567"), HOW),
        (replace(CARD, precision="bfloat16"), HOW),
        (CARD, {**HOW, "stride": 0.25}),
    ):
        other = FeatureFolder(tmp_path / "cache", card, how)
        assert other.find(video) is None
        assert other.warnings() == ()  # they stand beside each other


@pytest.mark.parametrize("damage", ["cut", "changed", "empty"])
def test_a_damaged_file_is_as_none_and_counted(tmp_path: Path, video: Path, damage: str) -> None:
    folder = FeatureFolder(tmp_path / "cache", CARD, HOW)
    folder.write(video, made())
    path = folder.path(video)
    whole = path.read_bytes()
    place = whole.index(made().values.tobytes()) + 8
    spoilt = {"cut": whole[:-9], "empty": b""}
    changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
    path.write_bytes(spoilt.get(damage, changed))
    folder = FeatureFolder(tmp_path / "cache", CARD, HOW)
    assert folder.find(video) is None
    assert folder.warnings() == ("1 files of features were damaged: made anew",)
    assert folder.paths([video]) == []
    folder.write(video, made())
    assert FeatureFolder(tmp_path / "cache", CARD, HOW).find(video) is not None


def test_a_video_that_has_changed_is_looked_at_anew(tmp_path: Path, video: Path) -> None:
    folder = FeatureFolder(tmp_path / "cache", CARD, HOW)
    folder.find(video)
    os.utime(video, ns=(0, 7))  # while it was being read
    folder.write(video, replace(made(), stride=0.25))
    folder = FeatureFolder(tmp_path / "cache", CARD, HOW)
    assert folder.find(video) is None
    assert "1 videos have changed" in folder.warnings()[0]


def test_the_usual_stride_is_that_of_the_video(tmp_path: Path) -> None:
    """A clip of four frames is 0.5 s at 8 a second, and 0.25 s at 16."""
    slow = make_video(tmp_path / "slow.mp4", frames=8, fps=Fraction(8))
    fast = make_video(tmp_path / "fast.mp4", frames=8, fps=Fraction(16))
    usual = FeatureFolder(tmp_path / "cache", CARD, {**HOW, "stride": None})
    asked = FeatureFolder(tmp_path / "cache", CARD, {**HOW, "stride": 0.125})
    assert usual.path(slow) == asked.path(slow)
    assert usual.path(fast) != asked.path(fast)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    assert usual.find(tmp_path / "bad.mp4") is None


def test_what_was_begun_is_gone_on_with_or_forgotten(tmp_path: Path, video: Path) -> None:
    def folder() -> FeatureFolder:
        return FeatureFolder(tmp_path / "cache", CARD, HOW)

    first = folder()
    journal = first.journal(video)
    assert journal is not None
    assert first.journal(video) is None  # it is given twice
    with journal:
        journal.add(np.ones(5, np.float32), {})
    second = folder()
    assert (second.find(video), second.begun) == (None, 1)
    again = second.journal(video)
    assert again is not None
    assert len(list(again.rows())) == 1
    other = FeatureFolder(tmp_path / "cache", replace(CARD, runtime="another"), HOW).journal(video)
    assert other is not None
    assert not list(other.rows())
    second.write(video, made())
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".npz"]
    second.path(video).unlink()
    third = folder()
    with third.journal(video) as last:  # type: ignore[union-attr]
        last.add(np.ones(5, np.float32), {})
    third.forget()
    assert not list((tmp_path / "cache").iterdir())
