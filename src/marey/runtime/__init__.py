"""A network made ready to run: clips of uint8 frames in, logits out, whatever computes them."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from marey.errors import MissingExtraError, ModelError
from marey.types import Input, ModelCard

if TYPE_CHECKING:
    from marey.models._net import Net
    from marey.runtime._net import NetRuntime
    from marey.runtime.file import FileRuntime

RUNTIMES = ("auto", "openvino", "torch")
PRECISIONS = ("auto", "f32", "bf16")
FILES = (".onnx", ".xml")
"""What `marey.export` writes and `compile` runs by its path."""


class Runtime(Protocol):
    """What a task needs of a network; `warnings` are what a report of its results must say.

    `multilabel`: several classes may be true at once.
    """

    @property
    def input(self) -> Input: ...

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    @property
    def multilabel(self) -> bool: ...

    @property
    def warnings(self) -> tuple[str, ...]: ...

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """N T H W 3, already of the size that `input` asks for → N K, logits."""
        ...

    def card(self) -> ModelCard: ...


def compile(
    model: str | os.PathLike[str] | Net,
    *,
    runtime: str = "auto",
    precision: str = "auto",
    batch: int = 1,
    threads: int | None = None,
    device: str | None = None,
) -> NetRuntime | FileRuntime:
    """A network, by name, checkpoint folder or itself, made ready to run as fast as it can here.

    The result is called with frames (uint8, N T H W 3, of the size that its `input` asks for) or
    with normalised clips (float, N 3 T H W); arrays give arrays, tensors tensors: logits, N K.

    `auto` is CUDA where there is some, else OpenVINO, in bfloat16 on processors that compute in it
    if the answers stay within 2 %, and else in float32; a network that OpenVINO refuses runs in
    torch, and its `warnings` say so. `f32` is for exactness.

    OpenVINO takes `batch` clips at a time, which more are cut into. A network is converted for the
    clips of its `input`, compared with itself, and kept in the cache (`MAREY_CACHE`); for clips of
    other shapes when they first come. `threads` defaults to all cores. The network given is taken
    over: evaluation mode, device.

    A `.onnx` or `.xml` file that `marey.export` wrote is run by OpenVINO, without torch, on frames;
    `auto` is float32 there, as there is no network to compare it with.
    A bare name takes its default weights, or is refused: random weights label nothing. Raises
    ModelError for an unknown runtime or precision, or one that this machine does not have.
    """
    _one_of("runtime", runtime, RUNTIMES)
    _one_of("precision", precision, PRECISIONS)
    if isinstance(model, str | os.PathLike) and Path(model).suffix in FILES:
        _need_openvino()
        from marey.runtime.file import FileRuntime

        return FileRuntime(model, precision, threads=threads)
    from marey.models._registry import create_model, default_weights
    from marey.runtime.torch import TorchRuntime, has_cuda

    if isinstance(model, str | os.PathLike):
        model = create_model(default_weights(model))
    if runtime == "auto" and device is None and not has_cuda():
        return _fastest_on_cpu(model, precision, batch, threads)
    if runtime == "openvino":
        return _by_openvino(model, precision, batch, threads)
    return TorchRuntime(model, device, precision=precision, threads=threads)


def _fastest_on_cpu(net: Net, precision: str, batch: int, threads: int | None) -> NetRuntime:
    """OpenVINO if it takes the network; else torch, with a note that reports repeat."""
    from marey.runtime.openvino import DiffersError, RefusedError
    from marey.runtime.torch import TorchRuntime

    try:
        return _by_openvino(net, precision, batch, threads)
    except DiffersError as error:
        if precision != "auto":
            raise
        note = error.what
    except (MissingExtraError, RefusedError) as error:
        note = error.what
    made = TorchRuntime(net, precision=precision, threads=threads)
    made.notes.append(f"{net.name}: runs in torch, slower: {note}")
    return made


def _by_openvino(net: Net, precision: str, batch: int, threads: int | None) -> NetRuntime:
    _need_openvino()
    from marey.runtime.openvino import OpenVinoRuntime

    return OpenVinoRuntime(
        net, None if precision == "auto" else precision, batch=batch, threads=threads
    )


def _need_openvino() -> None:
    if find_spec("openvino") is None:
        raise MissingExtraError("OpenVINO is not installed", do="Run: pip install openvino")


def _one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    if given not in known:
        raise ModelError(f"no {what} is called {given!r}", do=f"Choose one of: {', '.join(known)}.")
