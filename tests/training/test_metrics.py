from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from marey.training.metrics import measure


def test_by_hand() -> None:
    p = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.6, 0.3], [0.5, 0.4, 0.1], [0.2, 0.7, 0.1]])
    metrics = measure(p, torch.tensor([0, 1, 1, 1]))
    assert metrics.top1 == 0.75
    assert metrics.top5 is None
    assert metrics.per_class == (1.0, 2 / 3, None)
    assert metrics.confusion.tolist() == [[1, 0, 0], [1, 2, 0], [0, 0, 0]]
    mean = -(math.log(0.7) + math.log(0.6) + math.log(0.4) + math.log(0.7)) / 4
    assert metrics.loss == pytest.approx(mean, rel=1e-6)


def test_a_certain_mistake_has_a_finite_loss() -> None:
    assert math.isfinite(measure(torch.tensor([[1.0, 0.0]]), torch.tensor([1])).loss)


@given(classes=st.integers(2, 9), samples=st.integers(1, 30), seed=st.integers(0, 99))
def test_against_plain_counting(classes: int, samples: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.ones(classes), samples)
    targets = rng.integers(0, classes, samples)
    metrics = measure(torch.from_numpy(p), torch.from_numpy(targets))
    ranks = (-p).argsort(1)
    assert metrics.top1 == pytest.approx((ranks[:, 0] == targets).mean())
    if classes > 5:
        assert metrics.top5 == pytest.approx((ranks[:, :5] == targets[:, None]).any(1).mean())
    assert metrics.confusion.sum() == samples
    assert metrics.confusion.trace() == pytest.approx(metrics.top1 * samples)
