from __future__ import annotations

import copy
import re

import pytest
import torch
from torch import Tensor, nn

from marey.errors import WeightsError
from marey.models._create import create_model
from marey.models._features import stage_features
from marey.models._info import model_info
from marey.models._net import Net
from marey.models._weights import load_state
from marey.models.x3d import Block, Gate
from marey.nn.widths import eights

# Parameters and GMACs: of bare names at the size of the training, of weights at that of the test,
# where the references' pools slide, and their last layers cost 0.005 (M) and 0.014 (L) more.
TABLE = {
    "x3d_xs": (3_794_274, 0.605),
    "x3d_s": (3_794_274, 1.963),
    "x3d_m": (3_794_274, 4.732),
    "x3d_m.k400": (3_794_274, 6.181),
    "x3d_l": (6_153_384, 18.37),
    "x3d_l.k400_pysf": (6_153_384, 24.764),
    "x3d_xl": (11_095_840, 35.84),
}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    info = model_info(name)
    assert info.params == TABLE[name][0]
    assert info.macs / 1e9 == pytest.approx(TABLE[name][1], abs=0.006)


def test_widths_are_multiples_of_eight() -> None:
    assert [eights(width) for width in (3.4, 12, 13.5, 34.8, 139.2)] == [8, 16, 16, 32, 136]


@pytest.mark.parametrize(
    ("name", "widths", "depths", "squeezed"),
    [
        ("x3d_m", [24, 48, 96, 192], [3, 5, 11, 7], [8, 8, 16, 32]),
        ("x3d_xl", [32, 72, 136, 280], [5, 10, 25, 15], [8, 16, 24, 40]),
    ],
)
def test_the_first_and_every_second_block_is_gated(
    name: str, widths: list[int], depths: list[int], squeezed: list[int]
) -> None:
    with torch.device("meta"):
        net = create_model(name)
    for number, width, depth, few in zip(range(2, 6), widths, depths, squeezed, strict=True):
        blocks = list(net.body.get_submodule(f"res{number}").children())
        found = [
            block.gate.fc1.out_channels if isinstance(block.gate, Gate) else None
            for block in blocks
            if isinstance(block, Block) and block.conv_c.out_channels == width
        ]
        assert found == [None if position % 2 else few for position in range(depth)]


def test_no_stage_strides_time() -> None:
    with torch.device("meta"):
        net = create_model("x3d_xs")
        found = stage_features(net, torch.empty(1, 3, 5, 33, 70))
    assert {name: tuple(maps.shape[1:]) for name, maps in found.items()} == {  # type: ignore[union-attr]
        "stem": (24, 5, 17, 35),
        "res2": (24, 5, 9, 18),
        "res3": (48, 5, 5, 9),
        "res4": (96, 5, 3, 5),
        "res5": (192, 5, 2, 3),
        "conv5": (432, 5, 2, 3),
        "fc1": (2048, 1, 1, 1),
        "head": (400,),
    }
    assert net.early() == 4


def test_a_gate_is_one_for_the_whole_clip() -> None:
    gate, x = Gate(16), torch.rand(2, 16, 4, 3, 5) + 1
    scale = gate(x) / x
    torch.testing.assert_close(scale, scale[:, :, :1, :1, :1].expand_as(x))


@pytest.fixture(scope="module")
def net() -> Net:
    """In double, with statistics as after training."""
    torch.manual_seed(0)
    made = create_model("x3d_xs", classes=7).double()
    scatter(made)
    return made


def scatter(module: nn.Module) -> None:
    """Norms as after training, also the last of each block, which start at zero."""
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm3d):
            for value in (norm.weight, norm.running_var):
                nn.init.uniform_(value, 0.5, 1.5)  # type: ignore[arg-type]
            for value in (norm.bias, norm.running_mean):
                nn.init.normal_(value, std=0.1)  # type: ignore[arg-type]


def as_the_author_has_it(net: Net) -> Net:
    """With a norm on the first shortcut too."""
    net = copy.deepcopy(net)
    norm = nn.BatchNorm3d(24).double().eval()
    scatter(norm)
    net.body.get_submodule("res2.0.shortcut").append(norm)  # type: ignore[operator]
    return net


