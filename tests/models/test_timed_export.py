"""Timed networks elsewhere: exported once, with a batch of any size, and run by three engines."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from exports import agrees, agrees_everywhere, by_openvino, exported
from images import clip, image
from torch import Tensor

from marey.models.timed import Timed, timed

pytestmark = [
    # Torch's LSTM and GRU keep their weights in a list of their own, which a trace takes out.
    pytest.mark.filterwarnings("ignore:The tensor attributes self.head.rnn._flat_weights"),
]

# Maps of one pixel lie in memory in any format, and torch.onnx decides otherwise than torch.export
# ("Cannot view a tensor", torch 2.14): so no smaller than what leaves the last map 2x2.
SIZE = 64

EVERYWHERE = [
    ("test_resnet", "none"),
    ("test_resnet", "full:ends=replicate:stride=2,"),
    ("test_resnet", "mixed+conv1d"),
    ("test_resnet", "split:width=paper"),
    ("test_resnet", "shift"),
    ("test_resnet", "tam+rnn"),
    ("test_resnet", "gate:stages=3"),
    ("test_resnet", "pool+rnn:cell=gru:both=true"),
    ("test_byobnet", "clip+segments:parts=2"),
    ("test_efficientnet", "full"),
    ("test_convnext", "split:ends=causal"),
]
"""Together, each kind of rule; ONNX and OpenVINO take some seconds for each."""

BY_TORCH = [
    ("test_resnet", "full"),
    ("test_resnet", "split"),
    ("test_resnet", "shift:ends=causal"),
    ("test_resnet", "tam:init=difference:ends=causal"),
    ("test_resnet", "pool:op=mean"),
    ("test_resnet", "gate:init=paper"),
    ("test_nfnet", "full"),
    ("test_convnext", "tam"),
]


def network(name: str, rule: str) -> Timed:
    """Drawn through and through: taps over time that start at zero would hide their mistakes."""
    net = timed(image(name), rule, frames=4, classes=3)
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in net.parameters():
            if parameter.ndim > 1:
                spread = 0.5 * parameter.abs().mean().clamp(min=0.01)
                parameter += spread * torch.randn(parameter.shape, generator=generator)
    return net


def clips(count: int) -> Tensor:
    return clip(count, size=SIZE)


@pytest.mark.parametrize(("name", "rule"), BY_TORCH)
def test_torch_exports(name: str, rule: str) -> None:
    net = network(name, rule)
    agrees(exported(net, clips(2)).module(), net, clips)


@pytest.mark.parametrize(("name", "rule"), EVERYWHERE)
def test_onnx_and_openvino_answer_as_torch(name: str, rule: str, tmp_path: Path) -> None:
    agrees_everywhere(network(name, rule), clips, tmp_path)


def test_openvino_reads_torchs_own_program() -> None:
    net = network("test_resnet", "tam")
    agrees(by_openvino(exported(net, clips(2))), net, clips)
