"""Whatever the policy, no frame is unaccounted for, and no more waits than may."""

from __future__ import annotations

from fractions import Fraction
from threading import Condition, Event, Thread

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.errors import VideoError
from marey.tasks._live_tray import Gap, Over, Tray, Waiting
from marey.types import Clip, Window


def clip(first: int, frames: int = 4) -> Clip:
    """Frames `first` and following, one a second."""
    times = tuple(Fraction(first + k) for k in range(frames))
    return Clip(Window(first, first + frames), np.zeros((frames, 1, 1, 3), np.uint8), times)


def tray(policy: str, most: int = 1, *, waits: bool = False) -> Tray:
    return Tray(policy, most, Condition(), Event(), waits=waits)  # type: ignore[arg-type]


def starts(found: object) -> list[float]:
    assert isinstance(found, list)
    return [waiting.clip.window.start for waiting in found]


def test_the_latest_replaces_what_waits() -> None:
    waiting = tray("latest", 2)
    for first in (0, 1, 2, 3):
        waiting.put(clip(first), 0.0)
    assert starts(waiting.take(5)) == [2, 3]
    assert waiting.take() is None
    assert waiting.skipped == 2
    waiting.close()
    # Frames 0 and 1 were in no clip that was taken; 2 to 6 were in some.
    assert (waiting.used, waiting.dropped) == (5, 2)


def test_what_comes_is_left_out() -> None:
    waiting = tray("drop", 2)
    for first in (0, 4, 8, 12):
        waiting.put(clip(first), 0.0)
    assert starts(waiting.take(5)) == [0, 4]
    waiting.put(clip(16), 0.0)
    assert starts(waiting.take()) == [16]
    waiting.close()
    assert (waiting.used, waiting.dropped, waiting.skipped) == (12, 8, 2)


def test_who_can_be_held_up_waits_for_room() -> None:
    waiting = tray("all", 2, waits=True)
    taken: list[float] = []

    def read() -> None:
        for first in range(50):
            waiting.put(clip(first), 0.0)
        waiting.end()

    thread = Thread(target=read)
    thread.start()
    while not isinstance(found := waiting.take(), Over):
        taken += starts(found) if found else []
        assert len(waiting._items) <= 3
    thread.join()
    assert taken == list(range(50))
    waiting.close()
    assert (waiting.used, waiting.dropped, waiting.skipped) == (53, 0, 0)


def test_who_cannot_be_held_up_fails_when_all_is_wanted() -> None:
    waiting = tray("all", 2)
    waiting.put(clip(0), 0.0)
    waiting.put(clip(1), 0.0)
    with pytest.raises(VideoError, match="`latest`"):
        waiting.put(clip(2), 0.0)


def test_nobody_waits_for_room_when_no_more_is_wanted() -> None:
    stop = Event()
    stop.set()
    waiting = Tray("all", 1, Condition(), stop, waits=True)
    for first in range(3):
        waiting.put(clip(first), 0.0)
    waiting.close()
    assert waiting.used == 0


def test_clips_are_not_joined_over_a_gap() -> None:
    waiting = tray("latest", 9)
    waiting.put(clip(0), 0.0)
    waiting.gap()
    waiting.gap()
    waiting.put(clip(9), 0.0)
    waiting.end(ValueError("x"))
    assert starts(waiting.take(5)) == [0]
    assert isinstance(waiting.take(5), Gap)
    assert starts(waiting.take(5)) == [9]
    over = waiting.take()
    assert isinstance(over, Over)
    assert str(over.error) == "x"


@given(
    st.sampled_from(["latest", "drop"]),
    st.integers(1, 4),
    st.integers(1, 6),
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 3)), max_size=60),
)
def test_every_frame_ends_used_or_dropped(
    policy: str, most: int, frames: int, turns: list[tuple[int, int]]
) -> None:
    waiting = tray(policy, most)
    first, all_frames, seen = 0, set(), set()
    put = taken = 0
    for step, take in turns:
        first += step
        waiting.put(clip(first, frames), 0.0)
        put += 1
        all_frames |= set(range(first, first + frames))
        found = waiting.take(take) if take else None
        for each in found if isinstance(found, list) else []:
            assert isinstance(each, Waiting)
            taken += 1
            seen |= {int(time) for time in each.clip.times}
        held = [item for item in waiting._items if isinstance(item, Waiting)]
        assert len(held) <= most
        assert len(waiting._frames) <= (most + 1) * frames
    left = waiting._count()
    waiting.close()
    assert waiting.used == len(seen)
    assert waiting.dropped == len(all_frames - seen)
    assert waiting.skipped == put - taken - left
    assert not waiting._frames
