"""Residual networks whose 3x3x3 convolutions leave the channels apart: CSN.

Paper: Tran et al., "Video Classification with Channel-Separated Convolutional Networks", ICCV 2019,
arXiv 1904.02811. Reference: open-mmlab/mmaction2@4d6c934
`mmaction/models/backbones/resnet3d_csn.py`, whose files are partly converted from the authors'
Caffe2 (facebookresearch/VMZ).

The bottleneck ResNet over space and time, where what mixes channels is 1x1x1 and what mixes space
and time is depthwise. What stands for the bottleneck's 3x3x3 is an argument:

    ir-CSN    interaction-reduced     depthwise 3x3x3
    ip-CSN    interaction-preserved   1x1x1 and norm, no ReLU, depthwise 3x3x3

Deviations: none. The norms keep Caffe2's epsilon of 1e-3; where a file's name says "bnfrozen", they
were fixed while it was trained. PyTorchVideo's CSN-101 has an epsilon of 1e-5 and names of its own:
another family.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from marey.models import _mmaction2
from marey.models._image_nets import imagenet
from marey.models._labels import kinetics400
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights, renamed
from marey.nn.heads import Mean
from marey.nn.init import he_fan_out
from marey.types import Input

norm = partial(nn.BatchNorm3d, eps=1e-3)
pointwise = partial(nn.Conv3d, kernel_size=1, bias=False)

Interaction = Callable[[int, int], nn.Sequential]


def reduced(width: int, stride: int) -> nn.Sequential:
    """Depthwise 3x3x3, norm, ReLU: the channels meet in the 1x1x1 before and behind it alone."""
    return nn.Sequential(
        nn.Conv3d(width, width, 3, stride, 1, groups=width, bias=False),
        norm(width),
        nn.ReLU(inplace=True),
    )


def preserved(width: int, stride: int) -> nn.Sequential:
    """A 1x1x1 and a norm before it: as many channels meet as in a whole 3x3x3."""
    return nn.Sequential(pointwise(width, width), norm(width), *reduced(width, stride))


class Block(nn.Module):
    """1x1x1 to a quarter of the width, `interaction`, 1x1x1 back; beside a shortcut."""

    def __init__(self, interaction: Interaction, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        width = outputs // 4
        self.conv1 = nn.Sequential(pointwise(inputs, width), norm(width), nn.ReLU(inplace=True))
        self.conv2 = interaction(width, stride)
        self.conv3 = nn.Sequential(pointwise(width, outputs), norm(outputs))
        self.downsample: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                pointwise(inputs, outputs, stride=stride), norm(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.conv3(self.conv2(self.conv1(x))) + self.downsample(x)
        return mixed.relu()


def stem() -> nn.Sequential:
    """3x7x7 and a pool, each halving height and width; all frames are kept."""
    return nn.Sequential(
        nn.Conv3d(3, 64, (3, 7, 7), (1, 2, 2), (1, 3, 3), bias=False),
        norm(64),
        nn.ReLU(inplace=True),
        nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1)),
    )


class CSN(Net):
    """Stem, four stages of blocks (256 to 2048 channels, all but the first halve T, H and W)."""

    def __init__(
        self, interaction: Interaction, depths: Sequence[int], *, classes: int, dropout: float
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem())
        inputs = 64
        for stage, depth in enumerate(depths, start=1):
            outputs, blocks = 128 << stage, []
            for position in range(depth):
                stride = 2 if stage > 1 and position == 0 else 1
                blocks.append(Block(interaction, inputs, outputs, stride))
                inputs = outputs
            layers[f"layer{stage}"] = nn.Sequential(*blocks)
        super().__init__(nn.Sequential(layers), Mean(inputs, classes, dropout))
        he_fan_out(self)

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`mmaction2` counts what stands for the 3x3x3 by pairs of convolution and norm."""
        if layout != "mmaction2":
            return super().convert(state, layout)
        return renamed(state, _NAMES)


