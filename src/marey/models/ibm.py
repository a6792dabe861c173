"""ResNets with time, as IBM compared them: I3D, S3D and TAM on one backbone.

Papers: Chen et al., "Deep Analysis of CNN-based Spatio-temporal Representations for Action
Recognition", CVPR 2021, arXiv 2010.11757, of I3D (1705.07750), S3D (1712.04851) and the Temporal
Aggregation Module (Fan et al., NeurIPS 2019, 1912.00869). Reference:
IBM/action-recognition-pytorch@67cc96f `models/threed_models/{i3d,s3d}_resnet.py` and
`models/twod_models/{resnet,temporal_modeling}.py`.

Each is timm's ResNet and a rule:

    I3D   stem 3x7x7, every 3x3 convolution 3x3x3
    S3D   stem 3x7x7, every 3x3 convolution 1x3x3, norm, ReLU, then a dense 3x1x1
    TAM   before each block's branch each channel's sum over three frames, then ReLU

Time is padded by zeros. `temporal_stride` halves it at the beginning of layer2, 3 and 4 in I3D and
S3D, in the block's first convolution over time and in its shortcut; the published weights are
without. The reference can also pool time by its maximum between the stages of TAM, of which no
weights were published: not here.

Deviations: the mean over space and time is taken before the last layer, which is linear: the same
as the mean of the logits. Untrained, each block's last norm starts at zero, as timm does it. An
image network's weights are inflated to a third for each of the three taps; the reference repeats
them without dividing, so that nothing can be said of them before training.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from marey.models._image_nets import image_net, imagenet
from marey.models._labels import kinetics400
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights
from marey.models.timed import Timed, timed
from marey.nn.inflated import SpaceTimeConv

_TAPS = ("prev", "curr", "next")
_OVER_TIME = r"\.conv\d_t\.weight$"


def from_ibm(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """IBM's names as timm's, and as the rules' for what these put in.

    In S3D the published norm of a convolution stands between space and time, and the one called
    `_t` behind both, where an image network has its only one.
    """
    found = {}
    factored = {name.removesuffix("_t.weight") for name in state if re.search(_OVER_TIME, name)}
    for name, value in _stacked(state).items():
        flat = value[:, :, 0] if value.ndim == 5 and value.shape[2] == 1 else value
        layer = re.match(r"(layer\d\.\d+)\.(conv|bn)(\d)(_t)?\.(\w+)$", name)
        if layer is None or f"{layer[1]}.conv{layer[3]}" not in factored:
            found[name] = flat
            continue
        block, kind, number, over_time, entry = layer.groups()
        pair = f"body.net.{block}.conv{number}"
        if kind == "conv" and over_time:
            found[f"{pair}.time.{entry}"] = value.flatten(2)  # O I 3 1 1
        elif kind == "bn" and not over_time:
            found[f"{pair}.norm.{entry}"] = value
        else:
            found[f"{block}.{kind}{number}.{entry}"] = flat
    return found


def _stacked(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The three convolutions of each TAM, C 1 1 1, as the one over time that they are, C 1 3."""
    found = dict(state)
    for name in state:
        block, tam, _ = name.partition(".tam.curr_se.")
        taps = [f"{block}.tam.{tap}_se.fc1.weight" for tap in _TAPS]
        if tam and all(tap in found for tap in taps):
            kernel = torch.cat([found.pop(tap).flatten(1) for tap in taps], 1)
            found[f"body.net.{block}.conv1.mix.weight"] = kernel[:, None]
    return found


def _made(depth: int, rule: str, classes: int, dropout: float, *, striding: bool = False) -> Timed:
    """ResNet-`depth` with a rule. New kernels over space and time are drawn as the authors do."""
    stride = ":stride=2,3,4" if striding else ""
    image = image_net(f"resnet{depth}", classes)
    net = timed(image, rule + stride, frames=CLIP.frames, classes=classes, dropout=dropout)
    for module in net.modules():
        if isinstance(module, SpaceTimeConv):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    net.layouts["ibm"] = from_ibm
    return net


