"""Networks run by ONNX Runtime on the CPU: converted once, compared with the network itself, kept.

As with OpenVINO, normalisation is part of the graph. A graph takes any number of clips of one size;
there is one for frames and one for normalised clips, made when they first come.
"""

from __future__ import annotations

import platform
import warnings
from importlib.metadata import version
from pathlib import Path
from threading import Lock
from typing import Any

import torch
from torch import Tensor

from marey.errors import MissingExtraError, OutputError
from marey.models._net import Net
from marey.runtime._cache import GraphCache, graph_name
from marey.runtime._net import NetRuntime
from marey.runtime._onnxruntime import INSTALL, NAME, Session, need_onnxruntime, only_float32
from marey.runtime.openvino import (
    FromFrames,
    difference,
    example,
    folder_of,
    graph_names,
    judge,
    refused,
)

_LIBRARIES = (
    *("marey", "torch", "timm", "torchvision", "numpy"),
    *("onnx", "onnxscript", "onnxruntime"),
)


class OnnxRuntime(NetRuntime):
    """Runs `net` in float32; several threads may ask at once.

    Raises RefusedError for a network that cannot be converted or does not answer as it did, and
    MissingExtraError where ONNX Runtime, or what converts, is not installed.
    """

    runtime, precision = NAME, "float32"

    def __init__(
        self,
        net: Net,
        precision: str = "auto",
        *,
        batch: int = 1,
        threads: int | None = None,
    ) -> None:
        only_float32(precision)
        need_onnxruntime()
        _need_converter()
        super().__init__(net.cpu())
        self._batch, self._threads = batch, threads
        self._cache = OnnxCache(folder_of(net, _made_by()))
        self._graphs: dict[tuple[torch.dtype, tuple[int, ...]], Session] = {}
        self._making = Lock()
        self._graph(torch.uint8, (net.input.frames, *net.input.size, 3))

    def frames(self, frames: Tensor) -> Tensor:
        return self._run(frames)

    def clips(self, clips: Tensor) -> Tensor:
        return self._run(clips.float())

    def _run(self, x: Tensor) -> Tensor:
        """By `batch` clips at a time, which bounds the memory."""
        graph = self._graph(x.dtype, tuple(x.shape[1:]))
        parts = torch.split(x, self._batch)
        return torch.cat([torch.from_numpy(graph(part.numpy())) for part in parts])

    def _graph(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Session:
        with self._making:
            if (dtype, shape) not in self._graphs:
                self._graphs[dtype, shape] = self._made(dtype, shape)
            return self._graphs[dtype, shape]

    def _made(self, dtype: torch.dtype, shape: tuple[int, ...]) -> Session:
        name = graph_name("frames" if dtype == torch.uint8 else "clips", shape, "f32")
        if kept := self._cache.read(name):
            model, apart = kept
            session = self._session(model)
        else:
            module = FromFrames(self.net).eval() if dtype == torch.uint8 else self.net
            model = convert(module, example(dtype, (2, *shape)), self.net.name)
            session = self._session(model)
            # One clip and two: the number of clips is left open in the graph.
            apart = max(_apart(session, module, example(dtype, (n, *shape))) for n in (1, 2))
            try:
                self._cache.write(name, model, apart)
            except OutputError as error:
                self.notes.append(str(error))
        judge("ONNX Runtime", self.net.name, "f32", apart)
        if self.difference is None:
            self.difference = apart
        return session

    def _session(self, model: bytes) -> Session:
        try:
            return Session(model, self._threads)
        except RuntimeError as error:
            raise refused("ONNX Runtime", self.net.name, error) from error


class OnnxCache(GraphCache):
    """The graphs of one network as ONNX files."""

    files = ("net.onnx",)

    def load(self, path: Path) -> bytes:
        return path.read_bytes()

    def save(self, model: bytes, path: Path) -> None:
        path.write_bytes(model)


def convert(module: torch.nn.Module, given: Tensor, name: str) -> bytes:
    """The graph of a network for any number of inputs like the two `given`, or RefusedError."""
    clips = torch.export.Dim("clips", min=1)
    try:
        # What the tools warn of, they warn of their own code.
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.export.export(module, (given,), dynamic_shapes=({0: clips},))
            return graph_of(program)
    except Exception as error:  # whatever two compilers raise, the network still runs in torch
        raise refused("ONNX Runtime", name, error) from error


def graph_of(program: torch.export.ExportedProgram, about: str | None = None) -> bytes:
    """An ONNX file of what `torch.export` made, with `graph_names`; `about` is noted in it.

    MissingExtraError where what writes it is not installed.
    """
    _need_converter()
    inputs, outputs = graph_names(program)
    made = torch.onnx.export(
        program,
        input_names=inputs,
        output_names=outputs,
        dynamo=True,
        verbose=False,
    )
    assert made is not None  # only the old exporter gives nothing
    model: Any = made.model_proto
    if about is not None:
        model.metadata_props.add(key="marey", value=about)
    written: bytes = model.SerializeToString()
    return written


@torch.inference_mode()
def _apart(session: Session, module: torch.nn.Module, given: Tensor) -> float:
    return difference(torch.from_numpy(session(given.numpy())), module(given))


def _need_converter() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401  # what torch writes the file with
    except ImportError as error:
        raise MissingExtraError("ONNX files need more libraries", do=INSTALL) from error


def _made_by() -> list[object]:
    """What makes and runs graphs, on which their differences depend."""
    able = platform.machine(), torch.backends.cpu.get_cpu_capability()
    return [{name: version(name) for name in _LIBRARIES}, able]
