from __future__ import annotations

import doctest

import pytest
import torch
from images import clip, image
from torch import nn

import marey.models._stream as module
from marey.errors import ModelError
from marey.models._stream import StreamNet
from marey.models.timed import Timed, timed

CAUSAL = [
    "none",
    "full:ends=causal",
    "full:ends=causal:kernel=4",
    "mixed:ends=causal",
    "split:ends=causal:init=paper",
    "shift:ends=causal",
    "tam:ends=causal:init=paper",
    "tam:ends=causal:kernel=5:dilation=2:init=paper",
    "tam:ends=causal:init=paper+rnn",
    "rnn:cell=gru",
]


def drawn(rule: str) -> Timed:
    """A network whose kernels over time look at every frame that they can."""
    net = timed(image(), rule, frames=8, classes=3)
    assert net.report.time is not None
    torch.manual_seed(1)
    for change in net.report.time.changes:
        layer = net.body.net.get_submodule(change.name)
        weight = getattr(layer, "weight", None)
        if weight is not None:
            nn.init.normal_(weight, std=0.1)
    return net.eval()


@pytest.mark.parametrize("rule", CAUSAL)
@pytest.mark.parametrize("parts", [[8], [1] * 8, [3, 1, 4]])
def test_a_stream_is_its_clip_however_it_is_cut(rule: str, parts: list[int]) -> None:
    net = drawn(rule)
    whole = clip(frames=8)
    live, state, found = StreamNet(net), None, []
    with torch.inference_mode():
        for frames in whole.split(parts, dim=2):
            logits, state = live.step(frames, state)
            assert logits.shape == (2, frames.shape[2], 3)
            found.append(logits)
        expected = net(whole)
    torch.testing.assert_close(torch.cat(found, 1).mean(1), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", CAUSAL)
def test_no_frame_depends_on_a_later_one(rule: str) -> None:
    live = StreamNet(drawn(rule))
    first, changed = clip(frames=6), clip(frames=6)
    changed[:, :, 4:] += 1
    with torch.inference_mode():
        a, b = live.step(first)[0], live.step(changed)[0]
    torch.testing.assert_close(a[:, :4], b[:, :4], rtol=1e-4, atol=1e-5)
    assert not torch.allclose(a[:, 4:], b[:, 4:], rtol=1e-3)


def test_streams_do_not_disturb_each_other_nor_clips() -> None:
    net = drawn("tam:ends=causal:init=paper")
    live = StreamNet(net)
    one, two = clip(frames=4), 1 - clip(frames=4)
    with torch.inference_mode():
        alone = live.step(one[:, :, 2:], live.step(one[:, :, :2])[1])[0]
        _, state = live.step(one[:, :, :2])
        live.step(two)
        net(two)
        assert torch.equal(live.step(one[:, :, 2:], state)[0], alone)


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
        StreamNet(timed(image(), rule, frames=4, classes=2))


def test_examples_run() -> None:
    assert doctest.testmod(module).failed == 0
