from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import nn

from marey.errors import ModelError, WeightsError
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._fair import Bottleneck
from marey.models._info import model_info
from marey.models._net import Net
from marey.models._weights import load_state
from marey.nn.non_local import NonLocal

# Parameters, and GMACs of the clip that the zoo tests on, 256 pixels a side.
TABLE = {
    "c2d_r50": (24_327_632, 25.46),
    "i3d_r50": (28_043_472, 37.10),
    "slow_r50": (32_454_096, 54.52),
    "csn_r101": (22_213_776, 73.75),
    "r2plus1d_r50": (28_107_600, 75.15),
    "slow_r50.k400_4x16": (32_454_096, 27.26),
    "slow_r50.ssv2": (31_991_022, 54.52),
}
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    info = model_info(name)
    assert info.params == TABLE[name][0]
    assert info.macs / 1e9 == pytest.approx(TABLE[name][1], abs=0.006)
    assert info.input.size == (256, 256)


def test_five_non_local_blocks_cost_what_the_references_do() -> None:
    with torch.device("meta"):
        net = create_model("i3d_r50", non_local=True)
    found = cost(net, (8, 224, 224))
    assert found.params == 35_401_936
    assert found.macs / 1e9 == pytest.approx(36.54, abs=0.006)


def test_time_and_space_are_strided_where_they_are() -> None:
    expected = {
        "c2d_r50": (4, 3, 2),
        "i3d_r50": (4, 3, 2),
        "slow_r50": (8, 3, 2),
        "csn_r101": (1, 3, 2),
        "r2plus1d_r50": (2, 3, 2),
    }
    with torch.device("meta"):
        clip = torch.empty(1, 3, 8, 90, 64)
        found = {name: tuple(create_model(name).body(clip).shape[2:]) for name in expected}
    assert found == expected


def blocks(net: Net, stage: str) -> list[Bottleneck]:
    return [block for block in net.body.get_submodule(stage) if isinstance(block, Bottleneck)]


def test_i3d_looks_at_time_in_every_second_block() -> None:
    with torch.device("meta"):
        net = create_model("i3d_r50")
    kernels = [[b.conv_a.kernel_size[0] for b in blocks(net, f"res{k}")] for k in range(2, 6)]
    assert kernels == [[3, 3, 3], [3, 1, 3, 1], [3, 1, 3, 1, 3, 1], [1, 3, 1]]
    assert net.body.stem.conv.kernel_size == (5, 7, 7)


def test_only_c2d_is_blind_to_the_direction_of_time() -> None:
    torch.manual_seed(0)
    clip = torch.randn(1, 3, 4, 32, 32)
    for name, blind in (("c2d_r50", True), ("i3d_r50", False), ("slow_r50", False)):
        net = with_branches(create_model(name, classes=3))
        with torch.inference_mode():
            ahead, back = net(clip), net(clip.flip(2))
        assert torch.allclose(ahead, back, rtol=1e-4, atol=1e-6) == blind, name


def with_branches(net: Net) -> Net:
    """As after training: fresh blocks are only their shortcuts."""
    for block in net.modules():
        if isinstance(block, Bottleneck):
            nn.init.constant_(block.norm_c.weight, 0.3)
    return net


def test_a_fresh_block_is_its_shortcut() -> None:
    block = blocks(create_model("slow_r50"), "res4")[1]
    x = torch.rand(1, 1024, 2, 3, 3)
    torch.testing.assert_close(block(x), x)


def test_the_time_of_r2plus1d_comes_first_and_keeps_the_width() -> None:
    with torch.device("meta"):
        block = blocks(create_model("r2plus1d_r50"), "res4")[0]
    convs = [layer for layer in block.conv_b if isinstance(layer, nn.Conv3d)]
    assert [conv.kernel_size for conv in convs] == [(3, 1, 1), (1, 3, 3)]
    assert [conv.stride for conv in convs] == [(2, 1, 1), (1, 2, 2)]
    assert {conv.out_channels for conv in convs} == {256}


def test_csn_leaves_the_channels_apart() -> None:
    with torch.device("meta"):
        middles = [block.conv_b for block in blocks(create_model("csn_r101"), "res4")]
    assert len(middles) == 23
    assert all(conv.groups == 256 and conv.kernel_size == (3, 3, 3) for conv in middles)


