from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from marey.training.schedule import cosine, step_seed


@given(steps=st.integers(2, 500), warmup=st.integers(0, 100))
def test_up_then_down(steps: int, warmup: int) -> None:
    factors = [cosine(step, steps, warmup) for step in range(max(steps, warmup))]
    top = min(warmup, steps - 1)
    assert all(0 < a < b for a, b in pairwise(factors[: top + 1]))
    assert all(a > b for a, b in pairwise(factors[warmup:]))
    assert max(factors) <= 1


def test_ends() -> None:
    assert cosine(0, 100, 0) == 1
    assert cosine(10, 100, 10) == 1
    assert cosine(0, 100, 9) == pytest.approx(0.1)
    assert cosine(55, 100, 10) == pytest.approx(0.5)
    assert cosine(100, 100, 10) == pytest.approx(0)


def test_seeds_differ_by_seed_step_and_process() -> None:
    seeds = {step_seed(*key) for key in [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 2, 0)]}
    assert len(seeds) == 5
    assert step_seed(3, 4, 5) == step_seed(3, 4, 5)
