"""Networks from files that `marey export` wrote: OpenVINO runs them, and torch is not needed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.errors import ModelError
from marey.runtime._openvino import NAMES, compiled, core
from marey.types import Input, ModelCard

FORMAT = "marey.export/1"


class FileRuntime:
    """Runs a `.onnx` or `.xml` file as `compile` runs a network, in float32 if not asked otherwise.

    Labels and input are in the file. Raises ModelError for one that is not there, is damaged, or
    says nothing of its frames.
    """

    def __init__(
        self, path: str | os.PathLike[str], precision: str = "auto", *, threads: int | None = None
    ) -> None:
        self.path = Path(path)
        # Nothing here could say whether the answers stay in bfloat16: only who asks gets it.
        self._precision = "f32" if precision == "auto" else precision
        try:
            model = core().read_model(self.path)
            self._request = compiled(model, self._precision, threads)
        except RuntimeError as error:
            why = "is not there" if not self.path.exists() else _first_line(error)
            raise ModelError(f"cannot be run: {why}", where=self.path, do=_AGAIN) from error
        about = read_about(_said(model), self.path)
        self.input = Input.from_dict(about["input"])
        self.labels = tuple(about["labels"]) if about["labels"] else None
        self.multilabel = bool(about["multilabel"])
        self._about = about

    @property
    def warnings(self) -> tuple[str, ...]:
        licence = self._about["licence"] or ""
        if licence.startswith("research-only"):
            return (f"{self.path}: licence of the weights: {licence}",)
        return ()

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """N T H W 3, of the size that `input` asks for → N K, logits."""
        wanted = (self.input.frames, *self.input.size, 3)
        if frames.dtype != np.uint8 or frames.shape[1:] != wanted:
            needed = " x ".join(map(str, wanted))
            raise ModelError(
                f"takes frames, uint8 N x {needed}; got {frames.dtype} {frames.shape}",
                where=self.path,
            )
        logits = self._request.infer([np.ascontiguousarray(frames)], share_inputs=True)[0]
        return np.array(logits, np.float32)  # a copy: the next answer is written to the same place

    def card(self) -> ModelCard:
        return ModelCard(
            name=str(self.path),
            licence=self._about["licence"],
            classes=self._about["classes"],
            runtime="openvino cpu",
            precision=NAMES[self._precision],
            input=self.input,
            multilabel=self.multilabel,
        )


def read_about(text: str | None, path: Path) -> Mapping[str, Any]:
    """What the writer said of the network: name, licence, classes, labels, multilabel, input."""
    if text is None:
        raise ModelError("says nothing of its labels and frames", where=path, do=_AGAIN)
    about: Mapping[str, Any] = json.loads(text)
    if about.get("format") != FORMAT:
        raise ModelError(
            f"is of format {about.get('format')!r}, this version reads {FORMAT!r}",
            where=path,
            do="Update marey.",
        )
    return about


def _said(model: Any) -> str | None:
    """The text under `marey`: among a model's own notes, or among those of an ONNX file."""
    for place in (["marey"], ["framework", "marey"]):
        if model.has_rt_info(place):
            return str(model.get_rt_info(place).astype(str))
    return None


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


_AGAIN = "Write it with `marey export -m MODEL -o FILE`."
