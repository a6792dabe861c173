from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import ModelError, WeightsError
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._net import Net
from marey.models._weights import load_state
from marey.models.blvnet import (
    BigLittle,
    BigLittleStem,
    Bottleneck,
    blocks,
    from_ibm,
    pairs,
    to_both,
)
from marey.nn.mix import TemporalAggregation
from marey.nn.time import Clock

# Parameters, and GMACs of one clip of T x 224 x 224, of the reference's own networks.
TABLE = {
    "blvnet_tam_50": (25_020_142, [(16, 23.85), (32, 47.70), (48, 71.55), (64, 95.41)]),
    "blvnet_tam_101": (40_177_134, [(16, 32.15), (32, 64.30), (48, 96.45), (64, 128.60)]),
    "blvnet_tam_152": (55_684_590, [(16, 41.32)]),
}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    params, clips = TABLE[name]
    with torch.device("meta"):
        net = create_model(name)
    for frames, gmacs in clips:
        found = cost(net, (frames, 224, 224))
        assert found.params == params
        # The reference answers after every second frame, and takes the mean of the answers.
        answers = (frames // 2 - 1) * net.head.linear.weight.numel()
        assert (found.macs + answers) / 1e9 == pytest.approx(gmacs, abs=0.006)


def test_without_aggregation_only_its_kernels_are_missing() -> None:
    with torch.device("meta"):
        plain, tam = create_model("blvnet_50"), create_model("blvnet_tam_50")
    kernels = {name for name in tam.state_dict() if name.endswith("tam.weight")}
    assert set(plain.state_dict()) == set(tam.state_dict()) - kernels
    channels = [64, 64, 256, 512, 1024, 2048, 2048]  # before layer0 to 3, and the last three blocks
    assert [len(tam.state_dict()[name]) for name in sorted(kernels)] == channels


def test_an_odd_number_of_frames_is_refused() -> None:
    with torch.device("meta"):
        net = create_model("blvnet_tam_50")
        for frames in (2, 6, 8):
            assert net(torch.empty(1, 3, frames, 32, 32)).shape == (1, 174)
        with pytest.raises(ModelError, match="an even number; got 7"):
            net(torch.empty(1, 3, 7, 32, 32))
        with pytest.raises(ModelError, match="an even number; got 7"):
            net.body(torch.empty(1, 3, 7, 32, 32))


def test_the_first_of_a_pair_is_little_and_the_second_big() -> None:
    first, second = pairs(torch.arange(8.0).view(8, 1, 1, 1))  # two clips of four frames
    assert first.flatten().tolist() == [0, 2, 4, 6]
    assert second.flatten().tolist() == [1, 3, 5, 7]
    assert to_both(second).flatten().tolist() == [1, 1, 3, 3, 5, 5, 7, 7]
    for stage in (
        BigLittleStem(8, 2, nn.Identity),
        BigLittle(8, 16, 3, 2, 4, 2, nn.Identity),
    ):
        frames = torch.randn(4, 8, 12, 12)
        both, seen = run(stage, frames)
        assert torch.equal(seen["little"], frames[::2])
        assert torch.equal(seen["big"], frames[1::2])
        assert torch.equal(both[::2], both[1::2])
        assert both.shape == (4, both.shape[1], 6, 6)


def run(stage: nn.Module, frames: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
    """What the stage makes of frames, and what of them each branch gets."""
    seen: dict[str, Tensor] = {}
    for name in ("big", "little"):
        stage.get_submodule(name).register_forward_pre_hook(
            lambda _, given, name=name: seen.update({name: given[0]})
        )
    return stage(frames), seen


def test_without_aggregation_a_frame_sees_its_pair_only() -> None:
    x = torch.randn(1, 3, 6, 32, 32)
    other = x.clone()
    other[:, :, 2] += 1
    sees = {}
    for name in ("blvnet_50", "blvnet_tam_50"):
        torch.manual_seed(0)
        net = settled(create_model(name, classes=2))
        with torch.inference_mode():
            change = (net.body(x) - net.body(other)).abs().amax((1, 3, 4))[0]
        sees[name] = (change > 0).tolist()
    assert sees == {"blvnet_50": [False, True, False], "blvnet_tam_50": [True] * 3}


def test_the_big_map_is_enlarged_by_the_nearest_pixel_at_odd_sizes_too() -> None:
    stage = settled(BigLittle(8, 16, 3, 2, 4, 1, nn.Identity))
    frames = torch.randn(2, 8, 7, 9)
    with torch.inference_mode():
        stage.fusion = nn.Sequential()  # type: ignore[assignment]
        first, second = pairs(frames)
        big, little = stage.big(second), stage.little_e(stage.little(first))
        assert (big.shape[2:], little.shape[2:]) == ((4, 5), (7, 9))
        rows, columns = torch.arange(7) * 4 // 7, torch.arange(9) * 5 // 9
        merged = (big[:, :, rows][..., columns] + little).relu()
        torch.testing.assert_close(stage(frames), to_both(merged))


def test_strides_and_where_frames_end() -> None:
    with torch.device("meta"):
        net = create_model("blvnet_tam_50")
        x, sizes = torch.empty(8, 3, 96, 128), []  # one clip
        net.body.clock.clips = 1
        for name, stage in net.stages()[:-1]:
            x = stage(x)
            sizes.append((name, x.shape[0], *x.shape[2:]))
    assert sizes == [
        ("stem", 8, 48, 64),
        ("layer0", 8, 24, 32),
        ("layer1", 8, 12, 16),
        ("layer2", 8, 6, 8),
        ("layer3", 8, 6, 8),  # its fusion does not stride
        ("layer4", 4, 3, 4),  # only the second of each pair
    ]


def test_only_the_last_block_of_the_big_branch_ends_without_relu() -> None:
    def relus(row: nn.Sequential) -> list[bool]:
        return [block.relu for block in row]

    with torch.device("meta"):
        for name in TABLE:
            net = create_model(name)
            for number in (1, 2, 3):
                stage = net.body.net.get_submodule(f"layer{number}")
                assert relus(stage.big) == [True] * (len(stage.big) - 1) + [False]
                assert all(relus(stage.little) + relus(stage.fusion))
            assert all(relus(net.body.net.layer4))
        assert relus(blocks(8, 8, 1, relu=False)) == [True]  # as in the reference, if there is one


@pytest.mark.parametrize("projected", [True, False])
def test_a_projected_shortcut_follows_the_aggregation_an_identity_does_not(projected: bool) -> None:
    clock = Clock(clips=1)
    block = settled(
        Bottleneck(
            8, 16 if projected else 8, mix=lambda c: TemporalAggregation(c, clock, relu=True)
        )
    )
    x = torch.randn(4, 8, 5, 5)
    with torch.inference_mode():
        block.tam.weight.normal_()
        block.bn3.weight.zero_()  # the shortcut alone
        block.bn3.bias.zero_()
        mixed = block.tam(x)
        way = block.downsample(mixed) if projected else x
        torch.testing.assert_close(block(x), way.relu())
        assert not torch.allclose(mixed, x)


def settled(module: nn.Module) -> nn.Module:
    """In evaluation, norms with statistics and scales as after training."""
    for name, value in module.state_dict().items():
        if name.endswith("running_mean"):
            value.uniform_(-0.2, 0.2)
        elif value.ndim == 1 and name.endswith("weight"):
            nn.init.uniform_(value, 0.5, 1.0)
    return module.eval()


def ibm(tam: str, channels: int, taps: dict[str, float]) -> dict[str, Tensor]:
    return {
        f"baseline_model.{tam}.{tap}.weight": torch.full((channels, 1, 1, 1), value)
        for tap, value in taps.items()
    }


def test_the_taps_are_the_frame_before_this_one_and_the_next() -> None:
    (found,) = from_ibm(ibm("tam", 64, {"prev": 1.0, "next": 4.0, "curr": 2.0})).items()
    assert found[0] == "body.net.layer0.tam.weight"
    assert found[1][0].tolist() == [[1, 2, 4]]
    counted = {f"blending_layers.{k}": float(k) for k in (0, 2, 1, 4, 3)}
    (found,) = from_ibm(ibm("layer2.tam", 256, counted)).items()
    assert found[0] == "body.net.layer2.tam.weight"
    assert found[1][0].tolist() == [[0, 1, 2, 3, 4]]
    mix = create_model("blvnet_tam_50", classes=2).body.net.layer0.tam
    assert isinstance(mix, TemporalAggregation)
    with torch.inference_mode():
        mix.weight.copy_(torch.tensor([1.0, 2.0, 4.0]))
        frames = torch.tensor([1.0, 10.0, 100.0])[:, None, None, None].expand(3, 64, 1, 1)
        assert mix(frames)[:, 0, 0, 0].tolist() == [42, 421, 210]
        assert (mix(-frames) == 0).all()


def test_an_incomplete_aggregation_is_refused() -> None:
    with torch.device("meta"):
        net = create_model("blvnet_tam_50")
    state = ibm("layer1.tam", 64, {"prev": 1.0, "curr": 1.0})
    with pytest.raises(WeightsError, match=r"layer1.tam.weight \(64, 1, 2\) for \(64, 1, 3\)"):
        load_state(net, state, source="file", layout="ibm-blvnet")


def test_the_last_layer_has_two_names_and_others_are_refused() -> None:
    bias = torch.zeros(3)
    for name in ("new_fc.bias", "baseline_model.fc.bias"):
        assert list(from_ibm({name: bias})) == ["head.linear.bias"]
    with torch.device("meta"):
        net: Net = create_model("blvnet_tam_50")
    with pytest.raises(WeightsError, match="cannot read the layout 'ibm'"):
        net.convert({}, "ibm")


def test_it_starts_as_the_authors_do() -> None:
    net = create_model("blvnet_tam_50", classes=100)
    bottlenecks = [m for m in net.modules() if isinstance(m, Bottleneck)]
    assert not any(block.bn3.weight.any() for block in bottlenecks)
    kernel = net.body.net.layer4[1].tam.weight
    assert kernel.std().item() == pytest.approx((2 / 2048) ** 0.5, rel=0.05)
    conv = net.body.net.layer4[1].conv2.weight
    assert conv.std().item() == pytest.approx((2 / (512 * 9)) ** 0.5, rel=0.05)
    assert net.head.linear.weight.std().item() == pytest.approx(0.001, rel=0.05)


def test_the_mean_before_the_last_layer_is_the_mean_of_the_answers() -> None:
    net = settled(create_model("blvnet_tam_50", classes=3))
    x = torch.randn(1, 3, 4, 32, 32)
    with torch.inference_mode():
        frames = net.body(x).mean((3, 4)).transpose(1, 2)
        answers = F.linear(frames, net.head.linear.weight, net.head.linear.bias)
        torch.testing.assert_close(net(x), answers.mean(1))
