"""The one door to OpenVINO's engine in a process."""

from __future__ import annotations

from functools import cache
from typing import Any


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
    """A request of `model` on the CPU, in `f32` or `bf16`; `threads` defaults to all cores."""
    options: dict[str, Any] = {
        "INFERENCE_PRECISION_HINT": precision,
        "PERFORMANCE_HINT": "LATENCY",
    }
    if threads:
        options["INFERENCE_NUM_THREADS"] = threads
    return core().compile_model(model, "CPU", options).create_infer_request()


def fastest() -> str:
    """bfloat16 where the processor computes in it, float32 elsewhere."""
    return "bf16" if "BF16" in core().get_property("CPU", "OPTIMIZATION_CAPABILITIES") else "f32"
