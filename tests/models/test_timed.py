from __future__ import annotations

import copy
import doctest
from collections.abc import Callable
from pathlib import Path

import pytest
import timm
import torch
from images import clip, image, still
from torch import nn

import marey.models.timed as module
from marey.errors import ModelError, WeightsError
from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model, load_checkpoint
from marey.models._net import param_groups, replace_head
from marey.models._weights import load_state
from marey.models.timed import Timed, timed
from marey.nn.inflated import SpaceTimeConv
from marey.nn.mix import TemporalAggregation, TemporalShift, TimeConv
from marey.nn.time import OverTime
from marey.testing.sweep import randomise

# Rules that start where a still clip has the image network's answer.
KEEPING = [
    "none",
    "full",
    "full:init=mean",
    "full:kernel=5:dilation=2",
    "full:ends=causal:kernel=2",
    "full:init=difference",
    "mixed",
    "mixed:stages=2,3,4",
    "split",
    "split:init=difference",
    "split:order=time-space",
    "split:ends=causal",
    "tam",
    "tam:ends=causal",
    "tam:init=difference",
    "shift:ends=replicate",
    "gate",
    "pool",
    "full:stride=2,3",
    "segments:parts=2",
    "tam+segments:parts=4",
]
DRAWN = [
    "full:init=paper",
    "split:init=paper",
    "split:width=paper",
    "shift",
    "shift:ends=causal",
    "tam:init=shift",
    "tam:init=paper:relu=true",
    "gate:init=paper",
]
HEADS = ["rnn", "rnn:cell=gru:both=true", "conv1d", "tam+rnn"]
EVERY = KEEPING + DRAWN


@pytest.mark.parametrize("rule", KEEPING)
def test_a_still_clip_has_the_image_networks_answer(rule: str) -> None:
    net = image()
    found = timed(net, rule, frames=8)(still(8))
    expected = net(still(8)[:, :, 0])
    assert (found - expected).abs().max() < 1e-5 * expected.abs().max()


@pytest.mark.parametrize("rule", ["full", "split", "tam", "tam:kernel=5"])
def test_centre_and_identity_are_exact_on_any_clip(rule: str) -> None:
    net = image().double()
    found = timed(net, rule, frames=4)(clip().double())
    expected = timed(net, "none", frames=4)(clip().double())
    torch.testing.assert_close(found, expected, rtol=1e-12, atol=0)


@pytest.mark.parametrize("rule", ["shift", "full:init=paper", "tam:init=paper", "gate:init=paper"])
def test_what_does_not_keep_a_still_clip_is_known(rule: str) -> None:
    net = image()
    expected = net(still(8)[:, :, 0])
    found = timed(net, rule, frames=8)(still(8))
    assert (found - expected).abs().max() > 1e-3 * expected.abs().max()


