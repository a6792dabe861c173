"""Frame numbers: by the rate while it is constant, by counting where it is not."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from marey.types import Video
from marey.video.numbers import Numbers


def video(fps: Fraction | None, start: float = 0.0) -> Video:
    return Video("a.mp4", "mp4", "h264", 96, 64, fps, start, None, None)


@given(
    fps=st.sampled_from([Fraction(10), Fraction(25), Fraction(30000, 1001), Fraction(60)]),
    start=st.floats(0, 100),
)
def test_frames_at_a_constant_rate_count_from_one(fps: Fraction, start: float) -> None:
    numbers = Numbers(video(fps, start))
    times = [start + float(k / fps) for k in range(300)]
    assert [numbers.next(time) for time in times] == list(range(1, 301))
    assert Numbers(video(fps, start)).all(times[::7]) == list(range(1, 301, 7))


def test_a_lost_frame_keeps_its_number() -> None:
    numbers = Numbers(video(Fraction(10)))
    assert [numbers.next(t) for t in (0.0, 0.1, 0.3, 0.4)] == [1, 2, 4, 5]


def test_uneven_frames_are_counted() -> None:
    times = [0.0, 0.1, 0.15, 0.3, 0.9]
    numbers = Numbers(video(Fraction(10)))
    assert [numbers.next(time) for time in times] == [1, 2, 3, 4, 5]
    assert Numbers(video(Fraction(10))).all(times) is None
    assert [Numbers(video(None)).next(time) for time in times[:1]] == [1]
    assert Numbers(video(None)).all(times) is None
