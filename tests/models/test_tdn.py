from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from marey.errors import ModelError, WeightsError
from marey.models._create import create_model
from marey.models._info import model_info
from marey.models._weights import load_state
from marey.models.tdn import Attention, Stem, blend, shift
from marey.testing.golden import check

GOLDEN = Path(__file__).parents[1] / "golden"

# Of the reference with 400 classes, less the kernel that nothing reads; GMACs at 40x256x256.
TABLE = {"tdn_resnet50": (24_883_120 - 9_472, 46.55), "tdn_resnet101": (44_144_800 - 9_472, 86.0)}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    info = model_info(name)
    with torch.device("meta"):
        net = create_model(name, classes=400)
    assert sum(p.numel() for p in net.parameters()) == info.params == TABLE[name][0]
    assert info.macs / 1e9 == pytest.approx(TABLE[name][1], abs=0.006)


def test_rounding_apart_it_is_the_reference() -> None:
    """At gain 1 its sigmoids are so steep that 1e-16 become 1e-8."""
    result = check(GOLDEN / "tdn_resnet50.json")
    assert result.passed
    assert result.errors["tame"] < 1e-12


def test_each_segment_is_its_middle_frame_and_four_differences() -> None:
    seen: dict[str, torch.Tensor] = {}

    def keep(name: str, module: nn.Module) -> None:
        module.register_forward_pre_hook(lambda _, given: seen.update({name: given[0]}))

    stem = Stem(0.5).eval()
    keep("middle", stem.frames)
    keep("changes", stem.differences)
    clip = torch.randn(2, 3, 15, 32, 48)
    with torch.inference_mode():
        mixed, differences = stem(clip)
    torch.testing.assert_close(seen["middle"], clip[:, :, [2, 7, 12]])
    # Red, green, blue of the first difference, then of the second.
    torch.testing.assert_close(seen["changes"][:, 4, 1], clip[:, 1, 7] - clip[:, 1, 6])
    assert seen["changes"].shape == (2, 12, 3, 32, 48)
    assert mixed.shape == (2, 64, 3, 8, 12)
    assert differences.shape == (2, 64, 3, 4, 6)


def test_the_blend_is_weighted() -> None:
    frames, differences = torch.rand(1, 2, 3, 4, 5), torch.rand(1, 2, 3, 2, 2)
    mixed = blend(frames, differences, 0.25)
    nearest = differences[:, :, :, [0, 0, 1, 1]][..., [0, 0, 0, 1, 1]]
    torch.testing.assert_close(mixed, 0.75 * frames + 0.25 * nearest)


def test_the_kernel_over_segments_begins_as_tsms_shift() -> None:
    x = torch.randn(1, 16, 5, 2, 3)
    with torch.inference_mode():
        moved = shift(16)(x)
    torch.testing.assert_close(moved[:, :2], F.pad(x[:, :2, 1:], (0, 0, 0, 0, 0, 1)))
    torch.testing.assert_close(moved[:, 2:4], F.pad(x[:, 2:4, :-1], (0, 0, 0, 0, 1, 0)))
    torch.testing.assert_close(moved[:, 4:], x[:, 4:])


def test_the_attention_looks_one_segment_either_way() -> None:
    attention = Attention(32).eval()
    x = torch.randn(1, 32, 6, 6, 6)
    other = x.clone()
    other[:, :, 2] += 1
    with torch.inference_mode():
        moved = (attention(other) / other - attention(x) / x).abs().amax((0, 1, 3, 4))
    assert [bool(change > 1e-5) for change in moved] == [False, True, True, True, False, False]
    assert ((attention(x) / x - 1).abs() < 0.5).all()


def test_only_whole_segments_are_taken() -> None:
    net = create_model("tdn_resnet50", classes=3)
    with pytest.raises(ModelError, match="takes segments of 5 frames, got 12 frames"):
        net(torch.zeros(1, 3, 12, 64, 64))


def test_foreign_names_are_refused() -> None:
    net = create_model("tdn_resnet50", classes=3)
    with pytest.raises(WeightsError, match="cannot read the layout 'mit-tsm'"):
        load_state(net, {}, source="here", layout="mit-tsm")
    state = {
        "base_model.conv1_temp.weight": torch.zeros(64, 3, 7, 7),
        "base_model.layer2_bak.0.shift.conv.weight": torch.zeros(128, 1, 3),
        "base_model.layer5_bak.0.conv1.weight": torch.zeros(1, 1, 1, 1),
    }
    found = {name: tuple(value.shape) for name, value in net.convert(state, "tdn").items()}
    assert found == {
        "body.layer2.0.residual.shift.weight": (128, 1, 3, 1, 1),
        "layer5_bak.0.residual.conv1.weight": (1, 1, 1, 1, 1),
    }
