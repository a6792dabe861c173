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
    from marey.runtime import _detr, _torchvision

    return (PEDESTRIANS, *(f"{name}.coco" for name in (*_torchvision.WEIGHTS, *_detr.WEIGHTS)))


def make_detector(
    name: str, *, runtime: str = "auto", precision: str = "auto", threads: int | None = None
) -> Detector:
    """The detector called `name`, ready to run.

    `pedestrian_ssdlite` finds people, by OpenVINO. The others find COCO's 80 kinds of things, with
    the weights of torchvision or of the Hugging Face hub: on CUDA by torch, else by OpenVINO as far
    as pictures do not differ in what there is to compute, compared with torch before first use and
    kept in the cache. All compute in float32.

    ModelError for an unknown name, or for a runtime or a precision in which it does not run;
    WeightsError where its weights cannot be had; MissingExtraError without its library.
    """
    one_of("runtime", runtime, RUNTIMES)
    one_of("precision", precision, PRECISIONS)
    if name == PEDESTRIANS:
        _runs_in(name, ("openvino",), runtime, precision)
        from marey.runtime._ssdlite import PedestrianDetector

        return PedestrianDetector(threads)
    from marey.runtime import _detr, _torchvision

    kind, _, tag = name.partition(".")
    if kind not in {*_torchvision.WEIGHTS, *_detr.WEIGHTS} or tag not in ("", "coco"):
        raise ModelError(
            f"no detector is called {name!r}",
            do=f"Choose one of: {', '.join(detector_names())}; or a file of boxes: .txt (MOT), "
            ".json (COCO) or .csv.",
        )
    _runs_in(name, ("openvino", "torch"), runtime, precision)
    if kind in _detr.WEIGHTS:
        return _detr.DetrDetector(kind, runtime=runtime, threads=threads)
    return _torchvision.TorchvisionDetector(kind, runtime=runtime, threads=threads)


def _runs_in(name: str, known: tuple[str, ...], runtime: str, precision: str) -> None:
    if runtime not in ("auto", *known) or precision not in ("auto", "f32"):
        raise ModelError(
            f"runs by {' or '.join(known)} in f32 only", where=name, do="Take 'auto' for both."
        )
