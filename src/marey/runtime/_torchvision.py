"""Torchvision's detectors with its COCO weights: frames in, boxes of 80 kinds of things out.

pytorch/vision, `torchvision/models/detection` (BSD-3-Clause): Faster R-CNN (Ren et al. 2015),
RetinaNet (Lin et al. 2017), FCOS (Tian et al. 2019), SSDLite (Sandler et al. 2018). Scaling,
normalisation and suppression are part of the networks; they are torchvision's own.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_flatten, tree_unflatten
from torchvision.models import detection
from torchvision.ops.misc import FrozenBatchNorm2d

from marey.errors import WeightsError
from marey.models._fetch import fetch
from marey.models._weights import Weights, read_state
from marey.runtime._torch_detector import CATEGORIES, Found, TorchDetector
from marey.types import Input

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


class TorchvisionDetector(TorchDetector):
    """The network as torchvision calls it, whose backbone and head ask the fixed part.

    Fixed are backbone, pyramid and heads, of Faster R-CNN the one that proposes. The first graph
    is for pictures of 16:9.
    """

    names = CATEGORIES
    _said: Any  # what the head says of the pictures that the backbone was just shown

    def __init__(self, name: str, *, runtime: str = "auto", threads: int | None = None) -> None:
        path, pinned = fetch(WEIGHTS[name])
        net = getattr(detection, name)(weights=None, weights_backbone=None, num_classes=91)
        if name in _FROZEN:
            _freeze(net.backbone.body)
        _load(net, read_state(path), name)
        self._net: Any = net.eval()
        holder = net.rpn if hasattr(net, "rpn") else net
        fixed = MapsAndHead(net.backbone, holder.head)
        net.backbone, holder.head = _Instead(self._maps), _Instead(lambda maps: self._said)
        super().__init__(
            f"{name}.coco",
            LICENCE,
            fixed,
            path,
            _input(net.transform),
            runtime=runtime,
            threads=threads,
            pinned=pinned,
        )
        self._layout = fixed.layout
        self._net.to(self.device)

    def find(self, frames: Tensor) -> Found:
        """By torchvision's own call."""
        found: Found = self._net(list(frames.float() / 255))
        return found

    def _maps(self, x: Tensor) -> Any:
        maps, self._said = tree_unflatten(list(self.compute(x)), self._layout)
        return maps


class MapsAndHead(nn.Module):
    """Pictures N 3 H W → the maps of a backbone, and what a head says of them, flat."""

    def __init__(self, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.backbone, self.head = backbone, head
        self.eval()
        with torch.inference_mode():
            _, self.layout = tree_flatten(self._answers(torch.zeros(1, 3, 64, 64)))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        return tuple(tree_flatten(self._answers(x))[0])

    def _answers(self, x: Tensor) -> tuple[Any, Any]:
        maps = self.backbone(x)
        return maps, self.head(list(maps.values()))


class _Instead(nn.Module):
    """Answers in the place of another module."""

    def __init__(self, answer: Any) -> None:
        super().__init__()
        self._answer = answer

    def forward(self, given: Any) -> Any:
        return self._answer(given)


def _input(scaling: Any) -> Input:
    """What the network sees of a picture of 16:9."""
    images, _ = scaling([torch.zeros(3, 90, 160)])
    height, width = images.tensors.shape[2:]
    return Input(
        1,
        (height, width),
        (height, width) if scaling.fixed_size else int(scaling.min_size[-1]),
        mean=tuple(scaling.image_mean),
        std=tuple(scaling.image_std),
    )


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
