"""The one door to OpenVINO's engine in a process."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

from marey.errors import ModelError

NAMES = {"f32": "float32", "bf16": "bfloat16"}


@cache
def core() -> Any:
    """OpenVINO's engine, made once and kept.

    Each one that is made moves the stack on which signals are handled, and one that ends may put
    back that of another, which is gone (OpenVINO 2026.4): the next signal, such as that a child
    process has ended, would then end this one.
    """
    import openvino

    return openvino.Core()


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
