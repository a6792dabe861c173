"""Lines that mark who does what, the clips around them, and boxes that move with their pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import torch

from marey.data.augment import Augment
from marey.data.key_frames import MarkedActions, told_of_ends
from marey.errors import DataError
from marey.models._labels import ava
from marey.testing.videos import frame_number, make_video
from marey.types import Input

PREPARE = Input(frames=5, every=2, size=(32, 32), resize=32, mean=(0.5,) * 3, std=(0.5,) * 3)
LEFT = "0,0,0.5,1"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`a` from 0 to 3 s, and `b`, in a folder below, from 7 to 10 s; 64x96."""
    home = tmp_path_factory.mktemp("videos")
    make_video(home / "a.mp4", frames=75, fps=25)
    (home / "more").mkdir()
    make_video(home / "more" / "b.mkv", frames=75, fps=25, start=7)
    return home


def read(folder: Path, text: str, tmp_path: Path, **how: object) -> MarkedActions:
    path = tmp_path / "marked.csv"
    path.write_text(text)
    return MarkedActions.read(path, folder=folder, **how)  # type: ignore[arg-type]


@pytest.mark.parametrize("time", [1.0, 1.04, 1.0399, 1.333])
@pytest.mark.parametrize("start", [0, 7])
def test_the_middle_of_the_clip_is_what_is_shown_then(
    folder: Path, tmp_path: Path, time: float, start: int
) -> None:
    name = "b" if start else "a"
    marked = read(folder, f"{name},{start + time},{LEFT},12", tmp_path)
    (clip,) = marked.clips(ava())
    frames, boxes = clip.look(PREPARE)
    assert frames.shape == (5, 32, 48, 3)
    np.testing.assert_array_equal(boxes, [[0, 0, 24, 32]])
    # Times that are rounded belong to the frame that they mean: 1.0399 to that at 1.04.
    middle = round(time * 25 - 0.2)
    assert [frame_number(frame) for frame in frames] == [middle + 2 * k for k in range(-2, 3)]
    assert frame_number(clip.picture(PREPARE)) == middle
    assert clip.picture(PREPARE).shape == (64, 96, 3)


def test_at_the_ends_of_the_video_frames_repeat_and_it_is_told(
    folder: Path, tmp_path: Path
) -> None:
    marked = read(folder, f"a,0,{LEFT},12\na,2.96,{LEFT},12\na,1.5,{LEFT},12", tmp_path)
    clips = marked.clips(ava())
    seen = [[frame_number(f) for f in clip.look(PREPARE)[0]] for clip in clips]
    assert seen[0] == [0, 0, 0, 2, 4]
    assert seen[2] == [70, 72, 74, 74, 74]
    (told,) = told_of_ends(clips, PREPARE)
    assert told.endswith("repeat its first or last frame: 2 of 3")
    assert told_of_ends(clips[1:2], PREPARE) == []


def test_a_box_may_do_several_things_and_nothing(folder: Path, tmp_path: Path) -> None:
    text = f"a,1,{LEFT},walk,0\na,1,0.5,0,1,1,sit,1\na,1,{LEFT},talk,0\nb,8,{LEFT},walk,0"
    marked = read(folder, text, tmp_path)
    assert (marked.labels, marked.named) == (("sit", "talk", "walk"), True)
    first, second = marked.clips(("walk", "sit", "talk"))
    assert first.targets.tolist() == [[True, False, True], [False, True, False]]
    assert first.boxes.tolist() == [[0, 0, 0.5, 1], [0.5, 0, 1, 1]]
    assert (second.frame.video, second.targets.tolist()) == ("b", [[True, False, False]])
    less = read(folder, f"a,1,{LEFT},12\nb,8,{LEFT},14", tmp_path, classes={14: "walk"})
    assert [clip.targets.tolist() for clip in less.clips(("walk",))] == [[[False]], [[True]]]
    assert less.warnings == ("lines of other actions, which count as none: 1",)


def test_numbers_are_avas_where_nothing_else_is_said(folder: Path, tmp_path: Path) -> None:
    marked = read(folder, f"a,1,{LEFT},12,3", tmp_path)
    assert marked.labels == ava()
    assert len(marked.judged) == 60
    assert marked.clips(ava())[0].targets.nonzero()[1].tolist() == [11]


