"""Timed networks elsewhere: exported once, with a batch of any size, and run by three engines."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from images import clip, image

from marey.models.timed import Timed, timed

onnxruntime = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")

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


def exported(net: Timed) -> torch.export.ExportedProgram:
    """For any batch: a graph that keeps the size it was traced with would be refused here."""
    clips = torch.export.Dim("clips", min=1)
    return torch.export.export(net, (clip(2, size=SIZE),), dynamic_shapes={"clip": {0: clips}})


@torch.inference_mode()
def agrees(run: Any, net: Timed, tolerance: float = 1e-4) -> None:
    for clips in (1, 3):
        given = clip(clips, size=SIZE)
        expected = net(given)
        found = torch.as_tensor(run(given))
        assert (found - expected).abs().max() < tolerance * expected.abs().max()
        backwards = torch.as_tensor(run(given.flip(2)))
        assert (backwards - net(given.flip(2))).abs().max() < tolerance * expected.abs().max()


@pytest.mark.parametrize(("name", "rule"), BY_TORCH)
def test_torch_exports(name: str, rule: str) -> None:
    net = network(name, rule)
    agrees(exported(net).module(), net)


@pytest.mark.parametrize(("name", "rule"), EVERYWHERE)
def test_onnx_and_openvino_answer_as_torch(name: str, rule: str, tmp_path: Path) -> None:
    net = network(name, rule)
    program = exported(net)
    agrees(program.module(), net)
    path = tmp_path / "net.onnx"
    torch.onnx.export(program, f=path, dynamo=True, verbose=False, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert isinstance(given.shape[0], str)
    assert given.shape[1:] == [3, 4, SIZE, SIZE]
    agrees(lambda x: session.run(None, {given.name: x.numpy()})[0], net)
    agrees(by_openvino(path), net)


def test_openvino_reads_torchs_own_program() -> None:
    net = network("test_resnet", "tam")
    agrees(by_openvino(exported(net)), net)


def by_openvino(model: Path | torch.export.ExportedProgram) -> Any:
    exact = {"INFERENCE_PRECISION_HINT": "f32"}  # or bfloat16, where the processor has it
    compiled = openvino.compile_model(openvino.convert_model(model), "CPU", exact)
    return lambda x: compiled(x.numpy())[0]