_NAMES = {
    "backbone.conv1.": "body.stem.",
    "backbone.": "body.",
    ".conv2.0.conv.": ".conv2.0.",
    ".conv2.0.bn.": ".conv2.1.",
    ".conv2.1.conv.": ".conv2.2.",
    ".conv2.1.bn.": ".conv2.3.",
    ".conv.": ".0.",
    ".bn.": ".1.",
    "cls_head.fc_cls.": "head.linear.",
}


CLIP = imagenet(frames=32, every=2, resize=256, size=(224, 224), views=(10, 1))
# Three crops of the whole short side. The authors' own files want the colours of Kinetics.
_TEST = replace(CLIP, size=(256, 256), views=(10, 3))
_VMZ = replace(_TEST, mean=(0.43216, 0.394666, 0.37645), std=(0.22803, 0.22145, 0.216989))


def k400(path: str, top1: float, prepare: Input = _TEST) -> Weights:
    """Weights of Kinetics-400, whose file names end in the beginning of the hash.

    mmaction2 numbers the classes in the order of their names.
    """
    return _mmaction2.published(
        path,
        labels=kinetics400,
        input=prepare,
        top1=top1,
        protocol="Kinetics-400 val, 10 clips x 3 crops, 32x256x256, every 2nd frame (mmaction2)",
    )


def _by_mmaction2(config: str, stamp: str, top1: float) -> Weights:
    """A file that mmaction2 trained."""
    return k400(f"v1.0/recognition/csn/{config}/{config}_{stamp}", top1)


def _vmz(file: str, top1: float, prepare: Input = _VMZ) -> Weights:
    """A file of the authors, converted by mmaction2."""
    return k400(f"recognition/csn/vmz/vmz_{file}", top1, prepare)


_as_csn = partial(
    register,
    CLIP,
    classes=400,
    paper="1904.02811",
    reference="open-mmlab/mmaction2@4d6c934",
    default="ig65m_k400",
)


@_as_csn(
    weights={
        "ig65m_k400": _by_mmaction2(
            "ircsn_ig65m-pretrained-r50-bnfrozen_8xb12-32x2x1-58e_kinetics400-rgb",
            "20220811-44395bae",
            79.44,
        )
    }
)
def ircsn_50(*, classes: int, dropout: float = 0.5) -> Net:
    return CSN(reduced, (3, 4, 6, 3), classes=classes, dropout=dropout)


@_as_csn(
    weights={
        "k400": _vmz(
            "ircsn_from_scratch_r152_32x2x1_180e_kinetics400_rgb_20210617-5c933ae1", 76.53
        ),
        "sports1m_k400": _vmz(
            "ircsn_sports1m_pretrained_r152_32x2x1_58e_kinetics400_rgb_20210617-b9b10241", 78.57
        ),
        "ig65m_k400": _by_mmaction2(
            "ircsn_ig65m-pretrained-r152_8xb12-32x2x1-58e_kinetics400-rgb",
            "20220811-c7a3cc5b",
            82.87,
        ),
        "ig65m_k400_bnfrozen": _by_mmaction2(
            "ircsn_ig65m-pretrained-r152-bnfrozen_8xb12-32x2x1-58e_kinetics400-rgb",
            "20220811-7d1dacde",
            82.84,
        ),
    }
)
def ircsn_152(*, classes: int, dropout: float = 0.5) -> Net:
    return CSN(reduced, (3, 8, 36, 3), classes=classes, dropout=dropout)


@_as_csn(
    weights={
        "k400": _vmz(
            "ipcsn_from_scratch_r152_32x2x1_180e_kinetics400_rgb_20210617-d565828d", 77.80
        ),
        "sports1m_k400": _vmz(
            "ipcsn_sports1m_pretrained_r152_32x2x1_58e_kinetics400_rgb_20210617-3367437a", 79.07
        ),
        "ig65m_k400": _vmz(
            "ipcsn_ig65m_pretrained_r152_32x2x1_58e_kinetics400_rgb_20210617-c3be9793",
            82.68,
            _TEST,
        ),
    }
)
def ipcsn_152(*, classes: int, dropout: float = 0.5) -> Net:
    return CSN(preserved, (3, 8, 36, 3), classes=classes, dropout=dropout)
