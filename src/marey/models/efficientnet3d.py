"""EfficientNet with time: our own definition, for there is no canonical one.

"EfficientNet-3D" is the name of a baseline in the X3D paper (Feichtenhofer, CVPR 2020, arXiv
2004.04730) whose code was never released, and of ports that differ in kernels, strides and use;
none has weights for video. Here it is timm's `efficientnet_bN` (Tan and Le, ICML 2019, arXiv
1905.11946) with the rule `full`: the stem and every depthwise convolution, k x k, become 3 x k x k,
with zeros beyond the ends, and time is never strided. On depthwise layers that costs little: B0 has
4.9 million parameters instead of 4.5. Squeeze-and-excitation looks at each frame by itself.

The present frame's tap starts as the image network's kernel and the other two at zero, so with
ImageNet's weights training starts from the mean of the frames' answers.

No reference exists: held to the definition, built in 3D by the tests, and to parameters and MACs.
"""

from __future__ import annotations

from collections.abc import Callable

from marey.models._image_nets import image_net, imagenet
from marey.models._net import Net
from marey.models._registry import Builder, register
from marey.models.timed import timed


def _made(name: str, classes: int, dropout: float) -> Net:
    return timed(image_net(name, classes), "full", frames=8, classes=classes, dropout=dropout)


def _at(size: int) -> Callable[[Builder], Builder]:
    """Registers for clips at the resolution that the image network's authors chose."""
    prepare = imagenet(
        frames=8,
        sampling="segments",
        seconds=2.0,
        resize=round(size / 0.875),
        size=(size, size),
        interpolation="bicubic",
        views=(10, 1),
    )
    return register(prepare, classes=400, paper="1905.11946", reference="none: our definition")


@_at(224)
def efficientnet3d_b0(*, classes: int, dropout: float = 0.2) -> Net:
    return _made("efficientnet_b0", classes, dropout)


@_at(240)
def efficientnet3d_b1(*, classes: int, dropout: float = 0.2) -> Net:
    return _made("efficientnet_b1", classes, dropout)


@_at(260)
def efficientnet3d_b2(*, classes: int, dropout: float = 0.3) -> Net:
    return _made("efficientnet_b2", classes, dropout)


@_at(300)
def efficientnet3d_b3(*, classes: int, dropout: float = 0.3) -> Net:
    return _made("efficientnet_b3", classes, dropout)


@_at(380)
def efficientnet3d_b4(*, classes: int, dropout: float = 0.4) -> Net:
    return _made("efficientnet_b4", classes, dropout)
