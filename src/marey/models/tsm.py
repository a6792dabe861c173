"""Temporal segments and the temporal shift: TSN and TSM, on ResNets and MobileNetV2.

Papers: Wang et al., "Temporal Segment Networks", ECCV 2016, arXiv 1608.00859; Lin et al., "TSM:
Temporal Shift Module for Efficient Video Understanding", ICCV 2019, arXiv 1811.08383. References:
mit-han-lab/temporal-shift-module@1f6a834 `ops/models.py`, `ops/temporal_shift.py`,
`archs/mobilenet_v2.py`; open-mmlab/mmaction2 `mmaction/models/backbones/resnet_tsm.py` for its
names.

Both look at a few frames spread over the video, each by timm's image network, and take the mean of
their logits. TSN does no more. TSM moves an eighth of the channels one frame back and an eighth one
frame on in front of each residual branch ("blockres"); of ResNet-101, whose third stage has 23
blocks, only in every second block of a stage; in MobileNetV2 only where there is a shortcut.

Deviations: the mean over the frames is taken before the last layer, which is linear. A mean over
crops and clips is over their logits in the reference, over probabilities here. The variants with
non-local blocks and on optical flow are not here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor

from marey.models import _mmaction2
from marey.models._image_nets import from_mmaction2, image_net, imagenet
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights
from marey.models.timed import Layout, Timed, timed
from marey.types import Input

# MobileNetV2's blocks in each stage; the authors number them throughout, timm by stage.
_DEPTHS = (1, 2, 3, 4, 3, 3, 1)
_PLACES = [(stage, k) for stage, depth in enumerate(_DEPTHS) for k in range(depth)]
_ENDS = {
    "features.0.0": "conv_stem",
    "features.0.1": "bn1",
    "features.18.0": "conv_head",
    "features.18.1": "bn2",
    "new_fc": "classifier",
}
# The first block expands nothing.
_SEPARABLE = {"0": "conv_dw", "1": "bn1", "3": "conv_pw", "4": "bn2"}
_EXPANDED = {"0": "conv_pw", "1": "bn1", "3": "conv_dw", "4": "bn2", "6": "conv_pwl", "7": "bn3"}


def from_mit(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names of a ResNet as timm's; what is shifted is wrapped as `net`."""
    return {_inner(name).replace("new_fc.", "fc."): value for name, value in state.items()}


