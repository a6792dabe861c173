from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from marey.nn.heads import HEADS, Mean, Segments


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=10)
@given(n=st.integers(1, 3), t=st.integers(1, 7), side=st.integers(1, 3))
def test_every_head_takes_any_clip_and_a_batch_is_its_members(
    name: str, n: int, t: int, side: int
) -> None:
    torch.manual_seed(0)
    head = HEADS[name](8, 5, 0.5).eval()
    x = torch.randn(n, 8, t, side, side)
    logits = head(x)
    assert logits.shape == (n, 5)
    torch.testing.assert_close(logits, torch.cat([head(clip[None]) for clip in x]))


def test_mean_is_the_average_of_the_frames_logits() -> None:
    head = Mean(8, 5).eval()
    x = torch.randn(2, 8, 4, 3, 3)
    frames = torch.stack([head(x[:, :, t : t + 1]) for t in range(4)])
    torch.testing.assert_close(head(x), frames.mean(0))


@pytest.mark.parametrize("name", ["segments", "rnn", "conv1d"])
def test_order_matters_to_all_heads_but_the_mean(name: str) -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 8, 6, 2, 2)
    head = HEADS[name](8, 5).eval()
    assert not torch.allclose(head(x), head(x.flip(2)), atol=1e-4)
    mean = Mean(8, 5).eval()
    torch.testing.assert_close(mean(x), mean(x.flip(2)))


@given(parts=st.integers(1, 4), times=st.integers(1, 3))
def test_segments_can_start_from_a_mean(parts: int, times: int) -> None:
    mean, segments = Mean(8, 5).eval(), Segments(8, 5, parts=parts).eval()
    with torch.no_grad():
        segments.linear.weight.copy_(segments.spread(mean.linear.weight))
        segments.linear.bias.copy_(mean.linear.bias)
    x = torch.randn(2, 8, parts * times, 2, 2)
    torch.testing.assert_close(segments(x), mean(x))
