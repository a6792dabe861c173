from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from marey.errors import WeightsError
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._image_nets import image_net
from marey.models._info import model_info
from marey.models._net import Net
from marey.models._weights import load_state

# Parameters, and GMACs of one clip of 8 x 224 x 224, of the reference's own networks.
TABLE = {
    "tsn_resnet50": (24_327_632, 32.70),
    "tsm_resnet50": (24_327_632, 32.70),
    "tsm_mobilenetv2": (2_736_272, 2.40),
}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    params, gmacs = TABLE[name]
    with torch.device("meta"):
        net = create_model(name)
    found = cost(net, (8, 224, 224))
    assert found.params == params
    # The reference answers after every frame, and takes the mean of the answers.
    answers = 7 * net.head.linear.weight.numel()
    assert (found.macs + answers) / 1e9 == pytest.approx(gmacs, abs=0.006)


def shifted(net: Net) -> list[str]:
    assert net.report.time is not None
    return [change.name for change in net.report.time.changes]


def test_blocks_are_shifted_as_the_authors_do() -> None:
    with torch.device("meta"):
        names = {name: shifted(create_model(name)) for name in ("tsm_resnet50", "tsm_resnet101")}
        inverted = shifted(create_model("tsm_mobilenetv2"))
    stages = [(1, 3), (2, 4), (3, 6), (4, 3)]
    assert names["tsm_resnet50"] == [f"layer{n}.{k}.conv1" for n, d in stages for k in range(d)]
    stages[2] = (3, 23)
    assert names["tsm_resnet101"] == [
        f"layer{n}.{k}.conv1" for n, d in stages for k in range(0, d, 2)
    ]
    assert len(inverted) == 10
    assert all(name.endswith(".conv_pw") for name in inverted)


class Shifted(nn.Module):
    """A convolution whose inputs are shifted, eight frames a clip; named as published."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        clip = x.unflatten(0, (-1, FRAMES))
        share = clip.shape[2] // 8
        out = torch.zeros_like(clip)
        out[:, :-1, :share] = clip[:, 1:, :share]
        out[:, 1:, share : 2 * share] = clip[:, :-1, share : 2 * share]
        out[:, :, 2 * share :] = clip[:, :, 2 * share :]
        return self.net(out.flatten(0, 1))


FRAMES = 4


def resnet(depth: int, every: int | None, classes: int = 7) -> nn.Module:
    """The network of torchvision with the authors' wrappers around the convolutions they shift."""
    torch.manual_seed(depth)
    net = getattr(torchvision.models, f"resnet{depth}")(num_classes=classes)
    for layer in (net.layer1, net.layer2, net.layer3, net.layer4):
        for number, block in enumerate(layer):
            if every and number % every == 0:
                block.conv1 = Shifted(block.conv1)
    return unlike(net)


def unlike(net: nn.Module) -> nn.Module:
    """With norms that have seen the clips, each of them its own: none passes for another."""
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.uniform_(module.bias, -0.1, 0.1)
    net.train()
    with torch.no_grad():
        net(clip().transpose(1, 2).flatten(0, 1))
    return net.eval()


def clip() -> Tensor:
    return torch.randn(2, 3, FRAMES, 64, 40, generator=torch.Generator().manual_seed(0))


def answer(net: nn.Module) -> Tensor:
    with torch.inference_mode():
        logits: Tensor = net(clip().transpose(1, 2).flatten(0, 1))
    return logits.unflatten(0, (-1, FRAMES)).mean(1)


def as_mit(state: dict[str, Tensor], last: str) -> dict[str, Tensor]:
    """The names of a published file, whose prefix `module.` is taken away at reading."""
    return {
        f"new_fc.{name[len(last) + 1 :]}" if name.startswith(last) else f"base_model.{name}": value
        for name, value in state.items()
    }


