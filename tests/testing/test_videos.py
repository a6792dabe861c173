"""Generated videos say what they are, at any size."""

from __future__ import annotations

import itertools

from hypothesis import given
from hypothesis import strategies as st

from marey.testing.videos import frame_number, numbered


@given(index=st.integers(0, 2**16 - 1), height=st.integers(12, 200), width=st.integers(32, 300))
def test_the_number_is_read_back(index: int, height: int, width: int) -> None:
    assert frame_number(numbered(index, (height, width))) == index


def test_frames_differ() -> None:
    images = [numbered(index)[32:] for index in range(10)]
    assert all((a != b).any() for a, b in itertools.pairwise(images))
