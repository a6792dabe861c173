"""One decoding for several readers."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from marey.testing.videos import make_video
from marey.types import Frame
from marey.video.branches import HELD, Branches
from marey.video.read import Reader, open_video

FRAMES = 200


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("videos") / "a.mp4", frames=FRAMES, size=(32, 48))


def every(reader: Reader) -> list[Frame]:
    return list(reader.frames(size=16))


def some(reader: Reader) -> list[Frame]:
    return list(reader.frames(times=np.arange(0.1, 7, 0.7).tolist()))


def same(one: list[Frame], other: list[Frame]) -> bool:
    return [f.time for f in one] == [f.time for f in other] and all(
        np.array_equal(a.image, b.image) for a, b in zip(one, other, strict=True)
    )


def test_each_sees_what_it_would_see_alone_and_frames_are_decoded_once(video: Path) -> None:
    ways = [every, some, every]
    alone = []
    for way in ways:
        with open_video(video) as reader:
            alone.append(way(reader))
    with open_video(video) as reader, Branches(reader, 3) as branches:
        with ThreadPoolExecutor(3) as pool:
            found = list(pool.map(lambda way, branch: way(branch), ways, branches))
        assert reader.counts.decoded <= FRAMES
        assert all(map(same, found, alone))
        assert reader.warnings() == []


def test_none_gets_far_ahead_of_another(video: Path) -> None:
    with open_video(video) as reader, Branches(reader, 2) as (fast, slow):
        seen: list[Frame] = []
        hurried = threading.Thread(target=lambda: seen.extend(fast.frames()))
        hurried.start()
        frames = slow.frames()
        for _ in range(20):
            next(frames)
            assert reader.counts.decoded <= 20 + HELD
        hurried.join(0.05)
        assert hurried.is_alive()  # it waits
        frames.close()  # type: ignore[attr-defined]
        hurried.join()
        assert len(seen) == FRAMES


def test_one_that_is_closed_unread_holds_up_nobody(video: Path) -> None:
    with open_video(video) as reader, Branches(reader, 2) as (one, other):
        other.close()
        assert len(every(one)) == FRAMES


@pytest.mark.parametrize("left", [HELD // 2, FRAMES])
def test_one_that_is_closed_midway_has_not_come_to_the_end(video: Path, left: int) -> None:
    with open_video(video) as reader, Branches(reader, 2) as (one, other):
        frames, ahead = one.frames(), other.frames()
        for _ in range(FRAMES - left + 1):
            next(frames), next(ahead)
        if left < HELD:  # all is decoded, and waits for the one
            list(ahead)
        one.close()
        with pytest.raises(ValueError, match="closed"):
            list(frames)


def test_what_is_left_when_the_block_ends_ends(video: Path) -> None:
    with open_video(video) as reader:
        with Branches(reader, 2) as (one, _):
            frames = one.frames()
            next(frames)
        assert len(list(frames)) < HELD


def test_losses_of_all_are_told_by_the_reader(video: Path) -> None:
    with open_video(video) as reader, Branches(reader, 2) as (one, other):
        one.lose("things", 3)
        other.lose("things", 2)
        assert reader.warnings() == ["things: 3"]
