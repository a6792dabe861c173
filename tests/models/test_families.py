"""Rules on the network families of timm, on others' networks, and on what cannot be understood."""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import pytest
import timm
import torch
import torchvision.models
from torch import Tensor, nn
from torch.nn.utils.parametrizations import weight_norm

from marey.errors import ModelError
from marey.models.timed import timed
from marey.testing.families import BEGIN, CONVNETS, END, HYBRIDS, LEFT_OUT, grouped, subject, write
from marey.testing.sweep import RULES, STILL, Row, Subject, attempt, randomise, sweep

PAGE = Path(__file__).parents[2] / "docs" / "timed.md"
GROUPS = "has groups"
NO_GATE = "no squeeze-and-excitation"
# Every refusal of the fast sweep, by network and rule.
REFUSED = {
    ("resnet10t", "clip"): NO_GATE,
    ("mobilenetv3_small_050", "split:width=paper"): GROUPS,
    ("convnext_zepto_rms", "split:width=paper"): GROUPS,
    ("convnext_zepto_rms", "clip"): NO_GATE,
    ("test_nfnet", "full:init=mean"): "standardises its kernel",
    ("test_nfnet", "split:width=paper"): "is a ScaledStdConv2d, for which",
    ("mambaout_femto", "split:width=paper"): GROUPS,
    ("mambaout_femto", "clip"): NO_GATE,
    ("starnet_s050", "split:width=paper"): GROUPS,
    ("starnet_s050", "clip"): NO_GATE,
}
FAST = (
    "resnet10t",
    "mobilenetv3_small_050",
    "convnext_zepto_rms",
    "test_nfnet",
    "mambaout_femto",
    "starnet_s050",
)


def check(rows: list[Row]) -> None:
    """Nothing failed, a still clip's answer is kept, and refusals are for a stated reason."""
    assert not [row for row in rows if row.verdict == "FAILED"]
    for row in rows:
        assert row.verdict == "refused" or (row.still is None) == (row.rule not in STILL)


@pytest.mark.parametrize("name", FAST)
def test_every_rule_on_networks_of_very_different_kinds(name: str) -> None:
    rows = list(sweep([subject(name)]))
    check(rows)
    assert [row.rule for row in rows] == list(RULES)
    refused = {row.rule: row.reason for row in rows if row.verdict == "refused"}
    expected = {rule: reason for (net, rule), reason in REFUSED.items() if net == name}
    assert refused.keys() == expected.keys()
    assert all(expected[rule] in reason for rule, reason in refused.items())


def test_convolutions_by_a_function_call_are_left_alone_or_refused() -> None:
    rows = {row.rule: row for row in sweep([subject("efficientnet_cc_b0_4e")], ["full", "tam"])}
    check(list(rows.values()))
    assert rows["full"].verdict == "refused"
    assert rows["full"].where == "blocks.4.0.conv_pw"
    assert "by a function call" in rows["full"].reason
    assert rows["tam"].verdict == "ok"


SMALL = [
    (module, names[0])
    for group in (CONVNETS, HYBRIDS)
    for module, names in group.items()
    if names[0] not in ("nasnetalarge", "pnasnet5large", "vgg11_bn", "coatnet_pico_rw_224")
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "rule"),
    [(name, rule) for (_, name), rule in zip(SMALL, cycle(("full", "split", "tam")), strict=False)],
)
def test_a_network_of_each_module(name: str, rule: str) -> None:
    """By one rule each, in turns; `python -m marey.testing.families` tries every rule on all."""
    rows = list(sweep([subject(name)], [rule]))
    check(rows)
    assert [row.verdict for row in rows] == ["ok"]


def test_every_module_of_timm_is_tried_or_left_out_with_a_reason() -> None:
    from timm.models import is_model_in_modules, list_modules

    assert {*CONVNETS, *HYBRIDS, *LEFT_OUT} == set(list_modules())
    assert not {*CONVNETS, *HYBRIDS} & set(LEFT_OUT)
    for module, name in grouped():
        assert is_model_in_modules(name, {module}), name


def test_the_page_lists_these_networks() -> None:
    section = PAGE.read_text(encoding="utf-8").partition(BEGIN)[2].partition(END)[0]
    listed = re.findall(r"^\| (\w+) \| `(\w+)` \|", section, re.MULTILINE)
    assert listed == list(grouped())
    assert "FAILED" not in section


def test_a_page_keeps_what_is_around_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"above\n{BEGIN}\nold\n{END}\nbelow\n")
    write(page, "new\n")
    assert page.read_text() == f"above\n{BEGIN}\nnew\n{END}\nbelow\n"
    page.write_text("nothing")
    with pytest.raises(ModelError, match="has no lines"):
        write(page, "new\n")


TORCHVISION = ("none", "full", "split", "tam", "gate", "pool", "clip", "rnn")


@pytest.mark.parametrize("make", ["resnet18", "mobilenet_v3_small", "convnext_tiny"])
def test_networks_of_torchvision(make: str) -> None:
    """They have one forward, without timm's cut into features and head."""
    build = getattr(torchvision.models, make)
    rows = list(sweep([Subject(make, lambda: build(num_classes=7))], TORCHVISION))
    check(rows)
    refused = {row.rule for row in rows if row.verdict == "refused"}
    assert refused == (set() if make == "mobilenet_v3_small" else {"clip"})


