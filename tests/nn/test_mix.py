"""Every layer over time against torch's own convolutions on the unfolded clip."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import ModelError
from marey.nn.inflated import GivenCentreConv, SpaceTimeConv
from marey.nn.mix import (
    TemporalAdaptive,
    TemporalAggregation,
    TemporalShift,
    TimeConv,
    TimePool,
    WholeClip,
)
from marey.nn.time import Clock, Ends, fold, unfold

ENDS: list[Ends] = ["zeros", "replicate", "causal"]
sizes = st.integers(1, 4)
ends_of = st.sampled_from(ENDS)


def extended(clip: Tensor, before: int, after: int, ends: Ends) -> Tensor:
    """N C T H W with what a kernel sees beyond the ends, made the slow way."""
    first, last = clip[:, :, :1], clip[:, :, -1:]
    if ends != "replicate":
        first, last = torch.zeros_like(first), torch.zeros_like(last)
    return torch.cat([*[first] * before, clip, *[last] * after], 2)


def reach(kernel: int, dilation: int, ends: Ends) -> tuple[int, int]:
    whole = (kernel - 1) * dilation
    return (whole, 0) if ends == "causal" else (whole // 2, whole // 2)


def is_channels_last(frames: Tensor) -> bool:
    return frames.is_contiguous(memory_format=torch.channels_last)


@given(
    n=sizes,
    t=st.integers(1, 6),
    kernel=st.sampled_from([1, 3, 5]),
    dilation=st.integers(1, 2),
    ends=ends_of,
    groups=st.sampled_from([1, 2, 4]),
    stride=st.integers(1, 2),
)
def test_a_time_convolution_is_one(
    n: int, t: int, kernel: int, dilation: int, ends: Ends, groups: int, stride: int
) -> None:
    clock = Clock(n)
    layer = TimeConv(
        4, 8, clock, kernel=kernel, dilation=dilation, ends=ends, groups=groups, stride=stride
    )
    nn.init.normal_(layer.weight)
    clip = torch.randn(n, 4, t, 3, 2)
    wide = extended(clip, *reach(kernel, dilation, ends), ends)
    expected = F.conv3d(
        wide,
        layer.weight[..., None, None],
        stride=(stride, 1, 1),
        dilation=(dilation, 1, 1),
        groups=groups,
    )
    torch.testing.assert_close(unfold(layer(fold(clip)), n), expected)


@given(
    n=sizes,
    t=st.integers(1, 5),
    kernel=st.sampled_from([3, 5]),
    ends=ends_of,
    stride=st.integers(1, 2),
    groups=st.sampled_from([1, 2]),
    init=st.sampled_from(["centre", "mean"]),
)
def test_an_inflated_convolution_is_one(
    n: int, t: int, kernel: int, ends: Ends, stride: int, groups: int, init: str
) -> None:
    conv = nn.Conv2d(4, 6, (3, 5), stride=(2, 1), padding=(1, 2), groups=groups)
    layer = SpaceTimeConv(conv, Clock(n), kernel=kernel, ends=ends, stride=stride, init=init)  # type: ignore[arg-type]
    nn.init.normal_(layer.weight)
    clip = torch.randn(n, 4, t, 6, 7)
    expected = F.conv3d(
        extended(clip, *reach(kernel, 1, ends), ends),
        layer.weight,
        layer.bias,
        (stride, 2, 1),
        (0, 1, 2),
        groups=groups,
    )
    torch.testing.assert_close(unfold(layer(fold(clip)), n), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("size", [6, 120])  # below what torch calls small, and above
@pytest.mark.parametrize("ends", ENDS)
def test_one_small_clip_is_no_exception(ends: Ends, size: int) -> None:
    """Torch has loops of its own for it, which give the memory back in another order."""
    layer = SpaceTimeConv(nn.Conv2d(24, 6, 3, padding=1, stride=2), Clock(), ends=ends, dilation=2)
    nn.init.normal_(layer.weight)
    clip = torch.randn(2, 24, 8, size, size).contiguous(memory_format=torch.channels_last_3d)
    expected = F.conv3d(
        extended(clip, *reach(3, 2, ends), ends),
        layer.weight,
        layer.bias,
        (1, 2, 2),
        (0, 1, 1),
        (2, 1, 1),
    )
    for one, wanted in zip(clip.split(1), expected.split(1), strict=True):
        found = layer(fold(one))
        torch.testing.assert_close(unfold(found, 1), wanted, atol=1e-4, rtol=1e-4)
        assert is_channels_last(found)


def test_a_depthwise_inflated_convolution_learns_as_torchs() -> None:
    conv = nn.Conv2d(4, 4, 3, padding=1, stride=2, groups=4)
    layer = SpaceTimeConv(conv, Clock(2), ends="replicate", stride=2).double()
    nn.init.normal_(layer.weight)
    clip = torch.randn(2, 4, 5, 6, 7, dtype=torch.float64, requires_grad=True)
    found = unfold(layer(fold(clip)), 2)
    wide = extended(clip, 1, 1, "replicate")
    expected = F.conv3d(wide, layer.weight, layer.bias, 2, (0, 1, 1), groups=4)
    torch.testing.assert_close(found, expected)
    wanted = [clip, *layer.parameters()]
    torch.testing.assert_close(
        torch.autograd.grad(found.square().sum(), wanted),
        torch.autograd.grad(expected.square().sum(), wanted),
    )


@pytest.mark.parametrize("ends", ENDS)
@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("space", [1, 2])
def test_a_pointwise_convolution_inflated(ends: Ends, groups: int, space: int) -> None:
    """The 3x1x1 kernels of I3D's bottlenecks, which run as pictures where they do not stride."""
    conv = nn.Conv2d(4, 8, 1, groups=groups, stride=space)
    layer = SpaceTimeConv(conv, Clock(2), ends=ends, stride=2)
    nn.init.normal_(layer.weight)
    clip = torch.randn(2, 4, 5, 6, 7)
    wide = extended(clip, *reach(3, 1, ends), ends)
    expected = F.conv3d(wide, layer.weight, layer.bias, (2, space, space), groups=groups)
    torch.testing.assert_close(unfold(layer(fold(clip)), 2), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(("init", "ends"), [("centre", e) for e in ENDS] + [("mean", "replicate")])
def test_inflation_keeps_a_still_clips_answer(init: str, ends: Ends) -> None:
    conv = nn.Conv2d(3, 6, 3, padding=1)
    layer = SpaceTimeConv(conv, Clock(2), kernel=5, ends=ends, init=init)  # type: ignore[arg-type]
    frame = torch.randn(2, 3, 5, 5)
    still = frame[:, :, None].expand(-1, -1, 4, -1, -1)
    expected = conv(frame)[:, :, None].expand(-1, -1, 4, -1, -1)
    torch.testing.assert_close(unfold(layer(fold(still)), 2), expected)


def test_mean_with_zeros_does_not_keep_it() -> None:
    conv = nn.Conv2d(3, 6, 3, padding=1, bias=False)
    layer = SpaceTimeConv(conv, Clock(1), init="mean")
    frame = torch.randn(1, 3, 5, 5)
    found = unfold(layer(fold(frame[:, :, None].expand(-1, -1, 3, -1, -1))), 1)
    torch.testing.assert_close(found[:, :, 1], conv(frame))
    torch.testing.assert_close(found[:, :, 0], conv(frame) * 2 / 3)


def test_a_given_centre_follows_its_layer() -> None:
    conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
    layer = GivenCentreConv(conv, Clock(1), kernel_of=lambda c: 2 * c.weight)
    frames = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(layer(frames), 2 * conv(frames))
    nn.init.normal_(layer.weight)
    with torch.no_grad():
        conv.weight.mul_(3)
    kernel = torch.stack([layer.weight[:, :, 0], 2 * conv.weight, layer.weight[:, :, 1]], 2)
    expected = F.conv3d(unfold(frames, 1), kernel, padding=1)
    torch.testing.assert_close(unfold(layer(frames), 1), expected, atol=1e-5, rtol=1e-4)
    assert {name for name, _ in layer.named_parameters()} == {"weight", "space.weight"}


@pytest.mark.parametrize("init", ["identity", "difference"])
def test_aggregation_starts_where_a_still_clip_changes_nothing(init: str) -> None:
    mix = TemporalAggregation(4, Clock(1), init=init, ends="replicate")  # type: ignore[arg-type]
    frames = torch.randn(1, 4, 5, 5).expand(6, -1, -1, -1)
    torch.testing.assert_close(mix(frames), frames)
    moving = torch.randn(6, 4, 5, 5)
    assert torch.equal(mix(moving), moving) == (init == "identity")


def test_a_difference_tells_forwards_from_backwards() -> None:
    mix = TemporalAggregation(4, Clock(1), init="difference", ends="replicate")
    frames = torch.randn(6, 4, 5, 5)
    there, back = mix(frames), mix(frames.flip(0)).flip(0)
    assert not torch.allclose(there, back, atol=1e-3)
    torch.testing.assert_close(there + back, 2 * frames)


def test_paper_init_has_the_published_spread() -> None:
    mix = TemporalAggregation(2048, Clock(), init="paper")
    assert mix.weight.std().item() == pytest.approx((2 / 2048) ** 0.5, rel=0.1)


@pytest.mark.parametrize("ends", ENDS)
def test_shift_is_the_fixed_kernel_of_tsm(ends: Ends) -> None:
    learnable = TemporalAggregation(16, Clock(2), init="shift", ends=ends)
    frames = torch.randn(8, 16, 3, 3)
    shifted = TemporalShift(Clock(2), ends=ends)(frames)
    if ends == "causal":  # the learnable one has no later frame to look at either: it stays
        clip = unfold(frames, 2)
        expected = clip.clone()
        expected[:, :2, 1:], expected[:, :2, 0] = clip[:, :2, :-1], 0
        assert torch.equal(unfold(shifted, 2), expected)
    else:
        assert torch.equal(shifted, learnable(frames))
    assert not list(TemporalShift(Clock()).parameters())


def test_shift_by_hand() -> None:
    clip = torch.arange(1.0, 4).view(1, 1, 3, 1, 1).expand(1, 8, 3, 1, 1)
    seen = unfold(TemporalShift(Clock(1))(fold(clip)), 1)[0, :, :, 0, 0]
    assert seen[0].tolist() == [2, 3, 0]  # from the next frame
    assert seen[1].tolist() == [0, 1, 2]  # from the one before
    assert seen[2].tolist() == [1, 2, 3]


def test_relu_follows_the_sum() -> None:
    frames = torch.randn(4, 2, 3, 3)
    assert torch.equal(TemporalAggregation(2, Clock(2), relu=True)(frames), frames.relu())


def test_a_fixed_kernel_is_no_parameter_but_is_saved() -> None:
    mix = TemporalAggregation(8, Clock(), learn=False)
    assert not list(mix.parameters())
    assert set(mix.state_dict()) == {"weight"}


def test_an_adaptive_kernel_by_the_papers_words() -> None:
    torch.manual_seed(0)
    n, c, t = 2, 8, 4
    layer = TemporalAdaptive(c, t, Clock(n), init="paper", ends="zeros").eval()
    clip = torch.randn(n, c, t, 3, 3)
    course = clip.mean((3, 4))
    kernels = layer.G(course.reshape(n * c, t)).softmax(1)
    gated = clip * layer.L(course).sigmoid()[..., None, None]
    expected = F.conv3d(
        gated.reshape(1, n * c, t, 3, 3),
        kernels.reshape(n * c, 1, 3, 1, 1),
        padding=(1, 0, 0),
        groups=n * c,
    ).reshape(n, c, t, 3, 3)
    torch.testing.assert_close(unfold(layer(fold(clip)), n), expected)


def test_an_adaptive_kernel_starts_open_and_refuses_other_lengths() -> None:
    layer = TemporalAdaptive(8, 4, Clock(1))
    frames = torch.randn(1, 8, 3, 3).expand(4, -1, -1, -1)
    torch.testing.assert_close(layer(frames), frames)
    with pytest.raises(ModelError, match="made for 4 frames, got 5"):
        layer(torch.randn(5, 8, 3, 3))


@pytest.mark.parametrize("t", [1, 2, 5])
def test_pooling_halves_time(t: int) -> None:
    clip = torch.randn(2, 3, t, 4, 4)

    def pooled(op: str) -> Tensor:
        return unfold(TimePool(Clock(2), op)(fold(clip)), 2)  # type: ignore[arg-type]

    assert torch.equal(pooled("pick"), clip[:, :, ::2])
    torch.testing.assert_close(pooled("max"), F.max_pool3d(clip, (3, 1, 1), (2, 1, 1), (1, 0, 0)))
    means = [clip[:, :, max(0, k - 1) : k + 2].mean(2) for k in range(0, t, 2)]
    torch.testing.assert_close(pooled("mean"), torch.stack(means, 2))


def test_a_whole_clip_norm_is_torchs_on_the_unfolded_clip() -> None:
    norm = nn.GroupNorm(2, 4)
    nn.init.normal_(norm.weight)
    clip = torch.randn(3, 4, 5, 2, 3)
    torch.testing.assert_close(unfold(WholeClip(norm, Clock(3))(fold(clip)), 3), norm(clip))


LAYERS: dict[str, Callable[[Clock], nn.Module]] = {
    "time": lambda clock: TimeConv(16, 16, clock),
    "tam": lambda clock: TemporalAggregation(16, clock, init="difference"),
    "shift": lambda clock: TemporalShift(clock),
    "full": lambda clock: SpaceTimeConv(nn.Conv2d(16, 16, 3, padding=1), clock),
    "adaptive": lambda clock: TemporalAdaptive(16, 4, clock),
    "pool": lambda clock: TimePool(clock),
    "clip": lambda clock: WholeClip(nn.GroupNorm(2, 16), clock),
}


@pytest.mark.parametrize("name", LAYERS)
def test_layers_keep_channels_last_memory(name: str) -> None:
    frames = torch.randn(8, 16, 6, 6).contiguous(memory_format=torch.channels_last)
    assert is_channels_last(LAYERS[name](Clock(2))(frames))


@pytest.mark.parametrize("name", LAYERS)
def test_a_batch_is_its_members(name: str) -> None:
    torch.manual_seed(0)
    clock = Clock(1)
    layer = LAYERS[name](clock).eval()
    clips = torch.randn(3, 16, 4, 6, 6)
    alone = torch.cat([layer(fold(clip[None])) for clip in clips])
    clock.clips = 3
    torch.testing.assert_close(layer(fold(clips)), alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["time", "tam", "shift", "full", "pool"])
def test_gradients_are_right(name: str) -> None:
    torch.manual_seed(0)
    layer = LAYERS[name](Clock(1)).double()
    frames = torch.randn(3, 16, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (frames,))


def test_bfloat16_stays_bfloat16() -> None:
    mix = TemporalAggregation(2, Clock(2)).bfloat16()
    assert mix(torch.ones(2, 2, 1, 1).bfloat16()).dtype == torch.bfloat16
