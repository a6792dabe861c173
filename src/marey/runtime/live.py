"""Networks for live video: frame by frame where they can be, by windows where not."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from marey.errors import ModelError
from marey.runtime import (
    FILES,
    PRECISIONS,
    RUNTIMES,
    Runtime,
    by_name,
    compile,
    fastest_on_cpu,
    make_ready,
    need_openvino,
    one_of,
    open_file,
)
from marey.runtime.stream import StreamRuntime

if TYPE_CHECKING:
    from marey.models._net import Net
    from marey.runtime._kept import Asked
    from marey.runtime._steps import OpenVinoSteps

Name = str | os.PathLike[str]


def compile_stream(
    model: Name | Net,
    *,
    runtime: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> StreamRuntime:
    """A network made ready to look at frames as they come, a state in and out with them (`step`).

    The arguments are those of `compile`. OpenVINO runs a graph of one frame and its state, compared
    with the network over a clip and kept in the cache; what it refuses runs in torch, and
    `warnings` say so. A file is one that `marey export --stream` wrote; ONNX Runtime runs only such
    files.

    >>> import marey, numpy as np
    >>> net = marey.create_model("timm/test_resnet+shift:ends=causal", classes=2)
    >>> live, state = compile_stream(net), None
    >>> for _ in range(3):
    ...     logits, state = live.step(np.zeros((1, 1, 160, 160, 3), np.uint8), state)
    >>> logits.shape
    (1, 1, 2)

    Raises ModelError, with the reason, for a network that cannot run so.
    """
    how = _How.of(runtime, precision, threads)
    if not isinstance(model, str | os.PathLike):
        return how.stream(model)
    if Path(model).suffix in FILES:
        return open_file(Path(model), runtime, precision, threads).stream()
    return how.kept(model) or how.stream(_built(model), model)


def compile_live(
    model: Name,
    *,
    windows: bool = False,
    runtime: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
) -> StreamRuntime | Runtime:
    """What `marey watch` runs: `compile_stream` where the network can be, `compile` where not.

    `windows` asks for the latter, and so does the runtime `onnx` of a name. Which of the two a name
    was found to be is kept with the graph; a network is built once at most.
    """
    how = _How.of(runtime, precision, threads)
    if windows:
        return compile(model, **how._asdict())
    if Path(model).suffix in FILES:
        file = open_file(Path(model), runtime, precision, threads)
        return file if file.streamed is None else file.stream()
    if runtime == "onnx" or how.only_clips(model):
        return compile(model, **how._asdict())
    return how.kept(model) or how.stream_or_clips(_built(model), model)


class _How(NamedTuple):
    """What computes, and in which numbers."""

    runtime: str
    precision: str
    threads: int | None

    @classmethod
    def of(cls, runtime: str, precision: str, threads: int | None) -> _How:
        one_of("runtime", runtime, RUNTIMES)
        one_of("precision", precision, PRECISIONS)
        return cls(runtime, precision, threads)

    def asked(self, name: Name, *, step: bool) -> Asked | None:
        """Under what it may be in the cache; None where OpenVINO is no choice."""
        if self.runtime not in ("auto", "openvino") or find_spec("openvino") is None:
            return None
        from marey.runtime._kept import Asked

        return Asked(name, self.runtime, self.precision, 1, step=step)

    def only_clips(self, name: Name) -> bool:
        """Whether an earlier call has found that it cannot run as a stream."""
        asked = self.asked(name, step=False)
        if asked is None:
            return False
        from marey.runtime._kept import Note

        note = Note.read(asked.note())
        return note is not None and not note.streams

    def kept(self, name: Name) -> StreamRuntime | None:
        """What an earlier call has left."""
        asked = self.asked(name, step=True)
        if asked is None:
            return None
        from marey.runtime._kept import kept_stream

        return kept_stream(asked, self.threads)

    def stream(self, net: Net, name: Name | None = None) -> StreamRuntime:
        """The network frame by frame; `name` is what it is found by again."""
        from marey.runtime._steps import OpenVinoSteps, TorchSteps
        from marey.runtime.torch import has_cuda

        if self.precision == "int8":
            raise ModelError("a step is not quantised", do="Choose one of: auto, f32, bf16.")
        made: OpenVinoSteps | TorchSteps
        by_openvino: Callable[[], OpenVinoSteps | TorchSteps] = partial(self._openvino, net)
        by_torch = partial(TorchSteps, net, precision=self.precision, threads=self.threads)
        if self.runtime == "onnx":
            raise ModelError(
                "ONNX Runtime runs the steps of files only",
                where=net.name,
                do="Choose one of: auto, openvino, torch; or run `marey export --stream`.",
            )
        if self.runtime == "openvino":
            made = by_openvino()
        elif self.runtime == "torch" or has_cuda():
            made = by_torch()
        else:
            made = fastest_on_cpu(net.name, self.precision, by_openvino, by_torch)
        asked = None if name is None else self.asked(name, step=True)
        if asked is not None and isinstance(made, OpenVinoSteps):
            from marey.runtime._kept import leave_note

            leave_note(asked, made)
        return made.ready()

    def _openvino(self, net: Net) -> OpenVinoSteps:
        need_openvino()
        from marey.runtime._steps import OpenVinoSteps

        chosen = None if self.precision == "auto" else self.precision
        return OpenVinoSteps(net, chosen, threads=self.threads)

    def stream_or_clips(self, net: Net, name: Name) -> StreamRuntime | Runtime:
        from marey.models._stream import obstacle

        if obstacle(net) is None:
            return self.stream(net, name)
        runtime, precision, threads = self
        make = partial(make_ready, net, runtime, precision, 1, threads, None, False, {})
        return by_name(name, make, runtime, precision, 1, threads)


def _built(name: Name) -> Net:
    from marey.models._create import create_model
    from marey.models._registry import default_weights

    return create_model(default_weights(name))
