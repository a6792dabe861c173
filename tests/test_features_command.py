"""`marey features` as a person uses it, and the commands of docs/detect.md as they stand there."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from commands import Marey

from marey.errors import MareyError
from marey.outputs.feature_files import read_features
from marey.outputs.feature_folder import FeatureFolder
from marey.testing.videos import make_video
from marey.types import VideoFeatures

NET = "efficientnet_lite0.in1k"
PAGE = Path(__file__).parents[1] / "docs" / "detect.md"


@pytest.fixture
def videos(tmp_path: Path) -> list[Path]:
    """Four of 3 s, of different content."""
    return [
        make_video(tmp_path / f"{k}.mp4", frames=24, fps=Fraction(8), first=100 * k)
        for k in range(4)
    ]


def test_one_video_and_several_and_a_broken_one(
    marey: Marey, videos: list[Path], tmp_path: Path
) -> None:
    how = ("-m", NET, "--stride", 1)
    done = marey("features", videos[0], *how, "-o", tmp_path / "one.npz")
    assert (done.returncode, done.stdout) == (0, "")
    one, _ = read_features(tmp_path / "one.npz")
    assert one.spans.tolist() == [[0, 2], [1, 3]]
    assert one.values.shape == (2, 1280)
    (tmp_path / "bad.mp4").write_bytes(b"no video")
    given = (videos[1], tmp_path / "bad.mp4", videos[0])
    done = marey("features", *given, *how, "-o", tmp_path / "all.npz")
    assert done.returncode == 1
    assert "bad.mp4" in done.stderr
    with np.load(tmp_path / "all.npz") as arrays:
        assert {name.partition("/")[0] for name in arrays} == {"0", "1"}
        np.testing.assert_array_equal(arrays["1/values"], one.values)
    assert not list(tmp_path.glob("*.part"))
    assert marey("features", given[1], *how, "-o", tmp_path / "none.npz").returncode == 1
    assert not list(tmp_path.glob("none*"))


@pytest.mark.parametrize("name", ["f", "f.npz", "f.parquet"])
def test_a_stopped_run_goes_on(
    name: str, marey: Marey, videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "f.parquet":
        pytest.importorskip("pyarrow")
    write = FeatureFolder.write

    def stop_at_the_third(folder: FeatureFolder, video: str, found: VideoFeatures) -> None:
        if video == str(videos[2]):
            raise MareyError("stopped")
        write(folder, video, found)

    command = ("features", *videos, "-m", NET, "--stride", 1, "-o", tmp_path / name)
    with monkeypatch.context() as patch:
        patch.setattr(FeatureFolder, "write", stop_at_the_third)
        assert marey(*command).returncode == 1
    assert name == "f" or not (tmp_path / name).exists()
    done = marey(*command, "-v")
    assert done.returncode == 0, done.stderr
    assert "2 videos are there from an earlier run" in done.stderr
    assert [f"{path}: " in done.stderr for path in videos] == [False, False, True, True]
    assert not list(tmp_path.glob("*.part"))
    if name == "f":
        assert len(list((tmp_path / name).iterdir())) == 4
    elif name == "f.npz":
        with np.load(tmp_path / name) as arrays:
            found = [str(arrays[f"{k}/video"]) for k in range(4)]
            assert found == [str(path) for path in videos]


@pytest.mark.parametrize("name", ["f", "f.npz"])
def test_a_killed_process_goes_on_inside_a_video(name: str, marey: Marey, tmp_path: Path) -> None:
    video = make_video(tmp_path / "long.mp4", frames=1500, size=(64, 64), gop=25)
    how = (video, "-m", NET, "--stride", 2, "-o")
    assert marey("features", *how, tmp_path / "whole.npz").returncode == 0
    output = tmp_path / name
    command = [sys.executable, "-m", "marey.cli", "features", *map(str, how), str(output)]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None:
            journals = list(tmp_path.glob("f*/*.part"))
            if journals and journals[0].read_bytes().count(b"\n") > 5:
                process.kill()
                break
            time.sleep(0.005)
    assert not list(tmp_path.glob("f/*.npz"))
    done = marey("features", *how, output, "-v")
    assert done.returncode == 0, done.stderr
    assert "1 videos were begun in an earlier run" in done.stderr
    clips = re.search(r"(\d+) clips", done.stderr)
    assert clips is not None
    assert int(clips[1]) <= 25, "of 30, five are there"
    (path,) = [output] if output.is_file() else output.iterdir()
    one, whole = (read_features(p).features for p in (path, tmp_path / "whole.npz"))
    assert np.array_equal(one.values, whole.values)
    assert np.array_equal(one.spans, whole.spans)
    assert not list(tmp_path.glob("**/*.part*"))


def commands() -> list[str]:
    """The lines that the page shows of a detector of one's own and of features."""
    text = PAGE.read_text(encoding="utf-8").partition("## A detector of your own")[2]
    blocks = re.findall(r"^```\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    return [line for block in blocks for line in block.splitlines() if line.startswith("marey ")]


def test_the_commands_on_the_page_run(
    marey: Marey, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("pyarrow")
    rows = ["video,start,end,label,split"]
    for k in range(4):
        make_video(tmp_path / f"{k}.mp4", frames=40, fps=Fraction(8), first=100 * k)
        split = "val" if k == 3 else "train"
        rows += [f"{k}.mp4,1,2.5,serve,{split}", f"{k}.mp4,3,4,smash,{split}"]
    make_video(tmp_path / "match.mkv", frames=40, fps=Fraction(8))
    (tmp_path / "events.csv").write_text("\n".join(rows))
    monkeypatch.chdir(tmp_path)
    assert len(commands()) == 8
    for line in commands():
        quick = ["--set", "epochs=2"] if line.startswith("marey train") else []
        if "network_epochs" in line:
            quick += ["--set", "network_epochs=1"]
        done = marey(*line.split()[1:], *quick)
        assert done.returncode == 0, (line, done.stderr)
        for row in done.stdout.splitlines():
            json.loads(row)
    made = {path.name for path in tmp_path.iterdir()}
    assert {"match.vtt", "match.npz", "match.parquet", "features", "runs"} <= made
