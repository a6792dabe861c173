"""One pass over the video serves all windows; what its end takes away is counted."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from marey.testing.videos import frame_number
from marey.types import Frame, Input, Window
from marey.video.clips import clips
from marey.video.read import open_video
from marey.video.windows import Picks, pick, windows

Make = Callable[..., Path]

RATE = Fraction(25)


def input_of(**options: Any) -> Input:
    return Input(size=(48, 48), resize=48, mean=(0, 0, 0), std=(1, 1, 1), **options)


def plan(duration: float, input: Input, length: float, step: float) -> Iterator[Any]:
    for window in windows(duration, length, step):
        yield window, pick(window, input, RATE)


def numbers(frames: Any) -> list[int]:
    return [frame_number(image) for image in frames]


def test_clips_hold_the_frames_meant(make: Make) -> None:
    with open_video(make("a.mp4", frames=100)) as reader:
        found = list(clips(reader, plan(4, input_of(frames=8, every=2), 0.64, 0.64), size=48))
    assert len(found) == 7
    for k, clip in enumerate(found[:-1]):
        assert numbers(clip.frames) == list(range(16 * k, 16 * k + 16, 2))
        assert clip.frames.shape == (8, 48, 72, 3)
        assert clip.times == tuple(Fraction(i, 25) for i in range(16 * k, 16 * k + 16, 2))
        assert clip.padded == 0
    assert found[-1].window == Window(3.36, 4)
    assert numbers(found[-1].frames) == list(range(84, 100, 2))


def test_overlapping_windows_share_frames(make: Make) -> None:
    with open_video(make("a.mp4", frames=100)) as reader:
        found = list(clips(reader, plan(4, input_of(frames=16), 0.64, 0.08)))
        assert len(found) == 43
        assert [numbers(c.frames)[0] for c in found] == list(range(0, 86, 2))
        assert (reader.counts.decoded, reader.counts.converted) == (100, 100)
        assert reader.counts.seeks == 0


def test_windows_far_apart_seek(make: Make) -> None:
    input = input_of(frames=4)
    apart = [Window(5, 5.16), Window(20, 20.16), Window(35, 35.16)]
    path = make("a.mp4", frames=1000, gop=50, codec="libx264", size=(48, 64))
    with open_video(path, threads=1) as reader:
        found = list(clips(reader, ((w, pick(w, input, RATE)) for w in apart)))
        assert [numbers(c.frames)[0] for c in found] == [125, 500, 875]
        assert reader.counts.converted == 12
        assert reader.counts.decoded < 300


def test_windows_of_one_plan_may_differ_and_come_in_its_order(make: Make) -> None:
    long, short = Window(0, 2), Window(0.4, 0.6)
    picks = [(long, Picks((0.02, 1.0, 1.9))), (short, Picks((0.5,))), (short, Picks((0.42, 0.5)))]
    with open_video(make("a.mp4", frames=100)) as reader:
        found = list(clips(reader, picks))
    assert [clip.window for clip in found] == [long, short, short]
    assert [numbers(clip.frames) for clip in found] == [[0, 25, 47], [12], [10, 12]]


def test_picks_may_loop(make: Make) -> None:
    window = Window(0, 0.12)
    looped = pick(window, input_of(frames=7), RATE, short="loop")
    with open_video(make("a.mp4")) as reader:
        (clip,) = clips(reader, [(window, looped)])
        assert numbers(clip.frames) == [0, 1, 2, 0, 1, 2, 0]
        assert clip.padded == 4
        assert reader.counts.converted == 3


def test_repeated_frames_are_counted_over_all_windows(make: Make) -> None:
    with open_video(make("a.mp4")) as reader:
        found = list(clips(reader, plan(1.2, input_of(frames=7), 0.12, 0.12)))
        assert [clip.padded for clip in found] == [4] * 10
        assert reader.warnings() == ["frames repeated for want of others: 40"]


def test_past_the_end_windows_are_filled_or_dropped_and_counted(make: Make) -> None:
    with open_video(make("a.mp4")) as reader:  # 30 frames, 1.2 s
        found = list(clips(reader, plan(4, input_of(frames=20), 0.8, 0.4)))
        assert [numbers(clip.frames)[-1] for clip in found] == [19, 29, 29]
        assert [clip.padded for clip in found] == [0, 0, 10]
        assert found[-1].times[-11:] == (Fraction(29, 25),) * 11
        assert reader.warnings() == [
            "frames past the end filled with the last one: 10",
            "windows past the end dropped: 1",
        ]


def test_an_endless_plan_ends_with_the_video(make: Make) -> None:
    with open_video(make("a.mp4")) as reader:
        found = list(clips(reader, plan(math.inf, input_of(frames=5), 0.2, 0.2)))
    assert len(found) == 6


def test_an_empty_plan(make: Make) -> None:
    with open_video(make("a.mp4")) as reader:
        assert list(clips(reader, [])) == []


def test_a_plan_must_not_go_back(make: Make) -> None:
    back = [(Window(0.8, 1), Picks((0.9,))), (Window(0, 0.2), Picks((0.1,)))]
    with open_video(make("a.mp4")) as reader, pytest.raises(ValueError, match="must not go back"):
        list(clips(reader, back))


def test_only_frames_of_windows_that_overlap_are_held(make: Make) -> None:
    def live() -> int:
        return sum(type(thing) is Frame for thing in gc.get_objects())

    path = make("a.mp4", frames=1000, gop=50, codec="libx264", size=(48, 64))
    gc.collect()
    before, counts = live(), []
    with open_video(path) as reader:
        for index, clip in enumerate(clips(reader, plan(40, input_of(frames=16), 0.64, 0.32))):
            assert isinstance(clip.frames, np.ndarray)
            if index % 20 == 19:
                counts.append(live() - before)
    assert len(counts) == 6
    assert max(counts) <= 2 * 16 + 2
