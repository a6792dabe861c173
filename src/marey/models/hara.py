"""3D-ResNets: the image networks' residual blocks with 3x3x3 kernels, 10 to 200 layers deep.

Papers: Hara et al., "Can Spatiotemporal 3D CNNs Retrace the History of 2D CNNs and ImageNet?",
CVPR 2018, arXiv 1711.09577; Kataoka et al., "Would Mega-scale Datasets Further Enhance
Spatiotemporal 3D CNNs?", 2020, arXiv 2004.04968. Reference: kenshohara/3D-ResNets-PyTorch@540a0ea
`models/resnet.py`.

What sets them apart from the R3D of `marey.models.resnet3d`: the stem sees seven frames, and a max
pool halves time, height and width behind it, which makes them five times cheaper; from 50 layers
on the blocks are bottlenecks (1x1x1, a strided 3x3x3, 1x1x1). Shortcuts are projected where width
or size change (type "B"). The wide, pre-activation, ResNeXt, DenseNet and (2+1)D networks of the
same repository are not here.

The authors' weights lie on Google Drive, which has no addresses that stay, and so are not listed:
`r3d{18,34,50,101,152,200}_{K,KM}_200ep.pth` and, of 50 layers, `_{KMS,KS,M,MS,S}_`, trained on
Kinetics-700 (K, 700 classes), Moments in Time (M, 339), STAIR Actions (S, 100) and their unions,
whose classes add up. Downloaded by hand, a file loads by
`load_state(net, read_state(path), source=str(path), layout="kenshohara")` of
`marey.models._weights`, which takes the state out of the training's snapshot.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from functools import partial

from torch import Tensor, nn

from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import rewritten
from marey.nn.heads import Mean
from marey.nn.init import he_fan_out
from marey.types import Input

_NAMES = (
    (r"^conv1\.", "body.stem.conv."),
    (r"^bn1\.", "body.stem.norm."),
    (r"^(layer\d\.\d+)\.((?:conv|bn)\d)\.", r"body.\1.residual.\2."),
    (r"^(layer\d\.\d+)\.downsample\.", r"body.\1.shortcut."),
    (r"^fc\.", "head.linear."),
)


def conv(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Conv3d:
    """A cubic kernel that keeps the size, but for the stride."""
    return nn.Conv3d(inputs, outputs, kernel, stride, kernel // 2, bias=False)


class Basic(nn.Sequential):
    """3x3x3, 3x3x3."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__(
            OrderedDict(
                conv1=conv(inputs, width, 3, stride),
                bn1=nn.BatchNorm3d(width),
                relu1=nn.ReLU(inplace=True),
                conv2=conv(width, width, 3),
                bn2=nn.BatchNorm3d(width),
            )
        )


class Bottleneck(nn.Sequential):
    """1x1x1 to a quarter of the channels, 3x3x3, 1x1x1 back."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__(
            OrderedDict(
                conv1=conv(inputs, width, 1),
                bn1=nn.BatchNorm3d(width),
                relu1=nn.ReLU(inplace=True),
                conv2=conv(width, width, 3, stride),
                bn2=nn.BatchNorm3d(width),
                relu2=nn.ReLU(inplace=True),
                conv3=conv(width, 4 * width, 1),
                bn3=nn.BatchNorm3d(4 * width),
            )
        )


class Block(nn.Module):
    """A residual beside a shortcut, which is projected where width or size change."""

    def __init__(
        self, kind: type[Basic] | type[Bottleneck], inputs: int, width: int, stride: int
    ) -> None:
        super().__init__()
        outputs = kind.expansion * width
        self.residual = kind(inputs, width, stride)
        self.shortcut: nn.Module = nn.Identity()
        if stride != 1 or inputs != outputs:
            self.shortcut = nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm3d(outputs))

    def forward(self, x: Tensor) -> Tensor:
        mixed: Tensor = self.residual(x) + self.shortcut(x)
        return mixed.relu()


def stem() -> nn.Sequential:
    """7x7x7 to 64 channels, halving height and width, and a pool that halves time too."""
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv3d(3, 64, 7, (1, 2, 2), 3, bias=False),
            norm=nn.BatchNorm3d(64),
            relu=nn.ReLU(inplace=True),
            pool=nn.MaxPool3d(3, 2, 1),
        )
    )


class HaraResNet(Net):
    """Stem, four stages of blocks of width 64 to 512, halved from the second on, mean, linear."""

    def __init__(
        self,
        kind: type[Basic] | type[Bottleneck],
        depths: Sequence[int],
        *,
        classes: int,
        dropout: float,
    ) -> None:
        layers: OrderedDict[str, nn.Module] = OrderedDict(stem=stem())
        inputs = 64
        for stage, depth in enumerate(depths, start=1):
            width, blocks = 32 << stage, []
            for position in range(depth):
                stride = 2 if stage > 1 and position == 0 else 1
                blocks.append(Block(kind, inputs, width, stride))
                inputs = kind.expansion * width
            layers[f"layer{stage}"] = nn.Sequential(*blocks)
        super().__init__(nn.Sequential(layers), Mean(inputs, classes, dropout))
        he_fan_out(self)

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        if layout != "kenshohara":
            return super().convert(state, layout)
        return {rewritten(name, _NAMES): value for name, value in state.items()}


# Tested on successive windows of 16 frames at the video's own rate, which in Kinetics' ten seconds
# are about 16. The repository normalises by these statistics of Kinetics.
CLIP = Input(
    frames=16,
    resize=112,
    size=(112, 112),
    mean=(0.4345, 0.4051, 0.3775),
    std=(0.2768, 0.2713, 0.2737),
    views=(16, 1),
)
_as_hara = partial(
    register,
    CLIP,
    classes=700,
    paper="1711.09577",
    reference="kenshohara/3D-ResNets-PyTorch@540a0ea",
)


@_as_hara()
def r3d_hara_10(*, classes: int, dropout: float = 0.0) -> Net:
    return HaraResNet(Basic, (1, 1, 1, 1), classes=classes, dropout=dropout)


@_as_hara()
def r3d_hara_18(*, classes: int, dropout: float = 0.0) -> Net:
    return HaraResNet(Basic, (2, 2, 2, 2), classes=classes, dropout=dropout)


@_as_hara()
def r3d_hara_34(*, classes: int, dropout: float = 0.0) -> Net:
    return HaraResNet(Basic, (3, 4, 6, 3), classes=classes, dropout=dropout)


@_as_hara()
def r3d_hara_50(*, classes: int, dropout: float = 0.0) -> Net:
    return HaraResNet(Bottleneck, (3, 4, 6, 3), classes=classes, dropout=dropout)


@_as_hara()
def r3d_hara_101(*, classes: int, dropout: float = 0.0) -> Net:
    return HaraResNet(Bottleneck, (3, 4, 23, 3), classes=classes, dropout=dropout)


@_as_hara()
def r3d_hara_152(*, classes: int, dropout: float = 0.0) -> Net:
    return HaraResNet(Bottleneck, (3, 8, 36, 3), classes=classes, dropout=dropout)


@_as_hara()
def r3d_hara_200(*, classes: int, dropout: float = 0.0) -> Net:
    return HaraResNet(Bottleneck, (3, 24, 36, 3), classes=classes, dropout=dropout)
