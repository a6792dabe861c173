"""Clips in a row that share their frames."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from marey.errors import ModelError
from marey.models._create import create_model
from marey.models._net import Net
from marey.models._shared import Shared


def network(name: str, frames: int) -> Net:
    torch.manual_seed(0)
    net = create_model(name, classes=3).eval()
    net.input = replace(net.input, frames=frames, size=(32, 32), resize=32)
    for module in net.modules():
        if isinstance(module, torch.nn.BatchNorm2d | torch.nn.BatchNorm3d):
            torch.nn.init.ones_(module.weight)  # zeros would hide what stands before them
    return net


def clips_of(stretch: torch.Tensor, net: Shared) -> torch.Tensor:
    return torch.cat(
        [stretch[:, :, k * net.hop : k * net.hop + net.frames] for k in range(net.clips)]
    )


@pytest.mark.parametrize("head", ["", "+segments:parts=4", "+rnn:width=8", "+conv1d:width=8"])
@torch.inference_mode()
def test_without_mixing_in_the_body_each_clip_is_as_by_itself(head: str) -> None:
    alone = network(f"timm/resnet18{head}", 8)
    shared = Shared(alone, 2, 5)
    stretch = torch.randn(1, 3, 16, 32, 32)
    torch.testing.assert_close(shared(stretch), alone(clips_of(stretch, shared)))


@torch.inference_mode()
def test_clips_that_see_no_border_are_the_same_in_every_stretch() -> None:
    alone = network(
        "timm/resnet18+full:layers=last:init=difference", 8
    )  # sees one frame to each side
    shared = Shared(alone, 2, 6)
    video = torch.randn(1, 3, 20, 32, 32)
    early, late = shared(video[:, :, :18]), shared(video[:, :, 2:])
    torch.testing.assert_close(early[2:-1], late[1:-2])
    assert not torch.allclose(early[1], late[0])  # which begins beside padding


@pytest.mark.parametrize(
    ("name", "frames", "hop", "stride"),
    [("x3d_xs", 4, 2, 1), ("slow_r50", 8, 4, 1), ("c2d_r50", 8, 4, 2), ("r3d_18", 16, 8, 8)],
)
@torch.inference_mode()
def test_it_costs_about_one_pass_of_each_frame(
    name: str, frames: int, hop: int, stride: int
) -> None:
    alone = network(name, frames)
    shared = Shared(alone, hop, 5)
    assert shared.stride == stride
    assert shared.input.frames == 4 * hop + frames
    clip = torch.zeros(1, 3, shared.input.frames, 32, 32)

    def macs(net: Net, x: torch.Tensor) -> int:
        with FlopCounterMode(display=False) as counter:
            assert net(x).shape[1] == 3
        return int(counter.get_total_flops())

    ratio = macs(shared, clip) / macs(alone, clip[:, :, :frames])
    assert ratio < 1.05 * shared.input.frames / frames < 0.65 * shared.clips


def test_what_cannot_share_says_why() -> None:
    with pytest.raises(ModelError, match="1 x 1 x 1"):
        Shared(network("slowfast_r50", 32), 16, 5)
    with pytest.raises(ModelError, match="boxes"):
        Shared(network("slow_r50_detection", 4), 2, 5)
    with pytest.raises(ModelError, match="bursts"):
        Shared(create_model("tdn_resnet50"), 20, 5)
    with pytest.raises(ModelError, match="made for 8 frames"):
        Shared(network("tanet_resnet50", 8), 4, 5)
    with pytest.raises(ModelError, match="multiple of 8 frames"):
        Shared(network("r3d_18", 16), 4, 5)
