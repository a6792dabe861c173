"""The one door to OpenVINO's engine in a process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import ModelError

NAMES = {"f32": "float32", "bf16": "bfloat16"}

BOUNDS = {"f32": 1e-3, "bf16": 0.02}
"""How far the logits may be from the network's own, relative to the largest of them."""


@cache
def core() -> Any:
    """OpenVINO's engine, made once and kept.

    Each one that is made moves the stack on which signals are handled, and one that ends may put
    back that of another, which is gone (OpenVINO 2026.4): the next signal, such as that a child
    process has ended, would then end this one.
    """
    with _untold():
        import openvino

    return openvino.Core()


class Request:
    """A compiled graph that several threads may ask: they take turns."""

    def __init__(self, request: Any) -> None:
        self._request, self._turn = request, Lock()

    def __call__(self, given: NDArray[Any]) -> NDArray[np.float32]:
        """The graph's answer to its one input."""
        return self.all(given)[0]

    def all(self, *given: NDArray[Any]) -> list[NDArray[np.float32]]:
        """All outputs for all inputs; copies, as the next ones are written to the same places."""
        inputs = [np.ascontiguousarray(one) for one in given]
        with self._turn:
            found = self._request.infer(inputs, share_inputs=True, share_outputs=True)
            return [np.array(found[k], np.float32) for k in range(len(found))]


def compiled(model: Any, precision: str, threads: int | None) -> Any:
    """A request of `model` on the CPU, in `f32` or `bf16`; `threads` defaults to all cores.

    ModelError for bfloat16 on a processor that does not compute in it.
    """
    if precision == "bf16" and fastest() != "bf16":
        raise ModelError(
            "this processor does not compute in bfloat16", do="Take precision 'auto' or 'f32'."
        )
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    return core().compile_model(model, "CPU", options).create_infer_request()


def converted(program: Any) -> Any:
    """The graph of what `torch.export` made."""
    with _untold():
        import openvino

        return openvino.convert_model(program)


class _Silent:
    """What OpenVINO's tools ask of a `Telemetry`."""

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def send_event(self, *_: Any, **__: Any) -> None: ...

    send_error = send_stack_trace = start_session = end_session = force_shutdown = send_event


@contextmanager
def _untold() -> Iterator[None]:
    """Nobody is told: OpenVINO reports each import and conversion to its makers, if not refused.

    What would do so, over the network, is replaced while it is asked for.
    """
    try:
        import openvino_telemetry
    except ImportError:  # it does without
        yield
        return
    talkative = openvino_telemetry.Telemetry
    openvino_telemetry.Telemetry = _Silent
    try:
        yield
    finally:
        openvino_telemetry.Telemetry = talkative


def save(model: Any, path: Path) -> None:
    """Write `.xml` and `.bin`, in float32; OSError where that fails, as of any other writing."""
    import openvino

    try:
        openvino.save_model(model, path, compress_to_fp16=False)
    except RuntimeError as error:
        raise OSError(str(error)) from error


def fastest() -> str:
    """bfloat16 where the processor computes in it, float32 elsewhere."""
    return "bf16" if "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
