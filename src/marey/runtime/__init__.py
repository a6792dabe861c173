"""A network made ready to run: clips of uint8 frames in, logits out, whatever computes them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from marey.errors import MissingExtraError, ModelError
from marey.types import Input, ModelCard

if TYPE_CHECKING:
    from marey.models._net import Net
    from marey.runtime._kept import KeptRuntime
    from marey.runtime._net import NetRuntime
    from marey.runtime.file import FileRuntime

RUNTIMES = ("auto", "openvino", "onnx", "torch")
PRECISIONS = ("auto", "f32", "bf16", "int8")
FILES = (".onnx", ".xml")
"""What `marey.export` writes and `compile` runs by its path."""


class Ready(Protocol):
    """What reports need of whatever is asked: `warnings` are what they must say of its results."""

    @property
    def warnings(self) -> tuple[str, ...]: ...

    def card(self) -> ModelCard: ...


class Runtime(Ready, Protocol):
    """What a task needs of a network. `multilabel`: several classes may be true at once."""

    @property
    def input(self) -> Input: ...

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    @property
    def multilabel(self) -> bool: ...

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """N T H W 3, already of the size that `input` asks for → N K, logits, or N D, features."""
        ...


def compile(
    model: str | os.PathLike[str] | Net,
    *,
    runtime: str = "auto",
    precision: str = "auto",
    batch: int = 1,
    threads: int | None = None,
    device: str | None = None,
    compiled: bool = False,
    options: Mapping[str, Any] | None = None,
    features: bool = False,
) -> NetRuntime | KeptRuntime | FileRuntime:
    """A network, by name, checkpoint folder or itself, made ready to run as fast as it can here.

    The result is called with frames (uint8, N T H W 3, of the size that its `input` asks for) or
    with normalised clips (float, N 3 T H W); arrays give arrays, tensors tensors: logits, N K.

    `auto` is CUDA where there is some, else OpenVINO, in bfloat16 on processors that compute in it
    if the answers stay within 2 %, and else in float32; a network that OpenVINO refuses runs in
    torch, and its `warnings` say so. `f32` is for exactness; `onnx`, ONNX Runtime, knows no other.
    `compiled` has torch.compile work on it, on CUDA: see `TorchRuntime`.

    OpenVINO and ONNX Runtime take `batch` clips at a time, which more are cut into. For them a
    network is converted for the clips of its `input`, compared with itself, and kept in the cache
    (`MAREY_CACHE`); for clips of other shapes when they first come. One given by name or folder is
    found there again without torch, until its files, the libraries or the processor change (not for
    ONNX Runtime). `threads` defaults to all cores. A network that is given itself is taken over:
    evaluation mode, device. `options` are those of a network that is given by its name.

    With `features` it gives no logits but what stands before its last layer, N D: what its head
    sees of each frame, averaged over time. `card().network` is the hash of all that they depend on
    but runtime and precision. Files hold no features.

    A `.onnx` or `.xml` file that `marey.export` wrote is run by OpenVINO, without torch, on frames,
    or `.onnx` by ONNX Runtime, if it is asked for or OpenVINO is not there (`warnings` say so);
    `auto` is float32 there, as there is no network to compare it with. `int8` is for files that
    were exported in it.
    A bare name takes its default weights, or is refused: random weights label nothing. Raises
    ModelError for an unknown runtime or precision, or one that this machine does not have.
    """
    one_of("runtime", runtime, RUNTIMES)
    one_of("precision", precision, PRECISIONS)
    if options and (not isinstance(model, str | os.PathLike) or Path(model).suffix in FILES):
        raise ModelError("options are for a network given by its name; this one is made already")
    if compiled:
        if runtime not in ("auto", "torch"):
            raise ModelError("compiled is for torch", do="Leave out `compiled`, or the runtime.")
        runtime = "torch"
    if isinstance(model, str | os.PathLike) and Path(model).suffix in FILES:
        if features:
            raise ModelError(
                "an exported file gives scores only, no features",
                where=model,
                do="Name the network that it was made from, or its checkpoint folder.",
            )
        file = open_file(Path(model), runtime, precision, threads)
        file.need_clips()
        return file
    if precision == "int8":
        from marey.runtime.file import INT8

        raise ModelError("int8 is for files, calibrated on clips when they are written", do=INT8)
    options = dict(options or {})
    how = runtime, precision, batch, threads, device, compiled, options, features
    make = partial(make_ready, model, *how)
    if not isinstance(model, str | os.PathLike) or (device is not None and runtime == "auto"):
        return make()
    return by_name(model, make, runtime, precision, batch, threads, options, features)


def by_name(
    name: str | os.PathLike[str],
    make: Callable[[], NetRuntime],
    runtime: str,
    precision: str,
    batch: int = 1,
    threads: int | None = None,
    options: Mapping[str, Any] | None = None,
    features: bool = False,
    shared: tuple[int, int] | None = None,
) -> NetRuntime | KeptRuntime:
    """What `make` gives, or what an earlier call for the same name has left."""
    if runtime not in ("auto", "openvino") or find_spec("openvino") is None:
        return make()
    from marey.runtime._kept import Asked, kept

    text = json.dumps(dict(options or {}), sort_keys=True)
    return kept(Asked(name, runtime, precision, batch, text, features, shared), threads, make)


def make_ready(
    model: str | os.PathLike[str] | Net,
    runtime: str,
    precision: str,
    batch: int,
    threads: int | None,
    device: str | None,
    compiled: bool,
    options: Mapping[str, Any],
    features: bool = False,
    shared: tuple[int, int] | None = None,
) -> NetRuntime:
    """What `compile` gives for a network that nothing is kept of."""
    from marey.models._create import create_model
    from marey.models._registry import default_weights
    from marey.runtime.torch import TorchRuntime, has_cuda

    if isinstance(model, str | os.PathLike):
        model = create_model(default_weights(model), **options)
    if features:
        from marey.models._embedding import Embedding

        model = Embedding(model)
    if shared:
        from marey.models._shared import Shared

        model = Shared(model, *shared)
    if runtime == "auto" and device is None and not has_cuda():
        return fastest_on_cpu(
            model.name,
            precision,
            partial(_by_openvino, model, precision, batch, threads),
            partial(TorchRuntime, model, precision=precision, threads=threads),
        )
    if runtime == "openvino":
        return _by_openvino(model, precision, batch, threads)
    if runtime == "onnx":
        from marey.runtime.onnx import OnnxRuntime

        return OnnxRuntime(model, precision, batch=batch, threads=threads)
    return TorchRuntime(model, device, precision=precision, threads=threads, compiled=compiled)


class _Noted(Protocol):
    notes: list[str]


Made = TypeVar("Made", bound=_Noted)


def fastest_on_cpu(
    name: str, precision: str, by_openvino: Callable[[], Made], by_torch: Callable[[], Made]
) -> Made:
    """OpenVINO if it takes the network; else torch, with a note that reports repeat."""
    from marey.runtime.openvino import DiffersError, RefusedError

    try:
        return by_openvino()
    except DiffersError as error:
        if precision != "auto":
            raise
        note = error.what
    except (MissingExtraError, RefusedError) as error:
        note = error.what
    made = by_torch()
    made.notes.append(f"{name}: runs in torch, slower: {note}")
    return made


def _by_openvino(net: Net, precision: str, batch: int, threads: int | None) -> NetRuntime:
    need_openvino()
    from marey.runtime.openvino import OpenVinoRuntime

    return OpenVinoRuntime(
        net, None if precision == "auto" else precision, batch=batch, threads=threads
    )


def open_file(path: Path, runtime: str, precision: str, threads: int | None) -> FileRuntime:
    """The file at `path`, ready to run: clips, or the steps of a stream."""
    if runtime == "torch" or (runtime == "onnx" and path.suffix != ".onnx"):
        raise ModelError(
            f"a {path.suffix} file is not run by runtime {runtime!r}",
            where=path,
            do="Choose one of: auto, openvino" + (", onnx." if path.suffix == ".onnx" else "."),
        )
    alone = find_spec("openvino") is None and find_spec("onnxruntime") is not None
    if runtime == "onnx" or (runtime == "auto" and path.suffix == ".onnx" and alone):
        from marey.runtime._onnxruntime import OnnxFileRuntime

        made = OnnxFileRuntime(path, precision, threads=threads)
        if runtime == "auto":
            made.notes.append(f"{path}: runs in ONNX Runtime: OpenVINO is not installed")
        return made
    need_openvino()
    from marey.runtime.file import FileRuntime

    return FileRuntime(path, precision, threads=threads)


def need_openvino() -> None:
    if find_spec("openvino") is None:
        raise MissingExtraError("OpenVINO is not installed", do="Run: pip install openvino")


def one_of(what: str, given: str, known: tuple[str, ...]) -> None:
    """ModelError for what is not `known`."""
    if given not in known:
        raise ModelError(f"no {what} is called {given!r}", do=f"Choose one of: {', '.join(known)}.")
