from __future__ import annotations

import doctest
from copy import deepcopy

import pytest
import torch
from images import clip, image
from stream_nets import KINDS, drawn, network
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import marey.models._stream as module
from marey.errors import ModelError
from marey.models._create import create_model
from marey.models._net import Net
from marey.models._stream import State, Streaming, streaming
from marey.models.timed import Timed, timed

CAUSAL = [
    "none",
    "full:ends=causal",
    "full:ends=causal:kernel=4",
    "mixed:ends=causal",
    "split:ends=causal:init=paper",
    "shift:ends=causal",
    "tam:ends=causal:init=paper",
    "tam:ends=causal:kernel=1",
    "tam:ends=causal:kernel=5:dilation=2:init=paper",
    "tam:ends=causal:init=paper+rnn",
    "rnn:cell=gru",
]


def made(rule: str) -> Timed:
    return drawn(timed(image(), rule, frames=8, classes=3))


def stepped(
    live: Streaming, frames: Tensor, parts: list[int], state: State | None = None
) -> Tensor:
    """The logits of each frame of a clip that comes in `parts`."""
    found = []
    with torch.inference_mode():
        for part in frames.split(parts, dim=2):
            logits, state = live.step(part, state)
            assert logits.shape == (len(frames), part.shape[2], 3)
            assert all(len(kept) == len(frames) for kept in state)
            found.append(logits)
    return torch.cat(found, 1)


def answer(live: Streaming, logits: Tensor) -> Tensor:
    return logits.mean(1) if live.answer == "mean" else logits[:, -1]


@pytest.mark.parametrize("rule", CAUSAL)
@pytest.mark.parametrize("parts", [[8], [1] * 8, [3, 1, 4]])
def test_a_stream_is_its_clip_however_it_is_cut(rule: str, parts: list[int]) -> None:
    net, whole = made(rule), clip(frames=8)
    live = streaming(net)
    with torch.inference_mode():
        expected = net(whole)
    found = answer(live, stepped(live, whole, parts))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", CAUSAL)
def test_no_frame_depends_on_a_later_one(rule: str) -> None:
    live = streaming(made(rule))
    first, changed = clip(frames=6), clip(frames=6)
    changed[:, :, 4:] += 1
    a, b = stepped(live, first, [6]), stepped(live, changed, [6])
    torch.testing.assert_close(a[:, :4], b[:, :4], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(a[:, 4:], b[:, 4:], rtol=1e-3)


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_are_what_a_stream_begins_with(kind: str) -> None:
    live = streaming(network(kind))
    frames = clip(frames=4)
    with torch.inference_mode():
        begun, state = live.step(frames)
        zeros = tuple(torch.zeros_like(kept) for kept in state)
        assert torch.equal(live.step(frames, zeros)[0], begun)
    assert (len(state) > 0) == (kind != "none")


@pytest.mark.parametrize("kind", KINDS)
def test_streams_of_other_ages_make_a_batch(kind: str) -> None:
    live = streaming(network(kind))
    one, two = clip(frames=4)[:1], 1 - clip(frames=4)[:1]
    with torch.inference_mode():
        _, young = live.step(one[:, :, :1])
        _, old = live.step(two[:, :, :3])
        expected = torch.cat(
            [live.step(one[:, :, 1:2], young)[0], live.step(two[:, :, 3:], old)[0]]
        )
        both = tuple(torch.cat(pair) for pair in zip(young, old, strict=True))
        found, _ = live.step(torch.cat([one[:, :, 1:2], two[:, :, 3:]]), both)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_streams_do_not_disturb_each_other_nor_clips() -> None:
    net = made("tam:ends=causal:init=paper")
    live = streaming(net)
    one, two = clip(frames=4), 1 - clip(frames=4)
    with torch.inference_mode():
        alone = live.step(one[:, :, 2:], live.step(one[:, :, :2])[1])[0]
        _, state = live.step(one[:, :, :2])
        live.step(two)
        net(two)
        assert torch.equal(live.step(one[:, :, 2:], state)[0], alone)


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("none", ("mean", True)),
        ("shift", ("mean", True)),
        ("lstm", ("mean", False)),
        ("gru", ("mean", False)),
        ("movinet", ("last", False)),
    ],
)
def test_how_a_clips_answer_follows_and_what_stays(kind: str, how: tuple[str, bool]) -> None:
    live = streaming(network(kind))
    assert (live.answer, live.forgets) == how
    frames = clip(n=1, frames=12)
    changed = frames.clone()
    changed[:, :, 0] += 1
    apart = (stepped(live, frames, [12]) - stepped(live, changed, [12])).abs()[0].amax(-1)
    assert apart[0] > 0
    assert (apart[-1] == 0) == live.forgets