BAD = f"""a,1,{LEFT},12
gone,1,{LEFT},12
a,3.0,{LEFT},12
b,6,{LEFT},12
a,1,0.5,0,0.5,1,12
gone,2,{LEFT},12
a,1,1.1,0,1.2,1,12
a,soon,{LEFT},12
b,7.5,{LEFT},what
a,1"""


def test_every_bad_line_is_told_at_once(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError) as told:
        read(folder, BAD, tmp_path)
    head, *lines = str(told.value).splitlines()
    assert head == "9 lines cannot be used:"
    for line, number, reason in zip(
        lines,
        (2, 3, 4, 5, 7, 8, 9, 10),
        (
            "(and 1 more of this video): there is no file of the name 'gone'",
            "the key frame at 3 s is outside; the video lasts from 0 to 3 s",
            "the key frame at 6 s is outside; the video lasts from 7 to 10 s",
            "has no area",
            "has nothing of the picture",
            "the key frame is 'a' at 'soon'",
            "the action is 'what'; give its number, or a name that is known",
            "has 2 cells",
        ),
        strict=True,
    ):
        assert f"line {number}" in line
        assert reason in line


def test_videos_that_are_gone_may_be_left_out(folder: Path, tmp_path: Path) -> None:
    text = f"a,1,{LEFT},12\ngone,1,{LEFT},12\ngone,2,{LEFT},12"
    marked = read(folder, text, tmp_path, skip=True)
    assert (len(marked.boxes), list(marked.videos)) == (1, ["a"])
    (told,) = marked.warnings
    assert told.startswith("1 of 2 videos left out: gone (there is no file of the name 'gone'")
    with pytest.raises(DataError, match="no line has one of the actions"):
        read(folder, f"gone,1,{LEFT},12", tmp_path, skip=True)


def test_what_is_written_is_read_again(folder: Path, tmp_path: Path) -> None:
    text = f'a,0001,{LEFT},sit,2\na,1.040,0.25,0,0.75,1,"stand, or so",\nb,8,{LEFT},sit,0'
    marked = read(folder, text, tmp_path)
    marked.write(tmp_path / "again.csv")
    again = MarkedActions.read(tmp_path / "again.csv", folder=folder)
    assert again.data_hash() == marked.data_hash()
    assert (again.boxes.frames, again.actions) == (marked.boxes.frames, marked.actions)
    other = replace(marked, actions={1: "sit", 2: "stand"})
    assert other.data_hash() != marked.data_hash()


def test_videos_stay_whole_in_folds(folder: Path, tmp_path: Path) -> None:
    text = "\n".join(f"{name},{time},{LEFT},12" for name, time in [("a", 1), ("a", 2), ("b", 8)])
    marked = read(folder, text, tmp_path)
    for fold in range(2):
        train, val = marked.divided(2, fold, 0)
        assert {*train.videos} | {*val.videos} == {"a", "b"}
        assert {*train.videos} & {*val.videos} == set()
        assert len(train.boxes) + len(val.boxes) == 3
    with pytest.raises(DataError, match="leaves no sample"):
        train.divided(2, 0, 0)


@pytest.mark.parametrize("flip", [True, False])
def test_boxes_move_with_the_picture(flip: bool) -> None:
    """A bright rectangle is where its box is, whatever is cut out, scaled and mirrored."""
    clip = torch.zeros(2, 40, 60, 3, dtype=torch.uint8)
    clip[:, 8:24, 30:52] = 255
    boxes = torch.tensor([[30.0, 8, 52, 24], [0, 0, 60, 40]])
    augment = Augment(crop=(0.5, 1.0), flip=flip, colour=0.1)
    sides = set()
    for seed in range(30):
        found, moved = augment.with_boxes(clip, boxes, (32, 48), Random(seed))
        assert torch.equal(found, augment(clip, (32, 48), Random(seed)))
        rows, columns = torch.where(found[0, ..., 0] > 100)
        limits = torch.tensor([48.0, 32, 48, 32])
        inside = moved[0].clamp(min=torch.zeros(4)).minimum(limits)
        shown = torch.tensor(
            [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32
        )
        assert (shown - inside).abs().max() <= 1
        whole = moved[1]
        sides.add(bool((moved[0, 0] - whole[0]) / (whole[2] - whole[0]) < 0.3))
    assert sides == ({True, False} if flip else {False})
