from __future__ import annotations

import re

import pytest
import torch
from torch import nn

from marey.errors import WeightsError
from marey.models._create import create_model
from marey.models._features import stage_features
from marey.models._info import model_info
from marey.models._weights import load_state
from marey.models.csn import Block, preserved, reduced

# Parameters and GMACs of bare names at 32x224x224, of weights at 32x256x256, as VMZ's tables count.
TABLE = {
    "ircsn_50": (13_131_152, 42.31),
    "ircsn_152": (29_703_568, 74.05),
    "ircsn_152.k400": (29_703_568, 96.71),
    "ipcsn_152": (33_016_592, 83.30),
    "ipcsn_152.ig65m_k400": (33_016_592, 108.79),
}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    info = model_info(name)
    assert info.params == TABLE[name][0]
    assert info.macs / 1e9 == pytest.approx(TABLE[name][1], abs=0.006)


def test_all_but_the_first_stage_stride_time_too() -> None:
    with torch.device("meta"):
        found = stage_features(create_model("ircsn_50"), torch.empty(1, 3, 13, 65, 90))
    assert [tuple(maps.shape[1:]) for maps in found.values()] == [  # type: ignore[union-attr]
        (64, 13, 17, 23),
        (256, 13, 17, 23),
        (512, 7, 9, 12),
        (1024, 4, 5, 6),
        (2048, 2, 3, 3),
        (400,),
    ]


def test_no_relu_between_what_preserves_interactions_and_the_depthwise() -> None:
    conv, _, depthwise, *_ = layers = preserved(8, 2)
    assert [type(layer) for layer in layers] == [
        *(nn.Conv3d, nn.BatchNorm3d),
        *(nn.Conv3d, nn.BatchNorm3d, nn.ReLU),
    ]
    assert isinstance(conv, nn.Conv3d)
    assert (conv.kernel_size, conv.stride, conv.groups) == ((1, 1, 1), (1, 1, 1), 1)
    assert isinstance(depthwise, nn.Conv3d)
    assert (depthwise.kernel_size, depthwise.stride, depthwise.groups) == ((3,) * 3, (2,) * 3, 8)
    assert [type(layer) for layer in reduced(8, 2)] == [type(layer) for layer in layers[2:]]


def test_norms_keep_caffe2s_epsilon_and_train_as_torch_does() -> None:
    with torch.device("meta"):
        modules = create_model("ipcsn_152").modules()
    norms = {(m.eps, m.momentum) for m in modules if isinstance(m, nn.BatchNorm3d)}
    assert norms == {(1e-3, 0.1)}


PARTS = ("conv", "bn")


def to_mmaction2(name: str) -> str:
    """What stands for the 3x3x3 is counted in pairs of convolution and norm there."""
    name = name.replace("body.stem", "backbone.conv1").replace("body.", "backbone.")
    name = name.replace("head.linear", "cls_head.fc_cls")
    name = re.sub(r"conv2\.(\d)", lambda f: f"conv2.{int(f[1]) // 2}.{PARTS[int(f[1]) % 2]}", name)
    return re.sub(r"(conv[13]|downsample)\.(\d)", lambda f: f"{f[1]}.{PARTS[int(f[2])]}", name)


@pytest.mark.parametrize(("name", "pair"), [("ircsn_50", 0), ("ipcsn_152", 1)])
def test_names_of_mmaction2(name: str, pair: int) -> None:
    with torch.device("meta"):
        net = create_model(name, classes=3)
        state = {to_mmaction2(ours): value for ours, value in net.state_dict().items()}
        assert f"backbone.layer4.2.conv2.{pair}.bn.running_var" in state
        assert list(net.convert(state, "mmaction2")) == list(net.state_dict())
        other = create_model("ircsn_152" if pair else "ipcsn_152", classes=3)
        with pytest.raises(WeightsError, match="Give the model and options"):
            load_state(other, state, source="file", layout="mmaction2")
    with pytest.raises(WeightsError, match="CSN cannot read the layout 'pytorchvideo'"):
        net.convert(state, "pytorchvideo")


def test_a_block_is_projected_where_width_or_size_change() -> None:
    with torch.device("meta"):
        kinds = [type(Block(reduced, *sizes).downsample) for sizes in ((64, 64, 1), (64, 64, 2))]
        assert kinds == [nn.Identity, nn.Sequential]
        assert Block(preserved, 64, 256, 1)(torch.empty(2, 64, 3, 5, 7)).shape[1] == 256
