from __future__ import annotations

import copy
from collections import OrderedDict

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from marey.nn.time import Clock, Folded, TemporalAggregation, aggregate, fold, unfold

sizes = st.integers(1, 4)


def random_mix(channels: int, clock: Clock) -> TemporalAggregation:
    return TemporalAggregation(channels, clock, init="paper")


@given(n=sizes, c=sizes, t=sizes, h=sizes, w=sizes)
def test_unfold_is_the_inverse_of_fold(n: int, c: int, t: int, h: int, w: int) -> None:
    clip = torch.randn(n, c, t, h, w)
    frames = fold(clip)
    assert frames.shape == (n * t, c, h, w)
    assert torch.equal(frames[t - 1], clip[0, :, -1])
    assert torch.equal(unfold(frames, t), clip)


def test_fold_copies_nothing_in_channels_last_memory() -> None:
    clip = torch.randn(2, 3, 4, 5, 6).contiguous(memory_format=torch.channels_last_3d)
    frames = fold(clip)
    assert frames.data_ptr() == clip.data_ptr()
    assert frames.is_contiguous(memory_format=torch.channels_last)
    assert unfold(frames, 4).data_ptr() == clip.data_ptr()


@settings(deadline=None)
@given(n=sizes, c=sizes, t=sizes, train=st.booleans())
def test_aggregation_is_a_depthwise_convolution_over_time(
    n: int, c: int, t: int, train: bool
) -> None:
    mix = random_mix(c, Clock(t)).train(train)
    conv = nn.Conv3d(c, c, (3, 1, 1), padding=(1, 0, 0), groups=c, bias=False)
    with torch.no_grad():
        conv.weight.copy_(torch.stack([mix.prev, mix.curr, mix.next], 1).view(c, 1, 3, 1, 1))
    clip = torch.randn(n, c, t, 3, 2)
    torch.testing.assert_close(unfold(mix(fold(clip)), t), conv(clip))


def test_aggregation_starts_as_identity_and_keeps_the_memory_format() -> None:
    frames = torch.randn(6, 4, 5, 5).contiguous(memory_format=torch.channels_last)
    mixed = TemporalAggregation(4, Clock(3))(frames)
    assert torch.equal(mixed, frames)
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_paper_init_has_the_published_spread() -> None:
    mix = random_mix(2048, Clock(1))
    assert mix.prev.std().item() == pytest.approx((2 / 2048) ** 0.5, rel=0.1)


def test_relu_follows_the_sum() -> None:
    frames = torch.randn(4, 2, 3, 3)
    assert torch.equal(TemporalAggregation(2, Clock(2), relu=True)(frames), frames.relu())


def test_a_still_clip_changes_only_at_the_ends() -> None:
    mix = random_mix(3, Clock(5))
    mixed = mix(torch.randn(1, 3, 2, 2).expand(5, -1, -1, -1))
    torch.testing.assert_close(mixed[1], mixed[3])
    assert not torch.allclose(mixed[0], mixed[1])


def test_the_order_of_frames_matters_once_the_kernel_is_not_symmetric() -> None:
    frames = torch.randn(5, 3, 2, 2)
    mix = random_mix(3, Clock(5))
    assert not torch.allclose(mix(frames.flip(0)).flip(0), mix(frames))
    with torch.no_grad():
        mix.next.copy_(mix.prev)
    torch.testing.assert_close(mix(frames.flip(0)).flip(0), mix(frames))


def test_gradients_are_those_of_the_convolution() -> None:
    mix = random_mix(2, Clock(3)).double()
    frames = torch.randn(6, 2, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(mix, (frames,))


def test_bfloat16_stays_bfloat16() -> None:
    assert TemporalAggregation(2, Clock(2))(torch.ones(2, 2, 1, 1).bfloat16()).dtype == (
        torch.bfloat16
    )


class Residual(nn.Module):
    has_skip = True

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.first = nn.Conv2d(3, 3, 1)
        self.second = nn.Conv2d(3, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.second(self.first(self.norm(x)).relu()) + x
        return out


def timed() -> Folded:
    torch.manual_seed(0)
    clock, plain = Clock(), Residual()
    plain.has_skip = False
    blocks = [Residual(), plain]
    aggregate(blocks, clock, relu=False)
    for module in blocks[0].modules():
        if isinstance(module, TemporalAggregation):
            nn.init.normal_(module.prev)
    return Folded(OrderedDict(a=blocks[0], b=blocks[1]), clock).eval()


def test_aggregate_stands_before_the_first_convolution_of_residual_blocks() -> None:
    names = [
        name for name, module in timed().named_modules() if isinstance(module, TemporalAggregation)
    ]
    assert names == ["a.first.mix"]


def test_a_batch_is_its_members_whatever_their_length() -> None:
    net = timed()
    for t in (4, 1, 3):
        clips = torch.randn(3, 3, t, 2, 2)
        alone = torch.cat([net(clip[None]) for clip in clips])
        torch.testing.assert_close(net(clips), alone)


def test_a_copy_has_a_clock_of_its_own() -> None:
    net = timed()
    twin = copy.deepcopy(net)
    clip = torch.randn(1, 3, 4, 2, 2)
    expected = net(clip)
    twin(torch.randn(1, 3, 2, 2, 2))
    assert net.clock.frames == 4
    assert torch.equal(twin(clip), expected)


def test_folded_networks_can_be_exported() -> None:
    net, clip = timed(), torch.randn(2, 3, 4, 2, 2)
    torch.testing.assert_close(torch.export.export(net, (clip,)).module()(clip), net(clip))
