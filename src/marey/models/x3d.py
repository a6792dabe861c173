"""A tiny image network expanded axis by axis: X3D.

Paper: Feichtenhofer, "X3D: Expanding Architectures for Efficient Video Recognition", CVPR 2020,
arXiv 2004.04730. References: facebookresearch/pytorchvideo@f3142bb `pytorchvideo/models/x3d.py`;
facebookresearch/SlowFast@287ec00 `slowfast/models/video_model_builder.py`, `X3D`;
open-mmlab/mmaction2@4d6c934 `mmaction/models/backbones/x3d.py` for its names.

Bottlenecks turned inside out: 1x1x1 to 2.25 times the width, a depthwise 3x3x3, in every second
block a squeeze-and-excitation over the whole clip, Swish, 1x1x1 back. Every stage halves height and
width, none strides time. The instances differ by factors of width and depth, and by their clips:

    XS, S, M    width 2      3,  5, 11,  7 blocks     24,  48,  96, 192 channels
    L           width 2      5, 10, 25, 15 blocks     24,  48,  96, 192 channels
    XL          width 2.9    5, 10, 25, 15 blocks     32,  72, 136, 280 channels

Deviations: the pool before the last two layers is global; PySlowFast and PyTorchVideo slide a
window of the training crop's size. The first shortcut of `res2`, which changes size but not width,
has a norm in the author's PySlowFast (and in mmaction2) and none in PyTorchVideo. The graph here is
PyTorchVideo's: the norm of the other files is folded into it, exactly in evaluation.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from marey.models import _mmaction2
from marey.models._labels import kinetics400
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights, renamed
from marey.nn.heads import Mean
from marey.nn.init import he_fan_out
from marey.nn.widths import eights
from marey.types import Input

WIDTHS, DEPTHS = (12, 24, 48, 96), (1, 2, 5, 3)  # of the network that is expanded
EXPANSION = 2.25  # of the width, within a block
SQUEEZE = 1 / 16


class Gate(nn.Module):
    """Squeeze-and-excitation: each channel times a number that follows from the clip's means."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        squeezed = eights(SQUEEZE * channels)
        self.fc1 = nn.Conv3d(channels, squeezed, 1)
        self.fc2 = nn.Conv3d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        scale: Tensor = self.fc2(self.fc1(x.mean((2, 3, 4), keepdim=True)).relu())
        return x * scale.sigmoid()


