"""Detectors of things in pictures: frames in, boxes out, whatever computes them."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from marey.boxes import Detections
from marey.errors import ModelError
from marey.runtime import PRECISIONS, RUNTIMES, Ready, one_of

PEDESTRIANS = "pedestrian_ssdlite"
"""The detector of people that needs no download."""


class Detector(Ready, Protocol):
    """What following things needs of a network: it is asked for the things in some frames."""

    @property
    def labels(self) -> tuple[str, ...]: ...

    def __call__(self, frames: NDArray[np.uint8], /) -> list[Detections]:
        """N H W 3, of any size → what is in each, boxes in its pixels, surest first."""
        ...


def detector_names() -> tuple[str, ...]:
    """The detectors that `make_detector` knows."""
    from marey.runtime._torchvision import WEIGHTS

    return (PEDESTRIANS, *(f"{name}.coco" for name in WEIGHTS))


def make_detector(
    name: str, *, runtime: str = "auto", precision: str = "auto", threads: int | None = None
) -> Detector:
    """The detector called `name`, ready to run.

    `pedestrian_ssdlite` finds people and runs in OpenVINO; torchvision's find COCO's 80 kinds of
    things, with its weights, and run in torch. All compute in float32. ModelError for an unknown
    name, or for a runtime or a precision in which it does not run; WeightsError where its weights
    cannot be had.
    """
    one_of("runtime", runtime, RUNTIMES)
    one_of("precision", precision, PRECISIONS)
    if name == PEDESTRIANS:
        _runs_in(name, "openvino", runtime, precision)
        from marey.runtime._ssdlite import PedestrianDetector

        return PedestrianDetector(threads)
    from marey.runtime._torchvision import WEIGHTS, TorchvisionDetector

    kind, _, tag = name.partition(".")
    if kind not in WEIGHTS or tag not in ("", "coco"):
        raise ModelError(
            f"no detector is called {name!r}",
            do=f"Choose one of: {', '.join(detector_names())}; or a file of boxes: .txt (MOT), "
            ".json (COCO) or .csv.",
        )
    _runs_in(name, "torch", runtime, precision)
    return TorchvisionDetector(kind, threads)


def _runs_in(name: str, own: str, runtime: str, precision: str) -> None:
    if runtime not in ("auto", own) or precision not in ("auto", "f32"):
        raise ModelError(f"runs by {own} in f32 only", where=name, do="Take 'auto' for both.")
