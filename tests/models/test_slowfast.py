from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from marey.errors import WeightsError
from marey.models._create import create_model
from marey.models._fair import Bottleneck
from marey.models._features import stage_features
from marey.models._info import model_info
from marey.models._net import Net
from marey.models._weights import load_state
from marey.models.slowfast import every_alpha, from_first_to_last

# Parameters, and GMACs of the clip that the references test on, 256 pixels a side.
TABLE = {
    "slowfast_r50": (34_566_488, 65.71),
    "slowfast_r50_4x16": (34_480_216, 36.10),
    "slowfast_r101": (62_826_968, 125.91),
    "slowfast_r101_16x8": (53_774_808, 213.02),
    "slowfast_r50_mm": (34_565_560, 65.71),
    "slowfast_r50_4x16_mm": (34_479_288, 36.10),
    "slowfast_r101_mm": (62_912_312, 126.32),
    "slowfast_r50.ssv2": (34_045_558, 65.71),
    "slowfast_r50.charades": (34_006_373, 65.71),
}
GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    info = model_info(name)
    assert info.params == TABLE[name][0]
    assert info.macs / 1e9 == pytest.approx(TABLE[name][1], abs=0.006)
    assert info.input.frames == (64 if "16x8" in name else 32)


def test_slow_frames_of_fair_reach_from_first_to_last() -> None:
    assert from_first_to_last(32, 4) == [0, 4, 8, 13, 17, 22, 26, 31]
    assert from_first_to_last(32, 8) == [0, 10, 20, 31]
    for alpha in (4, 8):
        for frames in range(alpha, 129, alpha):
            theirs = torch.linspace(0, frames - 1, frames // alpha).long()
            assert from_first_to_last(frames, alpha) == theirs.tolist()


def test_slow_frames_of_mmaction2_are_every_alphath() -> None:
    clip = torch.arange(32.0)[None, None]
    theirs = nn.functional.interpolate(clip, scale_factor=1 / 4, mode="nearest")
    assert every_alpha(32, 4) == theirs[0, 0].long().tolist()


@pytest.mark.parametrize(
    ("name", "frames"),
    [
        ("slowfast_r50", [0, 4, 8, 13, 17, 22, 26, 31]),
        ("slowfast_r50_4x16", [0, 10, 20, 31]),
        ("slowfast_r50_mm", [0, 4, 8, 12, 16, 20, 24, 28]),
    ],
)
def test_each_pathway_gets_its_frames(name: str, frames: list[int]) -> None:
    net = create_model(name, classes=2)
    got: dict[str, Tensor] = {}
    for path in ("slow", "fast"):
        stem = net.body.get_submodule(f"stem.{path}")
        stem.register_forward_pre_hook(lambda _, x, path=path: got.__setitem__(path, x[0]))
    clip = torch.randn(1, 3, 32, 8, 8)
    with torch.inference_mode():
        net(clip)
    assert torch.equal(got["slow"], clip[:, :, frames])
    assert torch.equal(got["fast"], clip)


@pytest.mark.parametrize("name", ["slowfast_r50", "slowfast_r50_4x16", "slowfast_r50_4x16_mm"])
def test_any_number_of_frames_will_do(name: str) -> None:
    with torch.device("meta"):
        net = create_model(name)
        alpha = net.body.alpha
        for frames in range(1, 2 * alpha + 2):
            slow, fast = net.body.pathways(torch.empty(1, 3, frames, 40, 33))
            assert tuple(slow.shape) == (1, 2048, -(-frames // alpha), 2, 2)
            assert tuple(fast.shape) == (1, 256, frames, 2, 2)


def kernels(net: Net, path: str, stage: str) -> list[int]:
    blocks = net.body.get_submodule(f"{stage}.{path}")
    return [block.conv_a.kernel_size[0] for block in blocks if isinstance(block, Bottleneck)]


def test_the_pathways_look_at_time_where_they_should() -> None:
    with torch.device("meta"):
        nets = {name: create_model(name) for name in ("slowfast_r101", "slowfast_r101_16x8")}
    for name, res4 in (("slowfast_r101", [3] * 23), ("slowfast_r101_16x8", [3] * 6 + [1] * 17)):
        stages = ("res2", "res3", "res4", "res5")
        slow = [kernels(nets[name], "slow", stage) for stage in stages]
        fast = [kernels(nets[name], "fast", stage) for stage in stages]
        assert slow == [[1] * 3, [1] * 4, res4, [3] * 3]
        assert fast == [[3] * 3, [3] * 4, res4, [3] * 3]


def test_laterals_are_linear_in_mmaction2_only() -> None:
    torch.manual_seed(0)
    for name, linear in (("slowfast_r50", False), ("slowfast_r50_mm", True)):
        net = create_model(name, classes=2)
        with torch.inference_mode():
            slow, _ = stage_features(net, torch.randn(1, 3, 8, 16, 16))["stem"]
        assert slow.shape[1] == 64 + 16
        assert bool((slow[:, 64:] < 0).any()) == linear
        assert not (slow[:, :64] < 0).any()


def test_lateral_kernels() -> None:
    lengths = {"slowfast_r50": 7, "slowfast_r50_4x16": 5, "slowfast_r101": 5}
    lengths |= {"slowfast_r50_mm": 7, "slowfast_r101_mm": 7}
    for name, length in lengths.items():
        with torch.device("meta"):
            body = create_model(name).body
        for stage in ("stem", "res2", "res3", "res4"):
            conv = body.get_submodule(f"{stage}.lateral.conv")
            assert (conv.kernel_size, conv.stride[0]) == ((length, 1, 1), body.alpha)


def test_features_are_the_means_of_both_pathways_slow_first() -> None:
    torch.manual_seed(0)
    net = create_model("slowfast_r50", classes=2)
    clip = torch.randn(2, 3, 8, 48, 40)
    with torch.inference_mode():
        slow, fast = stage_features(net, clip)["res5"]
        assert (slow.shape[1:3], fast.shape[1:3]) == ((2048, 2), (256, 8))
        expected = torch.cat([slow.mean((2, 3, 4)), fast.mean((2, 3, 4))], 1)
        torch.testing.assert_close(net.body(clip).mean((2, 3, 4)), expected)
        torch.testing.assert_close(net(clip), net.head.linear(expected))


def published(name: str) -> dict[str, Tensor]:
    """A state by the published names, as the golden lists them."""
    torch.manual_seed(0)
    entries = json.loads((GOLDEN / f"{name}.json").read_text())["state"]
    return {entry: torch.rand(shape) for entry, shape, _ in entries}


def to_pyslowfast(name: str) -> str:
    found = re.fullmatch(r"blocks\.(\d)\.(?:multipathway_(blocks\.(\d)|fusion)\.)?(.+)", name)
    assert found
    stage, path, entry = int(found[1]) + 1, found[3], found[4]
    if entry.startswith("proj"):
        return entry.replace("proj", "head.projection")
    if path is None:
        entry = entry.replace("conv_fast_to_slow", "conv_f2s").replace("norm", "bn")
        return f"s{stage}_fuse.{entry}"
    if stage == 1:
        return f"s1.pathway{path}_stem." + entry.replace("norm", "bn")
    entry = re.sub(r"res_blocks\.(\d+)\.branch", r"res\1.branch", entry)
    entry = entry.replace("branch1_conv", "branch1").replace("branch1_norm", "branch1_bn")
    entry = re.sub(r"norm_([abc])", r"\1_bn", entry).replace("conv_", "")
    return f"s{stage}.pathway{path}_{entry}"


def test_both_code_bases_of_fair_load_alike() -> None:
    theirs = published("slowfast_r50")
    nets = [create_model("slowfast_r50") for _ in range(2)]
    load_state(nets[0], theirs, source="zoo", layout="pytorchvideo")
    renamed = {to_pyslowfast(entry): value for entry, value in theirs.items()}
    load_state(nets[1], renamed, source="zoo", layout="pyslowfast")
    for (entry, one), other in zip(
        nets[0].state_dict().items(), nets[1].state_dict().values(), strict=True
    ):
        assert torch.equal(one, other), entry


def test_mmaction2_has_the_fast_channels_first_in_its_head() -> None:
    theirs = published("slowfast_r50_mm")
    net = create_model("slowfast_r50_mm")
    load_state(net, theirs, source="mmaction2", layout="mmaction2")
    last = theirs["cls_head.fc_cls.weight"]
    assert torch.equal(net.head.linear.weight[:, :2048], last[:, 256:])
    assert torch.equal(net.head.linear.weight[:, 2048:], last[:, :256])


def test_other_files_are_refused() -> None:
    theirs = published("slowfast_r50_mm")
    with torch.device("meta"):
        net = create_model("slowfast_r50")
    with pytest.raises(WeightsError, match="cannot read the layout 'torchvision'"):
        load_state(net, theirs, source="mmaction2", layout="torchvision")
    with pytest.raises(WeightsError, match="missing"):  # its laterals have no norms
        load_state(net, theirs, source="mmaction2", layout="mmaction2")