class Block(nn.Module):
    """Expand, mix depthwise, gate, project; beside a shortcut that strides with it."""

    def __init__(self, inputs: int, outputs: int, stride: int, *, gated: bool) -> None:
        super().__init__()
        inner, strides = int(EXPANSION * outputs), (1, stride, stride)
        self.conv_a = nn.Conv3d(inputs, inner, 1, bias=False)
        self.norm_a = nn.BatchNorm3d(inner)
        self.conv_b = nn.Conv3d(inner, inner, 3, strides, 1, groups=inner, bias=False)
        self.norm_b = nn.BatchNorm3d(inner)
        self.gate = Gate(inner) if gated else nn.Identity()
        self.conv_c = nn.Conv3d(inner, outputs, 1, bias=False)
        self.norm_c = nn.BatchNorm3d(outputs)
        self.shortcut = nn.Sequential()
        if stride != 1 or inputs != outputs:
            self.shortcut.append(nn.Conv3d(inputs, outputs, 1, strides, bias=False))
        if inputs != outputs:
            self.shortcut.append(nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_a(self.conv_a(x)).relu()
        y = F.silu(self.gate(self.norm_b(self.conv_b(y))))
        mixed: Tensor = self.norm_c(self.conv_c(y)) + self.shortcut(x)
        return mixed.relu()


def stem(width: int) -> nn.Sequential:
    """1x3x3, halving height and width, then a depthwise 5x1x1; nothing between the two."""
    return nn.Sequential(
        nn.Conv3d(3, width, (1, 3, 3), (1, 2, 2), (0, 1, 1), bias=False),
        nn.Conv3d(width, width, (5, 1, 1), padding=(2, 0, 0), groups=width, bias=False),
        nn.BatchNorm3d(width),
        nn.ReLU(inplace=True),
    )


class X3D(Net):
    """Stem, four stages of blocks, `conv5`, the mean over the clip, `fc1`; then linear.

    The body ends in `fc1`, N 2048 1 1 1, which a head for other classes so keeps.
    """

    def __init__(self, width: float, depth: float, *, classes: int, dropout: float) -> None:
        widths = [eights(width * base) for base in WIDTHS]
        depths = [math.ceil(depth * base) for base in DEPTHS]
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem(widths[0]))
        inputs = widths[0]
        for stage, (outputs, blocks) in enumerate(zip(widths, depths, strict=True), start=2):
            layers[f"res{stage}"] = made = nn.Sequential()
            for position in range(blocks):
                stride, gated = 1 if position else 2, position % 2 == 0
                made.append(Block(inputs, outputs, stride, gated=gated))
                inputs = outputs
        inner = int(EXPANSION * inputs)
        layers["conv5"] = nn.Sequential(
            nn.Conv3d(inputs, inner, 1, bias=False), nn.BatchNorm3d(inner), nn.ReLU(inplace=True)
        )
        layers["fc1"] = nn.Sequential(
            nn.AdaptiveAvgPool3d(1), nn.Conv3d(inner, 2048, 1, bias=False), nn.ReLU(inplace=True)
        )
        super().__init__(nn.Sequential(layers), Mean(2048, classes, dropout))
        self._folded = {"pyslowfast": 2 * widths[0], "mmaction2": 2 * widths[0]}
        he_fan_out(self)
        for module in self.modules():
            if isinstance(module, Block):  # each begins as its shortcut
                nn.init.zeros_(module.norm_c.weight)

    def maps_and_rest(self) -> tuple[nn.Module, nn.Module]:
        """`fc1` takes the mean over time first."""
        *maps, rest = self.body.children()
        return nn.Sequential(*maps), rest

    def early(self) -> int:
        """All before `res5`, from which on the resolution is the last."""
        return 4

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`pytorchvideo`, `pyslowfast` and `mmaction2`."""
        if layout not in _NAMES:
            return super().convert(state, layout)
        ours = renamed(state, _NAMES[layout])
        fc1 = ours.get("body.fc1.1.weight")
        if fc1 is not None and fc1.ndim == 2:  # linear in mmaction2
            ours["body.fc1.1.weight"] = fc1[:, :, None, None, None]
        _fold_shortcut_norm(ours)
        return ours

    def folded(self, layout: str) -> int:
        return self._folded.get(layout, 0)


# Published fragments of names and ours, replaced in this order.
_NAMES: dict[str, dict[str, str]] = {
    "pytorchvideo": {
        "blocks.0.conv.conv_t.": "body.stem.0.",  # it is the spatial one: the names are swapped
        "blocks.0.conv.conv_xy.": "body.stem.1.",
        "blocks.0.norm.": "body.stem.2.",
        **{f"blocks.{stage - 1}.res_blocks.": f"body.res{stage}." for stage in range(2, 6)},
        ".branch1_conv.": ".shortcut.0.",
        ".branch1_norm.": ".shortcut.1.",
        ".branch2.norm_b.0.": ".norm_b.",
        ".branch2.norm_b.1.block.0.": ".gate.fc1.",
        ".branch2.norm_b.1.block.2.": ".gate.fc2.",
        ".branch2.": ".",
        "blocks.5.pool.pre_conv.": "body.conv5.0.",
        "blocks.5.pool.pre_norm.": "body.conv5.1.",
        "blocks.5.pool.post_conv.": "body.fc1.1.",
        "blocks.5.proj.": "head.linear.",
    },
    "pyslowfast": {
        "s1.pathway0_stem.conv_xy.": "body.stem.0.",
        "s1.pathway0_stem.conv.": "body.stem.1.",
        "s1.pathway0_stem.bn.": "body.stem.2.",
        **{f"s{stage}.pathway0_res": f"body.res{stage}." for stage in range(2, 6)},
        ".branch1.": ".shortcut.0.",
        ".branch1_bn.": ".shortcut.1.",
        **{f".branch2.{letter}.": f".conv_{letter}." for letter in "abc"},
        **{f".branch2.{letter}_bn.": f".norm_{letter}." for letter in "abc"},
        ".branch2.se.": ".gate.",
        "head.conv_5.": "body.conv5.0.",
        "head.conv_5_bn.": "body.conv5.1.",
        "head.lin_5.": "body.fc1.1.",
        "head.projection.": "head.linear.",
    },
    "mmaction2": {
        "backbone.conv1_s.conv.": "body.stem.0.",
        "backbone.conv1_t.conv.": "body.stem.1.",
        "backbone.conv1_t.bn.": "body.stem.2.",
        "backbone.conv5.conv.": "body.conv5.0.",
        "backbone.conv5.bn.": "body.conv5.1.",
        **{f"backbone.layer{stage - 1}.": f"body.res{stage}." for stage in range(2, 6)},
        ".downsample.conv.": ".shortcut.0.",
        ".downsample.bn.": ".shortcut.1.",
        **_mmaction2.BOTTLENECK,
        ".se_module.": ".gate.",
        "cls_head.fc1.": "body.fc1.1.",
        "cls_head.fc2.": "head.linear.",
    },
}


def _fold_shortcut_norm(state: dict[str, Tensor]) -> None:
    """Put the norm of the first shortcut, if there is one, into the convolution before it.

    Its shift goes to the norm of the other branch, which is added. In double, so that the values
    are rounded once at most, by the network that takes them.
    """
    norm, conv = "body.res2.0.shortcut.1.", "body.res2.0.shortcut.0.weight"
    shift, entries = "body.res2.0.norm_c.bias", ("weight", "bias", "running_mean", "running_var")
    if not {conv, shift, *(norm + entry for entry in entries)} <= set(state):
        return
    weight, bias, mean, var = (state.pop(norm + entry).double() for entry in entries)
    state.pop(norm + "num_batches_tracked", None)
    scale = weight / (var + nn.BatchNorm3d(1).eps).sqrt()
    state[conv] = state[conv].double() * scale[:, None, None, None, None]
    state[shift] = state[shift].double() + bias - mean * scale


def clip(frames: int, every: int, size: int, resize: int) -> Input:
    """The author's test of ten clips: one centre crop of the size that was trained on."""
    return Input(
        frames=frames,
        every=every,
        fps=30,
        resize=resize,
        size=(size, size),
        mean=(0.45, 0.45, 0.45),
        std=(0.225, 0.225, 0.225),
        views=(10, 1),
    )


