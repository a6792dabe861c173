from __future__ import annotations

import re

import pytest
import torch

from marey.errors import ModelError
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._weights import load_state


def test_parameters_and_macs() -> None:
    with torch.device("meta"):
        net = create_model("tanet_resnet50")
    found = cost(net, (8, 224, 224))
    assert found.params == 25_590_320
    # The reference answers after every frame; and it convolves by the adaptive kernel, where we
    # multiply and add, which is not counted: three taps for each value of each block's map.
    answers = 7 * net.head.linear.weight.numel()
    widths = [(64, 56, 3), (128, 56, 1), (128, 28, 3), (256, 28, 1), (256, 14, 5), (512, 14, 1)]
    adaptive = 3 * 8 * sum(c * side**2 * times for c, side, times in [*widths, (512, 7, 2)])
    assert (found.macs + answers + adaptive) / 1e9 == pytest.approx(32.76, abs=0.006)


def test_frames_are_fixed_when_it_is_made() -> None:
    with torch.device("meta"):
        net = create_model("tanet_resnet50", frames=4)
        assert net(torch.empty(2, 3, 4, 32, 32)).shape == (2, 400)
        assert (net.input.frames, net.options["frames"]) == (4, 4)
        with pytest.raises(ModelError, match="made for 4 frames, got 8"):
            net(torch.empty(1, 3, 8, 32, 32))


def test_both_published_habits_name_the_same_entries() -> None:
    net = create_model("tanet_resnet50", classes=3)
    own = {name: torch.rand_like(v.float()) for name, v in net.state_dict().items()}
    authors, mmaction2 = {}, {}
    for name, value in own.items():
        inside = name.removeprefix("body.net.").replace("head.linear", "fc")
        added = re.sub(r"conv2\.mix\.", "tam.", inside)
        if added != inside:
            authors[f"base_model.{added}"] = mmaction2[f"backbone.{added}"] = value
            continue
        inside = inside.replace("conv2.conv.", "conv2.")
        wrapped = re.sub(r"^(layer\d\.\d+)\.", r"\1.net.", inside)
        authors[f"base_model.{wrapped}".replace("base_model.fc", "new_fc")] = value
        joined = re.sub(r"\bconv(\d)\.", r"conv\1.conv.", inside)
        joined = re.sub(r"\bbn(\d)\.", r"conv\1.bn.", joined).replace(
            "downsample.0", "downsample.conv"
        )
        joined = re.sub(r"^(layer\d\.\d+)\.", r"\1.block.", joined)
        joined = joined.replace("downsample.1", "downsample.bn")
        mmaction2[f"backbone.{joined}".replace("backbone.fc", "cls_head.fc_cls")] = value
    assert "base_model.layer1.0.tam.G.0.weight" in authors
    assert "base_model.layer1.0.net.conv2.weight" in authors
    assert "backbone.layer3.5.block.conv2.bn.running_var" in mmaction2
    for layout, state in (("tanet", authors), ("mmaction2", mmaction2)):
        report = load_state(net, state, source="file", layout=layout)
        assert report.fresh == report.dropped == ()
        for name, value in net.state_dict().items():
            assert name.endswith("num_batches_tracked") or torch.equal(value, own[name])