def from_mit_mobilenet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names of MobileNetV2 as timm's; some of their files call `new_fc` by timm's."""
    return {_mobilenet_name(_inner(name)): value for name, value in state.items()}


_RESNET: Mapping[str, Layout] = {"mit-tsm": from_mit, "mmaction2": from_mmaction2}


def _inner(name: str) -> str:
    return name.removeprefix("base_model.").replace(".net.", ".")


def _mobilenet_name(name: str) -> str:
    found = re.match(r"features\.(\d+)\.conv\.(\d)\.(\w+)$", name)
    if not found:
        layer, _, entry = name.rpartition(".")
        return f"{_ENDS.get(layer, layer)}.{entry}"
    number, layer, entry = int(found[1]) - 1, found[2], found[3]
    layers = _EXPANDED if number else _SEPARABLE
    if number >= len(_PLACES) or layer not in layers:
        return name
    stage, block = _PLACES[number]
    return f"blocks.{stage}.{block}.{layers[layer]}.{entry}"


def _made(
    image: str, rule: str, classes: int, dropout: float, *, layouts: Mapping[str, Layout] = _RESNET
) -> Timed:
    net = timed(
        image_net(image, classes), rule, frames=CLIP.frames, classes=classes, dropout=dropout
    )
    net.layouts.update(layouts)
    return net


# Eight frames of all of a video, which in Kinetics takes ten seconds, in Something-Something four.
CLIP = imagenet(
    frames=8, sampling="segments", seconds=10.0, resize=256, size=(224, 224), views=(1, 1)
)
# 64 consecutive frames, of which every eighth; three crops of the full height.
_DENSE = imagenet(frames=8, every=8, resize=256, size=(256, 256), views=(10, 3))
_SOMETHING = replace(CLIP, seconds=4.0, size=(256, 256), views=(2, 3))

_reference = "mit-han-lab/temporal-shift-module@1f6a834"
_as_tsn = partial(register, CLIP, classes=400, paper="1608.00859", reference=_reference)
_as_tsm = partial(register, CLIP, classes=400, paper="1811.08383", reference=_reference)


def _mit(file: str, top1: float, prepare: Input, how: str, classes: int = 400) -> Weights:
    """A file of the authors; in which order its classes are is written in none of their files."""
    data = "Kinetics-400"
    if classes == 174:
        data = "Something-Something " + ("V2" if "somethingv2" in file else "V1")
    frames, size = prepare.frames, prepare.size[0]
    return Weights(
        source=f"https://hanlab18.mit.edu/projects/tsm/models/TSM_{file}.pth",
        licence="MIT",
        layout="mit-tsm",
        classes=classes,
        input=prepare,
        top1=top1,
        protocol=f"{data} val, {how}, {frames}x{size}x{size} (MIT)",
    )


def _something(version: str, image: str, frames: int, top1: float) -> Weights:
    file = f"{version}_RGB_{image}_shift8_blockres_avg_segment{frames}_e45"
    return _mit(file, top1, replace(_SOMETHING, frames=frames), "2 clips x 3 crops", 174)


def _by_mmaction2(kind: str, config: str, stamp: str, top1: float, how: str) -> Weights:
    """A file that mmaction2 trained."""
    protocol = f"Kinetics-400 val, {how}, 224x224 (mmaction2)"
    return _mmaction2.trained(kind, config, stamp, top1=top1, protocol=protocol)


@_as_tsn(
    weights={
        "k400": _mit("kinetics_RGB_resnet50_avg_segment5_e50", 68.8, CLIP, "1 clip x 1 crop"),
        "k400_mm": _by_mmaction2(
            "tsn",
            "tsn_imagenet-pretrained-r50_8xb32-1x1x8-100e_kinetics400-rgb",
            "20220906-2692d16c",
            74.12,
            "25 frames x 10 crops",
        ),
    }
)
def tsn_resnet50(*, classes: int, dropout: float = 0.5) -> Net:
    return _made("resnet50", "none", classes, dropout)


@_as_tsm(
    weights={
        "k400": _mit(
            "kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e100_dense",
            74.1,
            _DENSE,
            "10 clips x 3 crops",
        ),
        "k400_uniform": _mit(
            "kinetics_RGB_resnet50_shift8_blockres_avg_segment8_e50", 71.2, CLIP, "1 clip x 1 crop"
        ),
        "k400_uniform_16": _mit(
            "kinetics_RGB_resnet50_shift8_blockres_avg_segment16_e50",
            72.6,
            replace(CLIP, frames=16),
            "1 clip x 1 crop",
        ),
        "k400_mm": _by_mmaction2(
            "tsm",
            "tsm_imagenet-pretrained-r50_8xb16-1x1x8-50e_kinetics400-rgb",
            "20220831-64d69186",
            72.95,
            "8 frames x 10 crops",
        ),
        "ssv1": _something("something", "resnet50", 8, 47.2),
        "ssv1_16": _something("something", "resnet50", 16, 48.4),
        "ssv2": _something("somethingv2", "resnet50", 8, 61.2),
        "ssv2_16": _something("somethingv2", "resnet50", 16, 63.1),
    }
)
def tsm_resnet50(*, classes: int, dropout: float = 0.5) -> Net:
    return _made("resnet50", "shift", classes, dropout)


@_as_tsm(
    weights={
        "ssv1": _something("something", "resnet101", 8, 48.7),
        "ssv2": _something("somethingv2", "resnet101", 8, 63.3),
    }
)
def tsm_resnet101(*, classes: int, dropout: float = 0.5) -> Net:
    return _made("resnet101", "shift:every=2", classes, dropout)


@_as_tsm(
    weights={
        "k400": _mit(
            "kinetics_RGB_mobilenetv2_shift8_blockres_avg_segment8_e100_dense",
            69.5,
            _DENSE,
            "10 clips x 3 crops",
        )
    }
)
def tsm_mobilenetv2(*, classes: int, dropout: float = 0.5) -> Net:
    return _made(
        "mobilenetv2_100", "shift", classes, dropout, layouts={"mit-tsm": from_mit_mobilenet}
    )
