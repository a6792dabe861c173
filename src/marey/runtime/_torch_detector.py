"""Detectors of torch's: what is the same work for every picture in OpenVINO, the rest in torch.

On a CPU the part whose shapes depend on those of its input alone (backbone, pyramid, heads) is a
graph, checked and kept as those of other networks are. What depends on what is seen (anchors, what
is in boxes, suppression) is the library's own code.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torchvision.models.detection import FasterRCNN_MobileNet_V3_Large_FPN_Weights

from marey.boxes import Detections
from marey.errors import MissingExtraError
from marey.runtime import need_openvino
from marey.runtime._cache import graph_name, graphs_of_file
from marey.runtime._openvino import Request
from marey.runtime.openvino import Graph, RefusedError, convert, difference, example, made_graph
from marey.runtime.torch import has_cuda
from marey.types import Input, ModelCard

CATEGORIES: tuple[str, ...] = tuple(
    FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1.meta["categories"]
)
"""COCO's things by their published numbers, some of which are nobody's."""

COCO = tuple(name for name in CATEGORIES if name not in ("__background__", "N/A"))
"""The 80 that there are, in that order."""

Found = list[dict[str, Tensor]]
"""What is in each picture: `boxes` N 4, `scores` N and `labels` N, as the libraries have it."""


class TorchDetector:
    """Finds COCO's things by `fixed`, and by what a subclass makes of its answers. Abstract.

    `fixed` takes pictures as the network sees them, N 3 H W, and gives tensors with N first. It is
    a graph for each H and W, of which the first is made at once. `auto` is torch on CUDA if there
    is some, else OpenVINO, or torch where that refuses, which `warnings` say; `openvino` raises
    RefusedError there. All is float32. Several threads take turns.
    """

    labels = COCO
    names = COCO
    """What the numbers mean that the network gives."""

    def __init__(
        self,
        name: str,
        licence: str,
        fixed: nn.Module,
        path: Path,
        seen: Input,
        *,
        runtime: str,
        threads: int | None,
        libraries: Sequence[str] = (),
        pinned: str | None = None,
    ) -> None:
        if threads:
            torch.set_num_threads(threads)
        cuda = runtime != "openvino" and has_cuda()
        self.device = torch.device("cuda" if cuda else "cpu")
        self.notes = [f"{name}: this download is pinned as {pinned}"] if pinned else []
        self._name, self._licence, self._seen = name, licence, seen
        self._fixed = fixed.eval().to(self.device)
        self._runtime, self._threads = "torch" if cuda else runtime, threads
        self._path, self._libraries = path, libraries
        self._graphs: dict[tuple[int, ...], Graph | None] = {}
        self._turn = Lock()
        self._first = self._graph(seen.size)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self.notes)

    def card(self) -> ModelCard:
        """`difference` is the largest of the fixed part's answers, for the first graph."""
        return ModelCard(
            name=self._name,
            licence=self._licence,
            classes=len(self.labels),
            runtime=f"torch {self.device.type}" if self._first is None else "openvino cpu",
            precision="float32",
            input=self._seen,
            multilabel=True,
            difference=None if self._first is None else self._first.difference,
        )

    @torch.inference_mode()
    def __call__(self, frames: NDArray[np.uint8], /) -> list[Detections]:
        """N H W 3 → what is in each, boxes in its pixels, surest first."""
        with self._turn:
            found = self.find(torch.from_numpy(frames).to(self.device).permute(0, 3, 1, 2))
        return [
            Detections(
                one["boxes"].cpu().numpy().astype(np.float32),
                one["scores"].cpu().numpy().astype(np.float32),
                tuple(self.names[k] for k in one["labels"].tolist()),
            )
            for one in found
        ]

    def find(self, frames: Tensor) -> Found:
        """What is in frames, uint8 N 3 H W; `compute` gives the answers of the fixed part."""
        raise NotImplementedError

    def compute(self, x: Tensor) -> tuple[Tensor, ...]:
        """The answers of the fixed part; by OpenVINO one after the other, as more are no faster."""
        graph = self._graph(tuple(x.shape[2:]))
        if graph is None:
            answers: tuple[Tensor, ...] = self._fixed(x)
            return answers
        each = [graph.request.all(one.numpy()) for one in torch.split(x, 1)]
        return tuple(torch.from_numpy(np.concatenate(same)) for same in zip(*each, strict=True))

    def example(self, size: tuple[int, ...]) -> Tensor:
        """What the fixed part may be asked, 1 3 H W, to compare a graph with it."""
        return example(torch.float32, (1, 3, 1, *size))[:, :, 0]

    def apart(self, found: Sequence[Tensor], expected: Sequence[Tensor]) -> float:
        """How far a graph's answers are from the fixed part's, in parts of the largest."""
        return max(difference(one, other) for one, other in zip(found, expected, strict=True))

    def _graph(self, size: tuple[int, ...]) -> Graph | None:
        """That for pictures of this size; None: torch."""
        if self._runtime == "torch":
            return None
        if size not in self._graphs:
            try:
                self._graphs[size] = self._made(size)
            except (MissingExtraError, RefusedError) as error:
                if self._runtime == "openvino":
                    raise
                where = f"{self._name}, {size[1]}x{size[0]}"
                self.notes.append(f"{where}: runs in torch, slower: {error.what}")
                self._graphs[size] = None
        return self._graphs[size]

    def _made(self, size: tuple[int, ...]) -> Graph:
        need_openvino()
        given = self.example(size)
        return made_graph(
            graphs_of_file(self._name, self._path, *self._libraries),
            graph_name("picture", tuple(given.shape), "f32"),
            make=lambda: convert(self._fixed, given, self._name),
            apart=lambda ask: self._apart(ask, given),
            net=self._name,
            precision="f32",
            threads=self._threads,
            notes=self.notes,
        )

    @torch.inference_mode()
    def _apart(self, request: Request, given: Tensor) -> float:
        found: Any = [torch.from_numpy(one) for one in request.all(given.numpy())]
        return self.apart(found, self._fixed(given))