def k400(source: str, layout: str, by: str, trained: Input, top1: float) -> Weights:
    """Weights of Kinetics-400, tested on three crops of the whole short side.

    PyTorchVideo and PySlowFast publish one list of classes, mmaction2 numbers their sorted names:
    the order is alphabetical in all three.
    """
    size = trained.resize
    assert isinstance(size, int)
    clips = f"{trained.frames}x{size}x{size}, every {trained.every}th frame"
    return Weights(
        source=source,
        licence="Apache-2.0",
        layout=layout,
        labels=kinetics400,
        input=replace(trained, size=(size, size), views=(10, 3)),
        top1=top1,
        protocol=f"Kinetics-400 val, 10 clips x 3 crops, {clips} ({by})",
    )


def fair(name: str, trained: Input, pytorchvideo: float, pyslowfast: float) -> dict[str, Weights]:
    """What both places publish: trained twice, with and without the norm of the first shortcut."""
    files = "https://dl.fbaipublicfiles.com"
    first = f"{files}/pytorchvideo/model_zoo/kinetics/X3D_{name}.pyth"
    second = f"{files}/pyslowfast/x3d_models/x3d_{name.lower()}.pyth"
    return {
        "k400": k400(first, "pytorchvideo", "PyTorchVideo", trained, pytorchvideo),
        "k400_pysf": k400(second, "pyslowfast", "PySlowFast", trained, pyslowfast),
    }


def mmaction2(file: str, trained: Input, top1: float) -> dict[str, Weights]:
    """PySlowFast's, converted; the name ends in the beginning of the hash."""
    converted = _mmaction2.published(f"v1.0/recognition/x3d/facebook/{file}")
    weights = k400(converted.source, "mmaction2", "mmaction2", trained, top1)
    return {"k400_mm": replace(weights, sha256=converted.sha256)}


_register = partial(
    register,
    classes=400,
    paper="2004.04730",
    reference="facebookresearch/pytorchvideo@f3142bb, facebookresearch/SlowFast@287ec00",
)
_as_x3d = partial(_register, default="k400")
_XS, _S = clip(4, 12, 160, 182), clip(13, 6, 160, 182)
_M, _L = clip(16, 5, 224, 256), clip(16, 5, 312, 356)


@_as_x3d(_XS, weights=fair("XS", _XS, 69.12, 69.5))
def x3d_xs(*, classes: int, dropout: float = 0.5) -> Net:
    return X3D(2.0, 2.2, classes=classes, dropout=dropout)


@_as_x3d(
    _S,
    weights=fair("S", _S, 73.33, 73.5)
    | mmaction2("x3d_s_13x6x1_facebook-kinetics400-rgb_20201027-623825a0", _S, 73.3),
)
def x3d_s(*, classes: int, dropout: float = 0.5) -> Net:
    return X3D(2.0, 2.2, classes=classes, dropout=dropout)


@_as_x3d(
    _M,
    weights=fair("M", _M, 75.94, 76.2)
    | mmaction2("x3d_m_16x5x1_facebook-kinetics400-rgb_20201027-3f42382a", _M, 76.4),
)
def x3d_m(*, classes: int, dropout: float = 0.5) -> Net:
    return X3D(2.0, 2.2, classes=classes, dropout=dropout)


@_as_x3d(_L, weights=fair("L", _L, 77.44, 77.5))
def x3d_l(*, classes: int, dropout: float = 0.5) -> Net:
    return X3D(2.0, 5.0, classes=classes, dropout=dropout)


@_register(_L)
def x3d_xl(*, classes: int, dropout: float = 0.5) -> Net:
    return X3D(2.9, 5.0, classes=classes, dropout=dropout)