def to_pyslowfast(name: str) -> str:
    name = re.sub(r"^body\.res(\d)\.(\d+)\.", r"s\1.pathway0_res\2.branch2.", name)
    name = re.sub(r"branch2\.conv_(\w)", r"branch2.\1", name)
    name = re.sub(r"branch2\.norm_(\w)", r"branch2.\1_bn", name)
    name = name.replace("branch2.gate", "branch2.se")
    name = name.replace("branch2.shortcut.0", "branch1").replace("branch2.shortcut.1", "branch1_bn")
    stem = {"body.stem.0": "conv_xy", "body.stem.1": "conv", "body.stem.2": "bn"}
    for ours, theirs in stem.items():
        name = name.replace(ours, f"s1.pathway0_stem.{theirs}")
    name = name.replace("body.conv5.0", "head.conv_5").replace("body.conv5.1", "head.conv_5_bn")
    return name.replace("body.fc1.1", "head.lin_5").replace("head.linear", "head.projection")


def to_mmaction2(name: str) -> str:
    numbers = {"a": "1", "b": "2", "c": "3"}
    name = re.sub(r"^body\.res(\d)", lambda found: f"backbone.layer{int(found[1]) - 1}", name)
    name = re.sub(r"\.conv_(\w)", lambda found: f".conv{numbers[found[1]]}.conv", name)
    name = re.sub(r"\.norm_(\w)", lambda found: f".conv{numbers[found[1]]}.bn", name)
    name = name.replace(".gate.", ".se_module.")
    name = name.replace("shortcut.0", "downsample.conv").replace("shortcut.1", "downsample.bn")
    stem = {
        "body.stem.0": "conv1_s.conv",
        "body.stem.1": "conv1_t.conv",
        "body.stem.2": "conv1_t.bn",
    }
    for ours, theirs in (stem | {"body.conv5.0": "conv5.conv", "body.conv5.1": "conv5.bn"}).items():
        name = name.replace(ours, f"backbone.{theirs}")
    return name.replace("body.fc1.1", "cls_head.fc1").replace("head.linear", "cls_head.fc2")


def published(net: Net, layout: str) -> dict[str, Tensor]:
    if layout == "pyslowfast":
        return {to_pyslowfast(name): value for name, value in net.state_dict().items()}
    state = {to_mmaction2(name): value for name, value in net.state_dict().items()}
    state["cls_head.fc1.weight"] = state["cls_head.fc1.weight"].flatten(1)
    return state


@pytest.mark.parametrize("layout", ["pyslowfast", "mmaction2"])
def test_the_norm_of_the_first_shortcut_is_folded_exactly(net: Net, layout: str) -> None:
    theirs = as_the_author_has_it(net)
    ours = create_model("x3d_xs", classes=7).double()
    report = load_state(ours, published(theirs, layout), source="file", layout=layout)
    assert report.fresh == report.dropped == ()
    counts = [sum(p.numel() for p in each.parameters()) for each in (theirs, ours)]
    assert counts[0] - counts[1] == ours.folded(layout) == 48
    clip = torch.randn(2, 3, 5, 33, 46).double()
    with torch.inference_mode():
        expected = theirs(clip)
        torch.testing.assert_close(ours(clip), expected, rtol=1e-12, atol=0)
        assert (net(clip) - expected).abs().max() > 1e-3 * expected.abs().max()


def test_pytorchvideo_folds_nothing() -> None:
    with torch.device("meta"):
        folded = {
            name: [create_model(name).folded(layout) for layout in ("pytorchvideo", "pyslowfast")]
            for name in ("x3d_l", "x3d_xl")
        }
    assert folded == {"x3d_l": [0, 48], "x3d_xl": [0, 64]}


@pytest.mark.parametrize("entry", ["weight", "bias", "running_mean", "running_var"])
def test_half_a_norm_is_not_folded(net: Net, entry: str) -> None:
    state = published(as_the_author_has_it(net), "pyslowfast")
    del state[f"s2.pathway0_res0.branch1_bn.{entry}"]
    with pytest.raises(WeightsError, match=r"3 unknown \(body.res2.0.shortcut.1"):
        load_state(copy.deepcopy(net), state, source="file", layout="pyslowfast")


def test_other_layouts_are_refused(net: Net) -> None:
    with pytest.raises(WeightsError, match="X3D cannot read the layout 'torchvision'"):
        net.convert({}, "torchvision")


def test_a_new_head_keeps_the_layer_before_it(net: Net) -> None:
    other = create_model("x3d_xs", classes=3).double()
    state = published(net, "mmaction2")
    report = load_state(other, state, source="file", layout="mmaction2", new_head=True)
    assert report.dropped == ("head.linear.weight", "head.linear.bias")
    fc1 = [each.body.get_parameter("fc1.1.weight") for each in (net, other)]
    assert torch.equal(*fc1)


def test_a_fresh_block_is_its_shortcut() -> None:
    block = create_model("x3d_xs", classes=7).body.get_submodule("res2.1")
    x = torch.randn(2, 24, 3, 4, 5)
    assert torch.equal(block(x), x.relu())
