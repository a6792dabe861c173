from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from marey.errors import ModelError
from marey.nn.mix import TemporalAggregation
from marey.nn.time import Clock, Folded, OverTime, fold, unfold

sizes = st.integers(1, 4)


@given(n=sizes, c=sizes, t=sizes, h=sizes, w=sizes)
def test_unfold_is_the_inverse_of_fold(n: int, c: int, t: int, h: int, w: int) -> None:
    clip = torch.randn(n, c, t, h, w)
    frames = fold(clip)
    assert frames.shape == (n * t, c, h, w)
    assert torch.equal(frames[t - 1], clip[0, :, -1])
    assert torch.equal(unfold(frames, n), clip)


def test_fold_copies_nothing_in_channels_last_memory() -> None:
    clip = torch.randn(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    frames = fold(clip)
    assert frames.data_ptr() == clip.data_ptr()
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert unfold(frames, 2).data_ptr() == clip.data_ptr()


def small() -> Folded:
    torch.manual_seed(0)
    clock = Clock()
    layers = nn.Sequential(
        nn.Conv2d(3, 8, 1), TemporalAggregation(8, clock, init="paper"), nn.Conv2d(8, 4, 1)
    )
    return Folded(layers, clock).eval()


def test_a_batch_is_its_members_whatever_their_length() -> None:
    net = small()
    for t in (4, 1, 3):
        clips = torch.randn(3, 3, t, 2, 2)
        alone = torch.cat([net(clip[None]) for clip in clips])
        torch.testing.assert_close(net(clips), alone)


def test_a_copy_has_a_clock_of_its_own() -> None:
    net = small()
    twin = copy.deepcopy(net)
    clip = torch.randn(1, 3, 4, 2, 2)
    expected = net(clip)
    twin(torch.randn(3, 3, 2, 2, 2))
    assert net.clock.clips == 1
    assert torch.equal(twin(clip), expected)


def test_features_without_a_map_come_as_maps_of_one_pixel() -> None:
    pooled = Folded(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten()), Clock())
    clip = torch.randn(2, 3, 5, 4, 4)
    assert pooled(clip).shape == (2, 3, 5, 1, 1)
    torch.testing.assert_close(pooled(clip)[..., 0, 0], clip.mean((3, 4)))


def test_a_clip_shorter_than_the_stride_is_refused() -> None:
    net = Folded(nn.Identity(), Clock(), stride=4)
    with pytest.raises(ModelError, match=r"3 frames is shorter .* 4\. Give at least 4 frames"):
        net(torch.randn(1, 3, 3, 2, 2))


@pytest.mark.parametrize(("kernel", "dilation"), [(2, 1), (0, 1), (3, 0)])
def test_kernels_have_a_middle(kernel: int, dilation: int) -> None:
    with pytest.raises(ModelError, match="must be odd, or causal"):
        OverTime(Clock(), kernel=kernel, dilation=dilation)


def test_reach() -> None:
    same = OverTime(Clock(), kernel=5, dilation=2)
    assert (same.before, same.centre, same.after) == (4, 2, 4)
    causal = OverTime(Clock(), kernel=4, dilation=3, ends="causal")
    assert (causal.before, causal.centre, causal.after) == (9, 3, 0)


def test_beyond_the_ends() -> None:
    clip = torch.arange(1.0, 4).view(1, 3, 1, 1, 1)

    def seen(ends: str) -> list[float]:
        return OverTime(Clock(), kernel=3, ends=ends).surround(clip).flatten().tolist()  # type: ignore[arg-type]

    assert seen("zeros") == [0, 1, 2, 3, 0]
    assert seen("replicate") == [1, 1, 2, 3, 3]
    assert seen("causal") == [0, 0, 1, 2, 3]
