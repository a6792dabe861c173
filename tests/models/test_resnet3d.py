from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.video import mc3_18, r2plus1d_18, r3d_18

from marey.models._create import create_model
from marey.models._info import model_info
from marey.models._weights import load_state
from marey.models.resnet3d import SpaceThenTime, middle_width

# Parameters and GMACs at 16x112x112 of the paper's table, as VMZ's model list gives them.
TABLE = {
    "r3d_18": (33_371_472, 40.70),
    "mc2_18": (11_400_528, 28.55),
    "mc3_18": (11_695_440, 43.34),
    "mc4_18": (12_727_632, 39.95),
    "mc5_18": (16_856_400, 39.90),
    "rmc2_18": (33_352_656, 39.75),
    "rmc3_18": (33_057_744, 24.95),
    "rmc4_18": (32_025_552, 29.09),
    "rmc5_18": (27_896_784, 30.79),
    "r2plus1d_18": (31_505_325, 40.52),
    "r2plus1d_34.ig65m_32_k400": (63_697_175, 152.36),
    "r2plus1d_34.ig65m_8_k400": (63_697_175, 38.09),
}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    info = model_info(name)
    assert info.params == TABLE[name][0]
    assert info.macs / 1e9 == pytest.approx(TABLE[name][1], abs=0.006)
    assert info.input.size == (112, 112)


@pytest.mark.parametrize("reference", [r3d_18, mc3_18, r2plus1d_18])
def test_equals_torchvision_with_the_same_state(reference: type[nn.Module]) -> None:
    torch.manual_seed(0)
    theirs = reference(num_classes=11)  # type: ignore[call-arg]
    for name, value in theirs.state_dict().items():
        if name.endswith(("running_var", "running_mean")):
            value.uniform_(0.5, 1.5)
    ours = create_model(reference.__name__, classes=11)
    report = load_state(ours, theirs.state_dict(), source="torchvision", layout="torchvision")
    assert report.fresh == report.dropped == ()
    clip = torch.randn(2, 3, 5, 40, 33)
    for train in (False, True):
        theirs.train(train)
        ours.train(train)
        torch.testing.assert_close(ours(clip), theirs(clip))


def test_time_is_strided_only_where_a_stage_looks_at_it() -> None:
    expected = {"r3d_18": 1, "mc2_18": 8, "mc3_18": 8, "mc4_18": 4, "mc5_18": 2}
    expected |= {"rmc2_18": 1, "rmc3_18": 1, "rmc4_18": 2, "rmc5_18": 4}
    with torch.device("meta"):
        clip = torch.empty(1, 3, 8, 32, 32)
        assert {name: create_model(name).body(clip).shape[2] for name in expected} == expected


def test_middle_widths_of_both_rules() -> None:
    assert [middle_width(*w) for w in ((64, 64), (64, 128), (128, 128), (256, 512))] == [
        144,
        230,
        288,
        921,
    ]
    with torch.device("meta"):
        widths = {
            name: [
                conv[0].out_channels
                for conv in create_model(name).body.layer2[0].modules()
                if isinstance(conv, SpaceThenTime)
            ]
            for name in ("r2plus1d_18", "r2plus1d_34")
        }
    assert widths == {"r2plus1d_18": [230, 230], "r2plus1d_34": [230, 288]}


def test_norms_train_as_torch_does_and_keep_caffe2s_epsilon() -> None:
    for name, eps in (("r2plus1d_18", 1e-5), ("r2plus1d_34", 1e-3)):
        with torch.device("meta"):
            norms = [m for m in create_model(name).modules() if isinstance(m, nn.BatchNorm3d)]
        assert {(norm.eps, norm.momentum) for norm in norms} == {(eps, 0.1)}
