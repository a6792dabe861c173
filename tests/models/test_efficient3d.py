from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.nn import functional as F

from marey.errors import ModelError, WeightsError
from marey.models._create import create_model
from marey.models._features import stage_features
from marey.models._info import model_info
from marey.models._weights import load_state
from marey.models.efficient3d import Fire, InvertedResidual, RectifiedMean, Shuffle, Split

# Parameters and GMACs at 16x112x112 with 600 classes, counted in the reference.
TABLE = {
    "mobilenet_3d": (3_912_984, 0.233),
    "mobilenetv2_3d": (3_122_648, 0.519),
    "shufflenet_3d": (1_521_504, 0.188),
    "shufflenetv2_3d": (1_914_180, 0.187),
    "squeezenet_3d": (2_145_560, 0.903),
}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    info = model_info(name)
    assert info.params == TABLE[name][0]
    assert info.macs / 1e9 == pytest.approx(TABLE[name][1], abs=0.0006)
    assert info.shape == (16, 112, 112)


@pytest.mark.parametrize(
    ("name", "options", "params"),
    [
        ("mobilenet_3d", {"width_mult": 0.5}, 870_765),
        # Channels are rounded down, to any number; the last layer is narrowed by no width.
        ("mobilenetv2_3d", {"width_mult": 0.2}, 212_163),
        ("mobilenetv2_3d", {"width_mult": 0.45}, 647_887),
        ("mobilenetv2_3d", {"width_mult": 1.5}, 5_149_549),
        # The first block is in groups as soon as it gets other than 24 channels.
        ("shufflenet_3d", {"width_mult": 0.5}, 263_425),
        ("shufflenet_3d", {"width_mult": 2.0}, 3_631_261),
        ("shufflenet_3d", {"groups": 1}, 965_521),
        ("shufflenet_3d", {"groups": 8}, 981_253),
        ("shufflenetv2_3d", {"width_mult": 0.25}, 227_981),
        ("shufflenetv2_3d", {"width_mult": 2.0}, 5_437_053),
        ("squeezenet_3d", {"version": 1.0}, 1_938_637),
    ],
)
def test_options_give_the_references_parameters(
    name: str, options: dict[str, Any], params: int
) -> None:
    with torch.device("meta"):
        net = create_model(name, classes=13, **options)
        assert net(torch.empty(1, 3, 5, 35, 50)).shape == (1, 13)
    assert sum(p.numel() for p in net.parameters()) == params


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("shufflenet_3d", {"groups": 5}, "groups must be one of 1, 2, 3, 4, 8; got 5"),
        ("shufflenet_3d", {"groups": 8, "width_mult": 0.5}, "8 groups cannot share the channels"),
        ("shufflenetv2_3d", {"width_mult": 0.7}, "one of 0.25, 0.5, 1.0, 1.5, 2.0; got 0.7"),
        ("squeezenet_3d", {"version": 1.2}, "version must be one of 1.0, 1.1; got 1.2"),
        ("mobilenet_3d", {"width_mult": 0.01}, "leaves no channels"),
    ],
)
def test_options_that_no_network_has_are_refused(
    name: str, options: dict[str, Any], reason: str
) -> None:
    with pytest.raises(ModelError, match=reason):
        create_model(name, **options)


def test_every_stage_halves_time_with_space() -> None:
    for name in TABLE:
        with torch.device("meta"):
            found = stage_features(create_model(name), torch.empty(1, 3, 32, 128, 160))
        *maps, _ = found.values()
        sizes = [tuple(stage.shape[2:]) for stage in maps if isinstance(stage, torch.Tensor)]
        # In the stem time is halved by a pool, where there is one, or not at all.
        assert sizes[-1] == (2, 4, 5)
        assert {h // t for t, h, _ in sizes} == {2}
        assert sizes[0] == ((32, 64, 80) if name.startswith("mobilenet") else (16, 32, 40))


def test_shortcuts_stand_where_nothing_changes() -> None:
    def shortcuts(name: str, **options: Any) -> list[bool]:
        with torch.device("meta"):
            modules = create_model(name, **options).modules()
        return [m.residual for m in modules if isinstance(m, (InvertedResidual, Fire))]

    assert sum(shortcuts("mobilenetv2_3d")) == 10
    assert shortcuts("squeezenet_3d") == [False, True] * 4
    assert shortcuts("squeezenet_3d", version=1.0) == [*[False, True] * 3, False, True]


def test_what_shufflenetv2_lets_pass_is_every_second_channel() -> None:
    x = torch.randn(1, 8, 3, 4, 5)
    with torch.inference_mode():
        mixed = Split(8, 8, 1)(x)
    torch.testing.assert_close(mixed[:, ::2], x[:, :4])


def test_shufflenet_averages_pairs_of_frames_and_the_last_odd_one_alone() -> None:
    block = Shuffle(12, 48, 2, groups=3).eval()
    x = torch.rand(1, 12, 5, 6, 7)
    with torch.inference_mode():
        even, odd = block(x[:, :, :4]), block(x)
        still = block(x[:, :, 4:])
    assert odd.shape == (1, 48, 3, 3, 4)
    expected = F.avg_pool3d(x[:, :, :4], (2, 3, 3), 2, (0, 1, 1))
    torch.testing.assert_close(even[:, 36:], expected)
    torch.testing.assert_close(odd[:, 36:, :2], expected)
    torch.testing.assert_close(odd[:, 36:, 2:], still[:, 36:])
    torch.testing.assert_close(still[:, 36:], F.avg_pool3d(x[:, :, 4:], (1, 3, 3), 2, (0, 1, 1)))


def test_squeezenet_rectifies_scores_before_their_mean() -> None:
    head = RectifiedMean(6, 9, dropout=0.5).eval()
    x = torch.randn(2, 6, 2, 3, 4)
    scores = F.conv3d(x, head.linear.weight[:, :, None, None, None], head.linear.bias)
    torch.testing.assert_close(head(x), scores.relu().mean((2, 3, 4)))


def test_foreign_names_are_refused() -> None:
    net = create_model("shufflenetv2_3d", classes=3, width_mult=0.25)
    with pytest.raises(WeightsError, match="cannot read the layout 'torchvision'"):
        load_state(net, {}, source="here", layout="torchvision")
    state = {
        "features.0.banch1.0.weight": torch.zeros(24, 1, 3, 3, 3),
        "features.17.0.weight": torch.zeros(1),
    }
    found = net.convert(state, "efficient-3dcnns")
    assert list(found) == ["body.stage1.0.branch1.0.weight", "features.17.0.weight"]


def test_clips_are_centred_but_not_scaled() -> None:
    prepare = model_info("mobilenetv2_3d").input
    mean = [round(value * 255, 4) for value in prepare.mean]
    assert mean == [114.7748, 107.7354, 99.475]
    assert [value * 255 for value in prepare.std] == [1, 1, 1]


def test_no_score_of_an_untrained_squeezenet_is_silent() -> None:
    for seed in range(4):
        torch.manual_seed(seed)
        net = create_model("squeezenet_3d", classes=2, dropout=0.0).train()
        assert net(torch.randn(2, 3, 4, 32, 32)).min() > 0
