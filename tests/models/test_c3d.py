from __future__ import annotations

import re

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from marey.errors import WeightsError
from marey.models._create import create_model
from marey.models._features import stage_features
from marey.models._info import model_info
from marey.models._weights import load_state
from marey.models.c3d import averaged


def test_parameters_and_macs() -> None:
    info = model_info("c3d.ucf101")
    assert (info.params, info.classes) == (78_409_573, 101)
    assert info.macs / 1e9 == pytest.approx(38.55, abs=0.006)


@pytest.mark.parametrize(
    ("clip", "conv5"),
    [
        ((16, 112, 112), (1, 4, 4)),
        ((31, 96, 127), (1, 4, 4)),  # as small and as large as the reference can take
        ((32, 95, 128), (2, 3, 5)),
        ((16, 16, 31), (1, 1, 1)),
    ],
)
def test_the_last_pool_pads_space_and_not_time(
    clip: tuple[int, int, int], conv5: tuple[int, int, int]
) -> None:
    with torch.device("meta"):
        net = create_model("c3d")
        found = stage_features(net, torch.empty(1, 3, *clip))
    assert found["conv5"].shape == (1, 512, *conv5)  # type: ignore[union-attr]
    assert found["fc"].shape == (1, 4096, 1, 1, 1)  # type: ignore[union-attr]
    assert net.early() == 4


@pytest.mark.parametrize("sizes", [(1, 4, 4), (2, 7, 9), (1, 1, 3), (3, 5, 4)])
def test_other_maps_are_averaged_to_the_grid(sizes: tuple[int, int, int]) -> None:
    x = torch.randn(2, 3, *sizes)
    found = averaged(averaged(averaged(x, 2, 1), 3, 4), 4, 4)
    torch.testing.assert_close(found, F.adaptive_avg_pool3d(x, (1, 4, 4)))
    assert sizes != (1, 4, 4) or torch.equal(found, x)


def test_biases_and_no_norms() -> None:
    with torch.device("meta"):
        modules = list(create_model("c3d").modules())
    convs = [module for module in modules if isinstance(module, nn.Conv3d)]
    assert [conv.out_channels for conv in convs] == [64, 128, 256, 256, 512, 512, 512, 512]
    assert all(conv.bias is not None for conv in convs)
    assert not [module for module in modules if isinstance(module, nn.BatchNorm3d)]
    assert [module.p for module in modules if isinstance(module, nn.Dropout)] == [0.5, 0.5]


def to_mmaction2(name: str) -> str:
    """A stage is convolution, ReLU, convolution, …: its second convolution is number 2."""
    name = re.sub(r"^body\.conv(\d)\.0", r"backbone.conv\1a.conv", name)
    name = re.sub(r"^body\.conv(\d)\.2", r"backbone.conv\1b.conv", name)
    return name.replace("body.fc.", "backbone.").replace("head.linear", "cls_head.fc_cls")


def test_a_new_head_keeps_fc6_and_fc7() -> None:
    with torch.device("meta"):
        state = {
            to_mmaction2(name): value for name, value in create_model("c3d").state_dict().items()
        }
        net = create_model("c3d", classes=5)
        assert list(net.convert(state, "mmaction2")) == list(net.state_dict())
        report = load_state(net, state, source="file", layout="mmaction2", new_head=True)
        assert report.dropped == report.fresh == ("head.linear.weight", "head.linear.bias")
        with pytest.raises(WeightsError, match="They are of another head"):
            load_state(net, state, source="file", layout="mmaction2")
    with pytest.raises(WeightsError, match="C3D cannot read the layout 'caffe'"):
        net.convert(state, "caffe")
