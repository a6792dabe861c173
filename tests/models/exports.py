"""Networks exported once, with a batch of any size, and run by three engines."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from marey.models._net import Net
from marey.runtime._openvino import compiled

onnxruntime = pytest.importorskip("onnxruntime")
openvino = pytest.importorskip("openvino")


def exported(net: Net, clip: Tensor) -> torch.export.ExportedProgram:
    """For any batch: a graph that keeps the size it was traced with would be refused here."""
    return torch.export.export(
        net, (clip,), dynamic_shapes={"clip": {0: torch.export.Dim("clips", min=1)}}
    )


@torch.inference_mode()
def agrees(run: Any, net: Net, clips: Callable[[int], Tensor], tolerance: float = 1e-4) -> None:
    """`run` answers as `net` does, for batches of other sizes and for clips backwards."""
    for count in (1, 3):
        given = clips(count)
        expected = net(given)
        found = torch.as_tensor(run(given))
        assert (found - expected).abs().max() < tolerance * expected.abs().max()
        backwards = torch.as_tensor(run(given.flip(2)))
        assert (backwards - net(given.flip(2))).abs().max() < tolerance * expected.abs().max()


def agrees_everywhere(net: Net, clips: Callable[[int], Tensor], folder: Path) -> None:
    """torch.export, ONNX Runtime and OpenVINO answer as the network itself."""
    program = exported(net, clips(2))
    agrees(program.module(), net, clips)
    path = folder / "net.onnx"
    torch.onnx.export(program, f=path, dynamo=True, verbose=False, external_data=False)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()
    assert isinstance(given.shape[0], str)
    assert tuple(given.shape[1:]) == clips(1).shape[1:]
    agrees(lambda x: session.run(None, {given.name: x.numpy()})[0], net, clips)
    agrees(by_openvino(path), net, clips)


def by_openvino(model: Path | torch.export.ExportedProgram) -> Any:
    request = compiled(openvino.convert_model(model), "f32", None)
    return lambda x: request.infer([x.numpy()])[0]