def test_norms_are_those_of_pytorchvideo() -> None:
    for name in ("csn_r101", "slow_r50"):
        with torch.device("meta"):
            norms = [m for m in create_model(name).modules() if isinstance(m, nn.BatchNorm3d)]
        assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}


def published(name: str) -> dict[str, torch.Tensor]:
    """A state by pytorchvideo's names, as the golden lists them."""
    torch.manual_seed(0)
    entries = json.loads((GOLDEN / f"{name}.json").read_text())["state"]
    return {entry: torch.rand(shape) for entry, shape, _ in entries}


def to_pyslowfast(name: str, pool: bool) -> str:
    """A name of pytorchvideo, which numbers the pool behind res2 as a block, in PySlowFast."""
    found = re.fullmatch(r"blocks\.(\d)\.(.+)", name)
    assert found
    number, entry = int(found[1]), found[2]
    if entry.startswith("proj"):
        return entry.replace("proj", "head.projection")
    if number == 0:
        return "s1.pathway0_stem." + entry.replace("norm", "bn")
    entry = re.sub(r"res_blocks\.(\d+)\.branch", r"res\1.branch", entry)
    entry = entry.replace("branch1_conv", "branch1").replace("branch1_norm", "branch1_bn")
    entry = re.sub(r"norm_([abc])", r"\1_bn", entry).replace("conv_", "")
    return f"s{number + 1 - (pool and number > 2)}.pathway0_{entry}"


@pytest.mark.parametrize("name", ["i3d_r50", "slow_r50"])
def test_both_code_bases_load_alike(name: str) -> None:
    theirs = published(name)
    nets = [create_model(name) for _ in range(2)]
    load_state(nets[0], theirs, source="zoo", layout="pytorchvideo")
    renamed = {to_pyslowfast(entry, name == "i3d_r50"): value for entry, value in theirs.items()}
    load_state(nets[1], renamed, source="zoo", layout="pyslowfast")
    for (entry, one), other in zip(
        nets[0].state_dict().items(), nets[1].state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), entry


def test_non_local_blocks_load_by_their_names() -> None:
    with torch.device("meta"):
        net = create_model("slow_r50", non_local=True)
    assert [name for name, module in net.body.named_modules() if isinstance(module, NonLocal)] == [
        *("res3.non_local1", "res3.non_local3"),
        *("res4.non_local1", "res4.non_local3", "res4.non_local5"),
    ]
    given = {"s4.pathway0_nonlocal5.conv_theta.bias": torch.ones(512)}
    given |= {"s4.pathway0_nonlocal5.norm.weight": torch.ones(1024)}
    assert set(net.convert(given, "pyslowfast")) == {
        "body.res4.non_local5.theta.bias",
        "body.res4.non_local5.norm.weight",
    }


def test_other_files_are_refused() -> None:
    theirs = published("slow_r50")
    with torch.device("meta"):
        net = create_model("slow_r50")
        pooled = create_model("i3d_r50")
    with pytest.raises(WeightsError, match="cannot read the layout 'mmaction2'"):
        load_state(net, theirs, source="zoo", layout="mmaction2")
    with pytest.raises(WeightsError, match="does not fit i3d_r50"):
        load_state(pooled, theirs, source="zoo", layout="pytorchvideo")
    extra = theirs | {"blocks.9.proj.weight": torch.ones(1)}
    with pytest.raises(WeightsError, match=r"1 unknown \(blocks.9.proj.weight\)"):
        load_state(net, extra, source="zoo", layout="pytorchvideo")


def test_clips_may_be_as_small_as_the_pools_allow() -> None:
    for name, non_local, least in (
        ("c2d_r50", False, (2, 1, 1)),
        ("slow_r50", True, (1, 17, 17)),
        ("i3d_r50", True, (2, 17, 17)),
    ):
        net = create_model(name, classes=3, non_local=non_local)
        assert net.least == least
        with torch.inference_mode():
            assert net(torch.randn(1, 3, *least)).isfinite().all()
            smaller = torch.randn(1, 3, *(max(side - 1, 1) for side in least))
            with pytest.raises(ModelError, match="needs clips of at least"):
                net(smaller)
            with pytest.raises(RuntimeError):  # it is the graph that cannot, not the check
                net.body(smaller)
