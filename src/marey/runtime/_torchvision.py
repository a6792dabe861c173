"""Torchvision's detectors with its COCO weights: frames in, boxes of 80 kinds of things out.

pytorch/vision, `torchvision/models/detection` (BSD-3-Clause): Faster R-CNN (Ren et al. 2015),
RetinaNet (Lin et al. 2017), FCOS (Tian et al. 2019), SSDLite (Sandler et al. 2018). Scaling,
normalisation and suppression are part of the networks; they are torchvision's own.
"""

from __future__ import annotations

from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torchvision.models import detection
from torchvision.ops.misc import FrozenBatchNorm2d

from marey.boxes import Detections
from marey.errors import WeightsError
from marey.models._fetch import fetch
from marey.models._weights import Weights, read_state
from marey.types import Input, ModelCard

LICENCE = "BSD-3-Clause"


def _coco(file: str, top: float) -> Weights:
    """Weights of torchvision, whose file names carry the beginning of the hash."""
    return Weights(
        source=f"https://download.pytorch.org/models/{file}",
        sha256=file.removesuffix(".pth").rpartition("-")[2],
        licence=LICENCE,
        layout="torchvision",
        classes=91,
        protocol=f"COCO val2017: box mAP {top} (torchvision)",
    )


WEIGHTS = {
    "fasterrcnn_mobilenet_v3_large_fpn": _coco(
        "fasterrcnn_mobilenet_v3_large_fpn-fb6a3cc7.pth", 32.8
    ),
    "fasterrcnn_mobilenet_v3_large_320_fpn": _coco(
        "fasterrcnn_mobilenet_v3_large_320_fpn-907ea3f9.pth", 22.8
    ),
    "ssdlite320_mobilenet_v3_large": _coco("ssdlite320_mobilenet_v3_large_coco-a79551df.pth", 21.3),
    "retinanet_resnet50_fpn_v2": _coco("retinanet_resnet50_fpn_v2_coco-5905b1c5.pth", 41.5),
    "fcos_resnet50_fpn": _coco("fcos_resnet50_fpn_coco-99b0c9b7.pth", 39.2),
}
"""The detectors there are, and where their weights come from."""

_FROZEN = [name for name in WEIGHTS if name.startswith(("fasterrcnn", "fcos"))]
_CATEGORIES: tuple[str, ...] = tuple(
    detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights.COCO_V1.meta["categories"]
)
_NONE = ("__background__", "N/A")


class TorchvisionDetector:
    """Finds COCO's things by torch, on CUDA if there is some. Several threads take turns."""

    labels = tuple(name for name in _CATEGORIES if name not in _NONE)
    warnings: tuple[str, ...] = ()

    def __init__(self, name: str, threads: int | None = None) -> None:
        if threads:
            torch.set_num_threads(threads)
        self._name, self._turn = name, Lock()
        self._device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        path, pinned = fetch(WEIGHTS[name])
        if pinned:
            self.warnings = (f"{name}: this download is pinned as {pinned}",)
        net = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=91)
        if name in _FROZEN:
            _freeze(net.backbone.body)
        _load(net, read_state(path), name)
        self._net: Any = net.eval().to(self._device)

    def card(self) -> ModelCard:
        scaling = self._net.transform
        size = scaling.fixed_size or (int(scaling.min_size[-1]), int(scaling.max_size))
        look = Input(
            1,
            (int(size[0]), int(size[1])),
            int(min(size)),
            mean=tuple(scaling.image_mean),
            std=tuple(scaling.image_std),
        )
        runtime = f"torch {self._device.type}"
        classes = len(self.labels)
        return ModelCard(
            f"{self._name}.coco", LICENCE, classes, runtime, "float32", look, multilabel=True
        )

    @torch.inference_mode()
    def __call__(self, frames: NDArray[np.uint8], /) -> list[Detections]:
        """N H W 3 → what is in each, boxes in its pixels, surest first."""
        images = torch.from_numpy(frames).to(self._device).permute(0, 3, 1, 2).float() / 255
        with self._turn:
            found = self._net(list(images))
        return [
            Detections(
                one["boxes"].cpu().numpy().astype(np.float32),
                one["scores"].cpu().numpy().astype(np.float32),
                tuple(_CATEGORIES[k] for k in one["labels"].tolist()),
            )
            for one in found
        ]


def _freeze(module: nn.Module) -> None:
    """Norms as torchvision builds them for its own weights, without counters; to the last bit."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            setattr(module, name, FrozenBatchNorm2d(child.num_features, eps=child.eps))
        else:
            _freeze(child)


def _load(net: nn.Module, state: dict[str, torch.Tensor], name: str) -> None:
    """All of `state`, and nothing else; counters of norm updates mean nothing here."""
    own = net.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    wanted, given = set(own) - counters, {k for k in state if k not in counters}
    odd = sorted(wanted ^ given) or [k for k in wanted if own[k].shape != state[k].shape]
    if odd:
        raise WeightsError(
            f"does not fit {name}: {len(odd)} entries differ, such as {odd[0]}",
            where=WEIGHTS[name].source,
            do="Delete the file in marey's cache and run again.",
        )
    net.load_state_dict(state, strict=False)
