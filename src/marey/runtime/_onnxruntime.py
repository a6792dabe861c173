"""The one door to ONNX Runtime: graphs on the CPU in float32, and files that need no torch."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import MissingExtraError, ModelError
from marey.runtime.file import FileRuntime

NAME = "onnxruntime cpu"


class Session:
    """A graph ready to compute; several threads may ask it at once.

    `threads` defaults to all cores. Raises RuntimeError for what is no graph, or no known one.
    """

    def __init__(self, model: bytes | Path, threads: int | None) -> None:
        import onnxruntime

        onnxruntime.disable_telemetry_events()  # which its builds for Windows send
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or 0
        options.log_severity_level = 3  # errors; it warns of its own choices
        given = model if isinstance(model, bytes) else str(model)
        try:
            self._session = onnxruntime.InferenceSession(
                given, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # its errors have no class in common
            raise RuntimeError(str(error)) from error
        self._inputs = [one.name for one in self._session.get_inputs()]

    def __call__(self, given: NDArray[Any]) -> NDArray[np.float32]:
        """The graph's answer to its one input."""
        return self.all(given)[0]

    def all(self, *given: NDArray[Any]) -> list[NDArray[np.float32]]:
        """All outputs for all inputs."""
        inputs = map(np.ascontiguousarray, given)
        found = self._session.run(None, dict(zip(self._inputs, inputs, strict=True)))
        return [np.asarray(one) for one in found]

    def note(self, key: str) -> str | None:
        """What the graph's file says under `key`."""
        said: str | None = self._session.get_modelmeta().custom_metadata_map.get(key)
        return said


class OnnxFileRuntime(FileRuntime):
    """Runs an `.onnx` file that `marey export` wrote, in float32 and without torch.

    Several threads may ask at once. Raises MissingExtraError where ONNX Runtime is not installed.
    """

    runtime = NAME

    def __init__(
        self, path: str | os.PathLike[str], precision: str = "auto", *, threads: int | None = None
    ) -> None:
        only_float32(precision)
        need_onnxruntime()
        super().__init__(path, threads=threads)

    def _open(self, threads: int | None) -> str | None:
        self._graph = session = Session(self.path, threads)
        return session.note("marey")


def need_onnxruntime() -> None:
    if find_spec("onnxruntime") is None:
        raise MissingExtraError("ONNX Runtime is not installed", do=INSTALL)


def only_float32(precision: str) -> None:
    """ModelError for a precision that ONNX Runtime is not used in."""
    if precision not in ("auto", "f32"):
        raise ModelError(
            f"ONNX Runtime computes in float32 here, not in {precision}",
            do="Choose one of: auto, f32; or runtime 'openvino'.",
        )


INSTALL = "Run: pip install 'marey[onnx]'"
