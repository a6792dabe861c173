"""Networks from files that `marey export` wrote: OpenVINO runs them, and torch is not needed."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from marey.errors import ModelError
from marey.runtime._openvino import NAMES, Request, compiled, core
from marey.runtime.stream import Graph, OneByOne, Streamed, StreamRuntime
from marey.types import Input, ModelCard

FORMAT = "marey.export/1"


class Engine(Graph, Protocol):
    """A graph ready to compute, as OpenVINO or ONNX Runtime does it."""

    def __call__(self, given: NDArray[Any], /) -> NDArray[np.float32]: ...


class FileRuntime:
    """Runs a `.onnx` or `.xml` file as `compile` runs a network, in float32 if not asked otherwise.

    A file exported in int8 is int8 whatever is asked; what of it is not, runs in the precision
    asked for. Labels and input are in the file, also the fewest frames of a clip where it takes any
    number of them. Several threads take turns. Raises ModelError for a file that is not there, is
    damaged, says nothing of its frames, or is asked for int8 and is not.

    `stream` gives what runs a file that was exported as a step.
    """

    runtime = "openvino cpu"
    _graph: Engine

    def __init__(
        self, path: str | os.PathLike[str], precision: str = "auto", *, threads: int | None = None
    ) -> None:
        self.path = Path(path)
        # Nothing here could say whether the answers stay in bfloat16: only who asks gets it.
        self._precision = "f32" if precision in ("auto", "int8") else precision
        try:
            text = self._open(threads)
        except RuntimeError as error:
            why = "is not there" if not self.path.exists() else _first_line(error)
            raise ModelError(f"cannot be run: {why}", where=self.path, do=_AGAIN) from error
        self.about = about = read_about(text, self.path)
        self.input = Input.from_dict(about["input"])
        self.labels = tuple(about["labels"]) if about["labels"] else None
        self.multilabel = bool(about["multilabel"])
        self._int8: Mapping[str, Any] | None = about.get("int8")
        if precision == "int8" and self._int8 is None:
            raise ModelError("is not in int8", where=self.path, do=INT8)
        self.streamed = Streamed.from_dict(said) if (said := about.get("stream")) else None
        self.notes: list[str] = []

    def stream(self) -> StreamRuntime:
        """Its steps; ModelError for a file that takes clips."""
        if self.streamed is None:
            raise ModelError(
                "takes whole clips, not frame by frame",
                where=self.path,
                do="Write it with `marey export --stream`.",
            )
        steps = OneByOne(self._graph, self.streamed.state)
        return StreamRuntime(steps, self.streamed, self.card(), self.labels, self.warnings)

    def need_clips(self) -> None:
        """ModelError for a file that takes frame by frame."""
        if self.streamed is not None:
            raise ModelError(
                "is a step of a stream: it takes frame by frame, not clips",
                where=self.path,
                do="Give it to `marey watch`, or export the network without --stream.",
            )

    def _open(self, threads: int | None) -> str | None:
        """Make the file ready, and give what it says of itself; RuntimeError if that fails."""
        model = core().read_model(self.path)
        self._graph = Request(compiled(model, self._precision, threads))
        return _said(model)

    @property
    def warnings(self) -> tuple[str, ...]:
        licence = self.about["licence"] or ""
        if licence.startswith("research-only"):
            return (*self.notes, f"{self.path}: licence of the weights: {licence}")
        return tuple(self.notes)

    def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.float32]:
        """N T H W 3, of the size that `input` asks for → N K, logits."""
        self.need_clips()
        least: int | None = self.about.get("least_frames")
        length = self.input.frames
        if least is not None and frames.ndim == 5:
            length = max(least, frames.shape[1])
        if frames.dtype != np.uint8 or frames.shape[1:] != (length, *self.input.size, 3):
            time = str(length) if least is None else f"{least} or more"
            needed = " x ".join(map(str, (time, *self.input.size, 3)))
            raise ModelError(
                f"takes frames, uint8 N x {needed}; got {frames.dtype} {frames.shape}",
                where=self.path,
            )
        return self._graph(frames)

    def card(self) -> ModelCard:
        return ModelCard(
            name=str(self.path),
            licence=self.about["licence"],
            classes=self.about["classes"],
            runtime=self.runtime,
            precision="int8" if self._int8 else NAMES[self._precision],
            input=self.input,
            multilabel=self.multilabel,
            difference=self._int8["difference"] if self._int8 else None,
        )


def read_about(text: str | None, path: Path) -> Mapping[str, Any]:
    """What the writer said of the network: name, licence, classes, labels, multilabel, input.

    Also `least_frames` where clips may have any number of frames from there on, `int8`, what a
    quantised file lost, and `stream`, how the answers of a step follow and what state it keeps.
    """
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


INT8 = "Run: marey export -m MODEL -o FILE.xml --precision int8 --calibrate CLIPS"
_AGAIN = "Write it with `marey export -m MODEL -o FILE`."