_i3d = partial(_made, rule="full:init=paper")
_s3d = partial(_made, rule="full:stages=0,:init=paper+split:stages=1,2,3,4:init=paper")
_tam = partial(_made, rule="tam:init=paper:relu=true")

CLIP = imagenet(frames=32, every=2, resize=256, size=(224, 224), views=(10, 3))
_reference = "IBM/action-recognition-pytorch@67cc96f"
_as_i3d = partial(register, CLIP, classes=400, paper="1705.07750", reference=_reference)
_as_s3d = partial(register, CLIP, classes=400, paper="1712.04851", reference=_reference)
_as_tam = partial(register, CLIP, classes=400, paper="1912.00869", reference=_reference)

_KINETICS = replace(CLIP, size=(256, 256))
# 32 frames spread over all of a video, which in Something-Something takes four seconds.
_SOMETHING = replace(_KINETICS, every=1, sampling="segments", seconds=4.0, views=(2, 3))


def _published(name: str, k400: float, ssv2: float) -> dict[str, Weights]:
    """The files of release weights-v0.1. Kinetics' classes are in the order of their names."""
    files = "https://github.com/IBM/action-recognition-pytorch/releases/download/weights-v0.1/"
    common = partial(Weights, licence="Apache-2.0", layout="ibm")
    return {
        "k400": common(
            source=f"{files}K400-{name}-f32.pth.tar",
            labels=kinetics400,
            input=_KINETICS,
            top1=k400,
            protocol="Kinetics-400 val, 10 clips x 3 crops, 32x256x256, every second frame (IBM)",
        ),
        "ssv2": common(
            source=f"{files}SSV2-{name}-f32.pth.tar",
            classes=174,
            input=_SOMETHING,
            top1=ssv2,
            protocol="Something-Something V2 val, 2 clips x 3 crops, 32x256x256 (IBM)",
        ),
    }


@_as_i3d()
def i3d_resnet18(*, classes: int, dropout: float = 0.5, temporal_stride: bool = False) -> Net:
    return _i3d(18, classes=classes, dropout=dropout, striding=temporal_stride)


@_as_i3d(weights=_published("I3D-ResNet-50", 76.61, 62.84), default="k400")
def i3d_resnet50(*, classes: int, dropout: float = 0.5, temporal_stride: bool = False) -> Net:
    return _i3d(50, classes=classes, dropout=dropout, striding=temporal_stride)


@_as_i3d(weights=_published("I3D-ResNet-101", 77.80, 64.29), default="k400")
def i3d_resnet101(*, classes: int, dropout: float = 0.5, temporal_stride: bool = False) -> Net:
    return _i3d(101, classes=classes, dropout=dropout, striding=temporal_stride)


@_as_s3d()
def s3d_resnet18(*, classes: int, dropout: float = 0.5, temporal_stride: bool = False) -> Net:
    return _s3d(18, classes=classes, dropout=dropout, striding=temporal_stride)


@_as_s3d()
def s3d_resnet50(*, classes: int, dropout: float = 0.5, temporal_stride: bool = False) -> Net:
    return _s3d(50, classes=classes, dropout=dropout, striding=temporal_stride)


@_as_tam()
def tam_resnet18(*, classes: int, dropout: float = 0.5) -> Net:
    return _tam(18, classes=classes, dropout=dropout)


@_as_tam(weights=_published("TAM-ResNet-50", 76.18, 63.83), default="k400")
def tam_resnet50(*, classes: int, dropout: float = 0.5) -> Net:
    return _tam(50, classes=classes, dropout=dropout)


@_as_tam(weights=_published("TAM-ResNet-101", 77.61, 65.32), default="k400")
def tam_resnet101(*, classes: int, dropout: float = 0.5) -> Net:
    return _tam(101, classes=classes, dropout=dropout)