@pytest.mark.parametrize(
    ("rule", "reason"),
    [
        ("tam", "looks 1 frames ahead; make its rule `ends=causal`"),
        ("full:ends=replicate", "looks 1 frames ahead"),
        ("pool", "shortens time by 2"),
        ("gate", "sees the whole clip"),
        ("segments", "its head, Segments, needs the end"),
        ("rnn:both=true", "its head, Recurrent, needs the end"),
        ("tam:kernel=1", "has ends='zeros'"),
    ],
)
def test_what_cannot_stream_says_why(rule: str, reason: str) -> None:
    with pytest.raises(ModelError, match=f"cannot run as a stream: .*{reason}"):
        streaming(timed(image(), rule, frames=4, classes=2))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("r3d_hara_10", "keeps nothing of the frames before"),
        ("movinet_a0", "looks ahead; take movinet_a0_stream"),
        ("gsm_inception_v3", "looks 1 frames ahead"),
    ],
)
def test_so_do_the_zoos_networks(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=f"{name}: cannot run as a stream: .*{reason}"):
        streaming(create_model(name, classes=2))


@pytest.mark.parametrize("kind", ["shift", "lstm", "movinet"])
def test_a_state_of_something_else_is_refused(kind: str) -> None:
    live = streaming(network(kind))
    with torch.inference_mode():
        _, state = live.step(clip(frames=1))
        with pytest.raises(ModelError, match="a state does not fit"):
            live.step(clip(n=1, frames=1), state)
        with pytest.raises(ModelError, match="of another network"):
            live.step(clip(frames=1), (*state, state[-1]))
        with pytest.raises(ModelError, match="takes clips N 3 T H W"):
            live.step(clip(frames=1)[0], state)


def test_a_state_holds_on_to_nothing_else() -> None:
    """A view of the last frames would keep all frames that they were cut from."""
    live = streaming(network("shift"))
    with torch.inference_mode():
        _, state = live.step(clip(n=1, frames=20))
    for kept in state:
        assert kept.untyped_storage().nbytes() == kept.numel() * kept.element_size()
        assert kept.shape[1] == 1


def macs(net: Net, frames: int, *, steps: bool) -> int:
    """Counted, without computing them: of a clip, or of a step of so many frames."""
    net = deepcopy(net).to("meta")
    x = torch.empty(1, 3, frames, *net.input.size, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        streaming(net).step(x) if steps else net(x)
    return counter.get_total_flops() // 2


def per_clip(net: Net) -> int:
    """What a head computes once a clip, and of a stream after each frame."""
    layers = [m for m in net.head.children() if isinstance(m, nn.Linear)]
    return sum(layer.weight.numel() for layer in layers)


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_frame_costs_its_share_of_a_clip(kind: str) -> None:
    net = network(kind)
    clip, step = macs(net, 12, steps=False), macs(net, 1, steps=True)
    assert 12 * step == clip + 11 * per_clip(net)


@pytest.mark.parametrize(
    ("name", "options", "share"),
    [
        ("efficientnet_lite0", {"rule": "tam:ends=causal"}, 0.99),
        ("efficientnet_lite0", {"rule": "shift:ends=causal"}, 0.99),
        ("lrcn_resnet50_lstm", {}, 0.99),
        ("movinet_a0_stream", {}, 0.95),  # whose head is a 20th of a frame's work
    ],
)
@pytest.mark.parametrize("parts", [1, 4])
def test_sliding_windows_cost_their_length_over_their_step_as_much(
    name: str, options: dict[str, str], share: float, parts: int
) -> None:
    net = create_model(name, **options)  # type: ignore[arg-type]
    length = net.input.frames
    new = length / parts  # frames, from a window to the next
    windows = macs(net, length, steps=False) / new
    assert windows / macs(net, 1, steps=True) == pytest.approx(parts, rel=1 - share)


def test_examples_run() -> None:
    assert doctest.testmod(module).failed == 0