class Own(nn.Module):
    """A person's own network; `conv` is its second layer, `last` what follows the mean."""

    def __init__(self, conv: nn.Module | None = None, last: nn.Module | None = None) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, stride=4, padding=1)
        self.conv = conv or nn.Conv2d(8, 8, 3, padding=1)
        self.last = last or nn.Linear(8, 7)

    def forward(self, x: Tensor) -> Tensor:
        """N 3 H W → N 7."""
        y: Tensor = self.conv(self.stem(x).relu()).relu().mean((2, 3))
        return self.last(y)  # type: ignore[no-any-return]


class Reversed(nn.Conv2d):
    """Something of its own with the kernel, where nobody looks for it."""

    def forward(self, x: Tensor) -> Tensor:
        """As a convolution, mirrored."""
        return super().forward(x.flip(-1))


RUNS = [rule for rule in RULES if rule != "clip"]


@pytest.mark.parametrize("rule", RUNS)
def test_a_network_of_ones_own(rule: str) -> None:
    image = Own()
    randomise(image)
    check([attempt("own", image.double(), rule)])


def test_without_a_last_layer_classes_must_be_said() -> None:
    with pytest.raises(ModelError, match=r"no single linear layer .* Give `classes`"):
        timed(Own(last=nn.Identity()), "tam", frames=4)
    net = timed(Own(last=nn.Identity()), "tam", frames=4, classes=3)
    assert net(torch.randn(2, 3, 4, 32, 32)).shape == (2, 3)


@pytest.mark.parametrize(
    ("conv", "reason"),
    [
        (lambda: Reversed(8, 8, 3, padding=1), "conv: Reversed has a forward of its own"),
        (lambda: weight_norm(nn.Conv2d(8, 8, 3)), "conv: .* computes its kernel from something"),
    ],
)
def test_layers_that_are_not_understood(conv: Callable[[], nn.Module], reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        timed(Own(conv()), "full", frames=4)
    for rule in ("tam", "shift", "split"):  # these leave the layer as it is
        image = Own(conv())
        randomise(image)
        row = attempt("own", image.double(), rule)
        assert row.verdict == "ok", row


@pytest.mark.filterwarnings("ignore:Using padding='same'")
@pytest.mark.parametrize(
    ("mode", "padding", "kernel"),
    [("reflect", 1, 3), ("circular", 2, 5), ("zeros", "same", 4), ("zeros", "valid", 3)],
)
def test_other_padding_is_kept(mode: str, padding: int | str, kernel: int) -> None:
    image = Own(nn.Conv2d(8, 8, kernel, padding=padding, padding_mode=mode))
    randomise(image)
    check([attempt("own", image.double(), rule) for rule in ("full", "full:init=mean", "split")])


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("kind", ["StdConv2dSame", "ScaledStdConv2dSame", "Conv2dSame"])
def test_layers_that_pad_by_the_picture_and_standardise(kind: str, stride: int) -> None:
    # 63 pixels, so that the padding is not the same on both sides.
    image = Own(getattr(timm.layers, kind)(8, 8, 3, stride=stride))
    randomise(image, 63)
    rules = ("full", "split", "tam") if "Std" in kind else ("full", "full:init=mean", "split")
    for rule in rules:
        row = attempt("own", image.double(), rule, 63)
        assert row.verdict == "ok", row
    with pytest.raises(ModelError, match=f"conv: is a {kind}, for which the paper's"):
        timed(image, "split:width=paper", frames=4)


def test_layers_that_see_windows_of_a_frame_are_left_alone() -> None:
    """Their batch is windows, which would pass for frames; at 224 pixels there are several."""
    net = timed(timm.create_model("efficientvit_m0", num_classes=7), "full", frames=4)
    assert net.report.time is not None
    left = dict(net.report.time.left)
    assert len(left) == 9  # four heads with two each, and what joins them
    assert set(left.values()) == {"it sees windows of a frame as pictures of their own"}
    assert not {change.name for change in net.report.time.changes} & set(left)


def test_channels_last_features_and_pools_join_other_rules() -> None:
    check(list(sweep([subject("mambaout_femto")], ["full+pool", "pool+tam"])))


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("vit_tiny_patch16_224", "makes tokens"),
        ("mixer_s32_224", "makes tokens"),
        ("swin_tiny_patch4_window7_224", "only to cut the picture into patches"),
        ("efficientvim_m1", "gives list, not one tensor"),
    ],
)
def test_what_is_no_convnet_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ModelError, match=reason):
        timed(timm.create_model(name, num_classes=7), "tam", frames=4)


def test_no_convolution_no_layer_no_time() -> None:
    with pytest.raises(ModelError, match="no 2D convolution"):
        timed(nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2)), frames=4)
    with pytest.raises(ModelError, match=r"fits no layer .* stages 0, 1"):
        timed(Own(), "full:match=layer9", frames=4)
    with pytest.raises(ModelError, match="2 frames is shorter than the stride over time, 4"):
        timed(timm.create_model("resnet10t"), "pool:stages=1,2", frames=2)


def test_other_precisions_stay() -> None:
    net = timed(Own().bfloat16(), "full+pool:stages=1", frames=4, classes=2)
    assert {value.dtype for value in net.state_dict().values()} == {torch.bfloat16}
