"""Networks that judge boxes, compiled: their maps by the engine, their boxes by the head."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from marey.errors import ModelError
from marey.models._create import create_model
from marey.models._roi_net import RoiNet
from marey.nn.clip import normalise
from marey.runtime.openvino import difference, example
from marey.runtime.roi import RoiRuntime, compile_actions
from marey.tasks._actor_looks import JudgesBoxes

BOXES = np.array([[0, 4, 6, 70.5, 60], [0, 0, 0, 96, 64], [0, 50, 8, 90, 33]], np.float32)


@pytest.fixture(scope="module")
def net() -> RoiNet:
    return made("slow_r50_detection", frames=4)


def made(name: str, **prepare: int) -> RoiNet:
    torch.manual_seed(0)
    net = create_model(name, classes=["jump", "run", "sit"])
    assert isinstance(net, RoiNet)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
    net.input = replace(net.input, size=(64, 64), resize=64, **prepare)
    net.multilabel = True
    return net


def expected(net: RoiNet, frames: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return net(normalise(frames, net.input), torch.from_numpy(BOXES))


@pytest.mark.parametrize("runtime", ["openvino", "torch"])
def test_it_answers_as_the_network_does_at_any_shape(net: RoiNet, runtime: str) -> None:
    made = compile_actions(net, runtime=runtime, precision="f32")
    assert isinstance(made, RoiRuntime)
    assert isinstance(made, JudgesBoxes)
    for shape in ((1, 4, 64, 113, 3), (1, 4, 80, 64, 3)):
        frames = example(torch.uint8, shape)
        found = torch.from_numpy(made.judge(frames.numpy(), BOXES))
        assert found.shape == (3, 3)
        assert difference(found, expected(net, frames)) < 1e-4
    card = made.card()
    assert (card.name, card.classes, card.multilabel) == (net.name, 3, True)
    assert card.runtime.startswith(runtime)
    assert card.input == net.input
    assert made.labels == ("jump", "run", "sit")
    assert made.warnings == ()


@pytest.mark.slow
def test_so_does_slowfast_at_the_size_of_footage() -> None:
    net = made("slowfast_r50_detection")
    runtime = compile_actions(net, runtime="openvino", precision="f32")
    assert isinstance(runtime, RoiRuntime)
    frames = example(torch.uint8, (1, 32, 256, 455, 3))
    found = torch.from_numpy(runtime.judge(frames.numpy(), BOXES))
    assert difference(found, expected(net, frames)) < 1e-4


def test_as_any_network_it_judges_the_whole_picture(net: RoiNet) -> None:
    """Its graph is another one than that of its maps."""
    from marey.runtime import compile

    frames = example(torch.uint8, (1, 4, 64, 64, 3))
    compile_actions(net, runtime="openvino", precision="f32").judge(frames.numpy(), BOXES)
    whole = compile(net, runtime="openvino", precision="f32")
    with torch.inference_mode():
        theirs = net(normalise(frames, net.input))
    assert difference(torch.from_numpy(whole(frames.numpy())), theirs) < 1e-4


def test_networks_of_clips_are_compiled_as_ever() -> None:
    for given in ("efficientnet_lite0.in1k", create_model("efficientnet_lite0.in1k")):
        made = compile_actions(given)
        assert not isinstance(made, JudgesBoxes)
        assert made.card().classes == 1000
    with pytest.raises(ModelError, match="no runtime is called 'gpu'"):
        compile_actions("slow_r50_detection", runtime="gpu")