def test_frames_logits_are_averaged() -> None:
    net = image()
    expected = torch.stack([net(frame) for frame in clip().unbind(2)]).mean(0)
    torch.testing.assert_close(timed(net, frames=4)(clip()), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("rule", EVERY + HEADS)
def test_a_batch_is_its_members(rule: str) -> None:
    net = timed(image(), rule, frames=4, classes=3)
    alone = torch.cat([net(one[None]) for one in clip(3)])
    torch.testing.assert_close(net(clip(3)), alone, rtol=1e-4, atol=1e-5)


def stepped(net: Timed, rate: float = 0.1) -> None:
    """One step of gradient descent."""
    net.train()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.eval()
    optimiser = torch.optim.SGD(param_groups(net, rate))
    loss = nn.functional.cross_entropy(net(clip()), torch.tensor([0, 1]))
    loss.backward()
    optimiser.step()
    net.eval()


def reversal(net: Timed) -> float:
    """How much the answer changes, relatively, when the clip is shown backwards."""
    with torch.inference_mode():
        there, back = net(clip()), net(clip().flip(2))
    return float((there - back).abs().max() / there.abs().max())


@pytest.mark.parametrize("rule", [*EVERY, *HEADS])
def test_time_matters(rule: str) -> None:
    """At once for what starts with time; after one step for all but `none`, and what only pools."""
    net = timed(image(), rule, frames=4, classes=3)
    if rule.startswith(("shift", "tam:init=shift")) or "init=difference" in rule:
        assert reversal(net) > 1e-4
    stepped(net)
    if rule == "none":
        assert reversal(net) < 1e-5
    elif rule != "pool":  # symmetric, and nothing in it learns
        assert reversal(net) > 1e-5


@pytest.mark.parametrize("rule", EVERY + HEADS)
def test_what_is_new_learns(rule: str) -> None:
    net = timed(image(), rule, frames=4, classes=3).train()
    nn.functional.cross_entropy(net(clip()), torch.tensor([0, 1])).backward()
    assert net.report.time is not None
    for name in net.report.time.new:
        if "mix.G.0" in name or "mix.L.0" in name or "mix.L.1" in name or "mix.G.1" in name:
            continue  # behind a last layer that starts at zero
        gradient = net.get_parameter(name).grad
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        assert gradient.any(), name


def test_the_given_network_stays_as_it_was() -> None:
    net = image()
    before = copy.deepcopy(net.state_dict())
    made = timed(net, "full+segments", frames=4, classes=2)
    stepped(made)
    assert all(torch.equal(net.state_dict()[name], value) for name, value in before.items())
    assert isinstance(net.get_classifier(), nn.Linear)


def test_what_a_rule_is_about() -> None:
    def changed(rule: str) -> list[str]:
        report = timed(image("resnet18"), rule, frames=4).report.time
        assert report is not None
        return [change.name for change in report.changes]

    convs = [f"layer{k}.{b}.conv{c}" for k in range(1, 5) for b in range(2) for c in (1, 2)]
    firsts = [name for name in convs if name.endswith("1")]
    assert changed("full") == changed("split") == ["conv1", *convs]
    assert changed("mixed") == ["conv1", *convs[:4]]  # MC3
    assert changed("mixed:stages=2,3,4") == convs[4:]  # rMC3
    assert changed("tam") == changed("shift") == firsts
    assert changed("tam:every=2") == firsts[::2]
    assert changed("tam:stages=4") == changed("tam:stages=last") == firsts[-2:]
    assert changed(r"tam:match=layer3\.1") == ["layer3.1.conv1"]
    assert changed("full:stride=2,:stages=2") == ["layer2.0.downsample.0", *convs[4:8]]
    assert changed("full:layers=last") == changed("tam:layers=last") == convs[-1:]
    assert changed("pool:stages=2,3") == ["layer2", "layer3"]
    bottlenecks = timed(image("resnet50"), "gate", frames=4).report.time
    assert bottlenecks is not None
    assert all(change.name.endswith("conv2") for change in bottlenecks.changes)


def test_the_report_tells_what_happened() -> None:
    report = timed(image(), "split:init=paper+segments", frames=4, classes=2).report
    text = str(report)
    assert text.startswith("split:init=paper+segments: ")
    assert "paper" in text
    assert report.time is not None
    assert any(name.endswith("time.weight") for name in report.time.new)


def test_without_residual_blocks_layers_behind_the_stem_are_taken() -> None:
    net = timed(image("vgg11"), "tam", frames=2)
    mixes = [m for m in net.modules() if isinstance(m, TemporalAggregation)]
    assert len(mixes) == 7


def test_time_strides_and_the_shortcut_follows() -> None:
    net = timed(image(), "full:stride=2,3", frames=8)
    assert net.body(clip(frames=8)).shape[2] == 2
    assert net.body(clip(frames=7)).shape[2] == 2
    assert net.body.stride == 4
    with pytest.raises(ModelError, match="at least 4 frames"):
        net(clip(frames=3))
    with pytest.raises(ModelError, match="a clip of 3 frames is shorter"):
        timed(image(), "full:stride=2,3", frames=3)


def test_strided_blocks_are_those_of_a_3d_network() -> None:
    """A block with a stride over time, against the same layers as `nn.Conv3d`."""
    net = timed(image("resnet18"), "full:stages=2:stride=2", frames=6)
    block = net.body.net.layer2[0]
    for layer in (block.conv1, block.conv2):
        nn.init.normal_(layer.weight, std=0.05)
    x = torch.randn(2, 64, 6, 8, 8)

    def norm(layer: nn.Module, value: torch.Tensor) -> torch.Tensor:
        flat = value.transpose(1, 2).flatten(0, 1)
        return layer(flat).reshape(2, -1, *flat.shape[1:]).transpose(1, 2)

    conv3d = nn.functional.conv3d
    y = norm(block.bn1, conv3d(x, block.conv1.weight, stride=2, padding=1)).relu()
    y = norm(block.bn2, conv3d(y, block.conv2.weight, padding=1))
    around = block.downsample[0].conv.weight[:, :, None]
    expected = (y + norm(block.downsample[1], conv3d(x, around, stride=2))).relu()
    net.body.clock.clips = 2
    found = block(x.transpose(1, 2).flatten(0, 1))
    torch.testing.assert_close(found.reshape(2, 3, *found.shape[1:]).transpose(1, 2), expected)


def test_squeeze_and_excitation_over_the_whole_clip() -> None:
    net = image("test_byobnet")
    per_frame, per_clip = timed(net, frames=4), timed(net, "clip", frames=4)
    assert not torch.allclose(per_frame(clip()), per_clip(clip()), rtol=1e-3)
    torch.testing.assert_close(per_clip(still()), net(still()[:, :, 0]), rtol=1e-4, atol=1e-5)


def test_an_image_networks_state_is_taken_over() -> None:
    """What `timed` does to a network with weights, and loading them afterwards, are the same."""
    for rule in ("full:init=mean", "split", "tam", "shift", "pool", "tam+segments:parts=2", "gate"):
        net = image()
        bare = image()
        randomise(bare, seed=1)
        loaded = timed(bare, rule, frames=4, classes=5)
        report = load_state(loaded, net.state_dict(), source="test", layout="image")
        assert all(name.startswith("body.") for name in report.fresh)
        torch.testing.assert_close(loaded(clip()), timed(net, rule, frames=4)(clip()))


def test_an_image_networks_state_must_fit() -> None:
    loaded = timed(image(), "tam", frames=4)
    state = dict(image().state_dict())
    del state["layer1.0.conv1.weight"]
    with pytest.raises(WeightsError, match="1 missing"):
        load_state(loaded, state, source="test", layout="image")
    with pytest.raises(WeightsError, match="cannot read the layout 'bogus'"):
        load_state(loaded, state, source="test", layout="bogus")


@pytest.mark.parametrize("rule", ["full", "split:width=paper", "shift+rnn", "gate", "none"])
def test_a_network_of_timms_comes_back_from_its_checkpoint(tmp_path: Path, rule: str) -> None:
    made = timed(image("test_resnet"), rule, frames=4, classes=["sit", "stand"])
    save_checkpoint(made, tmp_path)
    again = load_checkpoint(tmp_path)
    assert isinstance(again, Timed)
    assert (again.labels, again.input, again.options["rule"]) == (made.labels, made.input, rule)
    assert torch.equal(again(clip()), made(clip()))


def test_a_persons_own_network_says_how_to_come_back(tmp_path: Path) -> None:
    class Mine(nn.Sequential):
        pass

    torch.manual_seed(0)
    mine = Mine(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    made = timed(mine, "full", frames=4, classes=2)
    assert made(clip()).shape == (2, 2)
    save_checkpoint(made, tmp_path)
    with pytest.raises(ModelError, match=r"network 'Mine' .* by `marey.timed`"):
        load_checkpoint(tmp_path)


def test_a_new_head_for_other_classes() -> None:
    net = timed(image("test_resnet"), "tam", frames=4)
    replace_head(net, 2, ("sit", "stand"))
    assert net(clip()).shape == (2, 2)
    assert timed(image(), frames=4, classes=["a", "b", "c"]).labels == ("a", "b", "c")


def test_rates_by_part() -> None:
    net = timed(image(), "tam", frames=4, classes=2)
    groups = param_groups(net, 1e-3, head_lr=1e-2, time_lr=1e-1, weight_decay=0.05)
    rates = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    assert len(rates) == len(list(net.parameters()))
    for name, parameter in net.named_parameters():
        rate, decay = rates[id(parameter)]
        assert rate == (1e-1 if ".mix." in name else 1e-2 if name.startswith("head.") else 1e-3)
        assert decay == (0 if ".mix." in name or parameter.ndim == 1 else 0.05)


def test_stages_are_the_networks_own() -> None:
    names = [name for name, _ in timed(image("resnet18"), "full", frames=4).stages()]
    assert names == ["conv1", "layer1", "layer2", "layer3", "layer4", "head"]
    names = [name for name, _ in create_model("efficientnet_lite0").stages()]
    assert names == ["conv_stem", *(f"blocks.{k}" for k in range(7)), "conv_head", "head"]


class Windows(nn.Module):
    """Cuts large pictures into four, and so hides from a look at a small one."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.linear = nn.Conv2d(3, 8, 3, padding=1), nn.Linear(8, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        windows = x.shape[-1] > 224
        if windows:
            x = torch.cat([half for part in x.chunk(2, 2) for half in part.chunk(2, 3)])
        x = self.conv(x).mean((2, 3))
        return self.linear(x.unflatten(0, (4, -1)).mean(0) if windows else x)  # type: ignore[no-untyped-call,no-any-return]


def test_windows_are_not_taken_for_frames() -> None:
    net = timed(Windows(), "full", frames=4)
    assert net(torch.randn(1, 3, 4, 224, 224)).shape == (1, 2)
    with pytest.raises(ModelError, match=r"16 pictures of 1 clips of 4 frames: .* into windows"):
        net(torch.randn(1, 3, 4, 256, 256))


def test_what_is_early() -> None:
    assert create_model("efficientnet_lite0").early() == 6
    assert timed(image("resnet18"), "full", frames=4).early() == 4
    assert timed(image("convnext_atto"), "tam", frames=4).early() == 4


@pytest.mark.parametrize(
    ("make", "rule", "message"),
    [
        (lambda: nn.Sequential(nn.Flatten(), nn.Linear(3 * 224 * 224, 2)), "none", "no 2D conv"),
        (lambda: timm.create_model("vit_tiny_patch16_224"), "tam", "tokens .* transformers are"),
        (lambda: nn.Linear(3, 2), "none", "cannot be run on a picture of 224x224"),
        (lambda: image(), "tam:stages=9", r"fits no layer .* stages 0, 1"),
        (lambda: image(), "tam:match=nothing", "fits no layer"),
        (lambda: image(), "tam+full", "was changed by a rule before this one"),
        (lambda: image(), "full:stride=9", "no layer of stage 9 mixes time"),
        (lambda: image(), "clip", "no squeeze-and-excitation"),
        (lambda: image(), "rnn", "starts from nothing. Give `classes`"),
        (lambda: image(), "gate:ends=causal", "cannot be causal"),
        (lambda: image(), "full:kernel=4", "must be odd, or causal"),
    ],
)
def test_what_cannot_be_is_refused(make: Callable[[], nn.Module], rule: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        timed(make(), rule, frames=4)


def test_other_wrong_values() -> None:
    with pytest.raises(ModelError, match="frames must be at least 1"):
        timed(image(), frames=0)
    with pytest.raises(ModelError, match="at least 1"):
        timed(image(), frames=4, classes=0)
    with pytest.raises(ModelError, match="'a' 2 times"):
        timed(image(), frames=4, classes=["a", "a"])


def test_kinds_of_layers() -> None:
    def kinds(rule: str) -> set[type]:
        net = timed(image(), rule, frames=4, classes=2)
        return {type(m) for m in net.modules() if isinstance(m, OverTime)}

    assert kinds("none") == kinds("segments") == set()
    assert kinds("full") == kinds("mixed") == {SpaceTimeConv}
    assert kinds("split") == {TimeConv}
    assert kinds("shift") == {TemporalShift}
    assert kinds("tam") == {TemporalAggregation}


def test_examples_run() -> None:
    assert doctest.testmod(module).failed == 0
