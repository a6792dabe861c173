from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from marey.errors import WeightsError
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._info import model_info
from marey.models._weights import load_state
from marey.models.tpn import Pyramid

# Parameters with the classifier that is dropped, and GMACs at 8x224x224, counted in the reference.
TABLE = {"tpn_slow_r50": (91_498_336, 50.28), "tpn_slow_r101": (119_403_360, 93.95)}
GOLDEN = Path(__file__).parents[1] / "golden" / "tpn_slow_r50.json"


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    with torch.device("meta"):
        net = create_model(name)
    found = cost(net, (8, 224, 224))
    assert found.params + net.folded("mmaction2") == TABLE[name][0]
    assert found.macs / 1e9 == pytest.approx(TABLE[name][1], abs=0.006)
    assert model_info(name).input.size == (256, 256)


def published() -> dict[str, torch.Tensor]:
    """A state by mmaction2's names, as the golden lists them."""
    torch.manual_seed(0)
    return {name: torch.rand(shape) for name, shape, _ in json.loads(GOLDEN.read_text())["state"]}


def test_what_is_folded_is_exactly_what_is_dropped() -> None:
    theirs = published()
    auxiliary = {name for name in theirs if name.startswith("neck.aux_head.")}
    parameters = {name for name in auxiliary if name.endswith((".weight", ".bias"))}
    net = create_model("tpn_slow_r50")
    assert net.folded("mmaction2") == sum(theirs[name].numel() for name in parameters)
    assert net.folded("marey") == 0
    counters = {name for name in theirs if name.endswith("num_batches_tracked")}
    report = load_state(net, theirs, source="file", layout="mmaction2")
    assert report.loaded == len(theirs) - len(auxiliary | counters)
    assert report.fresh == report.dropped == ()


def test_other_files_are_refused() -> None:
    with torch.device("meta"):
        net = create_model("tpn_slow_r50")
    for entry in ("neck.level_fusion_3.fusion_conv.bn.bias", "neck.pyramid_fusion.conv.bias"):
        with pytest.raises(WeightsError, match=r"1 unknown \(.*(level_fusion_3|fuse)"):
            load_state(net, published() | {entry: torch.ones(1)}, source="file", layout="mmaction2")
    with pytest.raises(WeightsError, match="cannot read the layout 'pytorchvideo'"):
        net.convert({}, "pytorchvideo")


def test_eight_frames_become_one_and_a_rest_counts_too() -> None:
    with torch.device("meta"):
        body = create_model("tpn_slow_r50").body
        for frames, steps in ((1, 1), (8, 1), (9, 2), (32, 4)):
            assert body(torch.empty(1, 3, frames, 33, 65)).shape == (1, 2048, steps, 2, 3)


def test_the_second_flow_begins_with_the_sums_of_the_first() -> None:
    """res5 reaches the bottom-up fusion of res4: in a parallel flow it would not."""
    torch.manual_seed(0)
    pyramid = Pyramid().eval()
    seen: list[torch.Tensor] = []
    pyramid.bottom_up.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    res4, res5 = torch.rand(1, 1024, 2, 4, 4), torch.rand(1, 2048, 2, 2, 2)
    with torch.inference_mode():
        pyramid(res4, res5)
        pyramid(res4, 2 * res5)
        change = pyramid.tempo5(2 * res5) - pyramid.tempo5(res5)
    torch.testing.assert_close(seen[1] - seen[0], change)


def test_modulation_over_time_has_no_norm_and_no_relu() -> None:
    """What is pooled and added may be negative."""
    torch.manual_seed(0)
    pyramid = Pyramid()
    for part in (pyramid.tempo4, pyramid.tempo5):
        assert [type(layer) for layer in part] == [nn.Conv3d, nn.MaxPool3d]
        assert part(torch.rand(1, 2048, 2, 2, 2)).min() < 0
    assert pyramid.upwards.bias is None


def test_norms_are_those_of_torch() -> None:
    with torch.device("meta"):
        norms = [m for m in create_model("tpn_slow_r50").modules() if isinstance(m, nn.BatchNorm3d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}