def check(ours: Net, theirs: nn.Module, state: dict[str, Tensor], layout: str) -> None:
    report = load_state(ours, state, source="file", layout=layout)
    assert report.fresh == report.dropped == ()
    with torch.inference_mode():
        logits = ours(clip())
    torch.testing.assert_close(logits, answer(theirs), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(logits[0], logits[1], rtol=0.02)  # nothing is drowned by biases


CASES = [("tsn_resnet50", 50, None), ("tsm_resnet50", 50, 1), ("tsm_resnet101", 101, 2)]


@pytest.mark.parametrize(("name", "depth", "every"), CASES)
def test_equals_torchvisions_network_with_shifts(name: str, depth: int, every: int | None) -> None:
    theirs = resnet(depth, every)
    state = as_mit(theirs.state_dict(), "fc")
    check(create_model(name, classes=7), theirs, state, "mit-tsm")


def as_mmaction2(name: str) -> str:
    """A name of torchvision, with shifts, as mmaction2's: each convolution with its norm."""
    if name.startswith("fc."):
        return f"cls_head.fc_cls.{name[3:]}"
    name = re.sub(r"(conv\d)\.", r"\1.conv.", name)
    name = re.sub(r"\bbn(\d)\.", r"conv\1.bn.", name)
    name = name.replace("downsample.0", "downsample.conv").replace("downsample.1", "downsample.bn")
    return f"backbone.{name}"


@pytest.mark.parametrize(("name", "every"), [("tsn_resnet50", None), ("tsm_resnet50", 1)])
def test_mmaction2s_names_mean_the_same(name: str, every: int | None) -> None:
    theirs = resnet(50, every)
    state = {as_mmaction2(name): value for name, value in theirs.state_dict().items()}
    wrapped = "net." if every else ""
    assert f"backbone.layer1.0.conv1.conv.{wrapped}weight" in state
    assert "backbone.layer4.0.downsample.bn.running_mean" in state
    check(create_model(name, classes=7), theirs, state, "mmaction2")
    state["backbone.conv1.bias"] = torch.zeros(64)
    with pytest.raises(WeightsError, match=r"1 unknown \(conv1.bias\)"):
        load_state(create_model(name, classes=7), state, source="file", layout="mmaction2")


def mobilenet_names() -> list[str]:
    """The layers of the authors' MobileNetV2, in order, with a norm behind each convolution."""
    layers = ["features.0.0", "features.0.1"]
    for block in range(1, 18):
        numbers = (0, 1, 3, 4) if block == 1 else (0, 1, 3, 4, 6, 7)
        layers += [f"features.{block}.conv.{number}" for number in numbers]
    return [*layers, "features.18.0", "features.18.1", "classifier"]


@pytest.mark.parametrize("last", ["new_fc", "base_model.classifier"])
def test_mobilenet_equals_torchvisions_with_shifts(last: str) -> None:
    torch.manual_seed(0)
    theirs = unlike(torchvision.models.mobilenet_v2(num_classes=7))
    layers = [m for m in theirs.modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d | nn.Linear)]
    state = {}
    for name, layer in zip(mobilenet_names(), layers, strict=True):
        wrapped = name.endswith("conv.0") and int(name.split(".")[1]) in RESIDUAL
        for entry, value in layer.state_dict().items():
            published = f"{last}.{entry}" if name == "classifier" else f"base_model.{name}.{entry}"
            state[published.replace("conv.0.", "conv.0.net.") if wrapped else published] = value
    for number in RESIDUAL:
        block = theirs.features[number]  # type: ignore[index]
        assert block.use_res_connect
        block.conv[0][0] = Shifted(block.conv[0][0])
    check(create_model("tsm_mobilenetv2", classes=7), theirs, state, "mit-tsm")


RESIDUAL = (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)


def test_a_published_file_is_read_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = resnet(50, 1, classes=400)
    state = {f"module.{name}": v for name, v in as_mit(theirs.state_dict(), "fc").items()}
    file = tmp_path / "TSM_kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50.pth"
    torch.save({"epoch": 50, "arch": "resnet50", "state_dict": state, "best_prec1": 71.2}, file)
    monkeypatch.setenv("MAREY_MIRROR", tmp_path.as_uri())
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    net = create_model("tsm_resnet50.k400_uniform")
    assert "pinned" in net.report.warnings[0]
    assert (net.licence, net.input.frames) == ("MIT", 8)
    with torch.inference_mode():
        torch.testing.assert_close(net(clip()), answer(theirs), rtol=1e-4, atol=1e-4)


def test_tsn_is_the_image_network_on_each_frame() -> None:
    theirs = unlike(image_net("resnet50", 7))
    net = create_model("tsn_resnet50", classes=7)
    check(net, theirs, theirs.state_dict(), "image")
    x = clip()
    with torch.inference_mode():
        torch.testing.assert_close(net(x), net(x.flip(2)), rtol=1e-4, atol=1e-5)


def test_published_weights_say_what_they_are() -> None:
    info = model_info("tsm_resnet50")
    assert info.default is None  # no file says in which order its classes are
    assert not any(weights.labels for weights in info.weights)
    assert {weights.classes for weights in info.weights} == {400, 174}
    assert model_info("tsm_resnet50.ssv2_16").shape == (16, 256, 256)
    assert "V1 val" in model_info("tsm_resnet101.ssv1").weights[0].protocol
    (mmaction2,) = model_info("tsn_resnet50.k400_mm").weights
    assert mmaction2.sha256 is not None
    assert mmaction2.source.endswith(f"-{mmaction2.sha256}.pth")
