"""S3D, separable convolutions in Inception-v1 over space and time, and S3D-G, gated.

Paper: Xie et al., "Rethinking Spatiotemporal Feature Learning", ECCV 2018, arXiv 1712.04851.
References: pytorch/vision@1f1a920 `torchvision/models/video/s3d.py`, and kylemin/S3D@539b28a
`model.py` for its names, for S3D; tensorflow/models@169dcbd `research/slim/nets/s3dg.py` and
`i3d_utils.py`, the authors' own code, for S3D-G.

I3D (`inception3d.py`), with 3x3x3 cut into space and time. The ports and the authors' code are two
networks, and the gates are not all they differ in:

              S3D, the ports                          S3D-G, the authors
    3x3x3     1x3x3, norm, ReLU, 3x1x1, norm, ReLU    1x3x3, norm, ReLU, 3x1x1 + bias, ReLU
    stem      1x7x7 and 7x1x1 likewise                3x7x7, norm, ReLU
    padding   symmetric; the last pool has none,      TensorFlow's SAME
              and drops an odd row
    gates     none                                    of each branch, and of the last convolution
                                                      before the blocks

A gate weighs each channel by a sigmoid of a linear map, without bias, of what all channels average
over the clip. S3D-G's stem saw 7 frames at first; its authors found 3 better, and take the number
as an argument (`stem_kernel`). It is held to their code, run in TensorFlow; no weights of it were
found.

Deviations: S3D-G's norms have a scale, which slim leaves out; its gates average over the whole map
of any picture, where slim's code exchanges height and width. S3D's convolutions start as PyTorch
has it; S3D-G's as slim's, normal with 0.01 and cut at two deviations, and over time the identity;
the last layer as every head here. The head is that of I3D; windows and norms are as said there. The
port antoine77340/S3D_HowTo100M is a third network (a bias in the gates, a norm over time, a mean
over all steps alike), and not here.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from marey.models._labels import kinetics400
from marey.models._net import Net
from marey.models._registry import register
from marey.models._weights import Weights
from marey.models.inception3d import CLIP, Inception3d, Layers, Triple, drawn, named, unit
from marey.nn.same import SameConv3d


def separable(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Module:
    """S3D: space, then time, each with a norm; of a kernel of 1 there is nothing to separate."""
    if kernel == 1:
        return unit(nn.Conv3d(inputs, outputs, 1, stride, bias=False))
    k, s, around = kernel, stride, kernel // 2
    return named(
        space=unit(
            nn.Conv3d(inputs, outputs, (1, k, k), (1, s, s), (0, around, around), bias=False)
        ),
        time=unit(nn.Conv3d(outputs, outputs, (k, 1, 1), (s, 1, 1), (around, 0, 0), bias=False)),
    )


def separable_slim(inputs: int, outputs: int, kernel: int) -> nn.Module:
    """S3D-G: space with a norm, then time with a bias, which starts as the identity."""
    space = SameConv3d(inputs, outputs, (1, kernel, kernel), bias=False)
    if kernel == 1:
        return unit(drawn(space, 0.01))
    time = SameConv3d(outputs, outputs, (kernel, 1, 1))
    nn.init.dirac_(time.weight)
    nn.init.zeros_(time.bias)  # type: ignore[arg-type]
    return named(space=unit(drawn(space, 0.01)), time=named(conv=time, relu=nn.ReLU(inplace=True)))


def stem_slim(frames: int, inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    """S3D-G: `frames` x kernel x kernel, not separated."""
    return unit(
        drawn(SameConv3d(inputs, outputs, (frames, kernel, kernel), stride, bias=False), 0.01)
    )


def symmetric_pool(kernel: Triple, stride: Triple) -> nn.Module:
    """S3D: padded alike on both sides; the 2x2x2 not at all, so that it drops an odd row."""
    return nn.MaxPool3d(kernel, stride, tuple((size - 1) // 2 for size in kernel))


class SelfGating(nn.Module):
    """Each channel times a number from 0 to 1, by the means of all channels over the clip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.linear = nn.Linear(channels, channels, bias=False)
        nn.init.trunc_normal_(self.linear.weight, std=0.01, a=-0.02, b=0.02)

    def forward(self, x: Tensor) -> Tensor:
        """N C T H W → the same shape."""
        gate: Tensor = self.linear(x.mean((2, 3, 4))).sigmoid()
        return x * gate[:, :, None, None, None]


S3D = Layers(stem=separable, conv=separable, pool=symmetric_pool, least=(5, 17, 17))

_as_s3d = partial(register, CLIP, classes=400, paper="1712.04851")


@_as_s3d(
    reference="pytorch/vision@1f1a920, kylemin/S3D@539b28a",
    weights={
        "k400": Weights(
            source="https://download.pytorch.org/models/s3d-d76dad2f.pth",
            sha256="d76dad2f",
            licence="BSD-3-Clause",
            layout="torchvision",
            labels=kinetics400,
            input=replace(
                CLIP,
                frames=128,
                fps=15,
                resize=(256, 256),
                mean=(0.43216, 0.394666, 0.37645),
                std=(0.22803, 0.22145, 0.216989),
                views=(1, 1),
            ),
            top1=68.368,
            protocol="Kinetics-400 val, 1 clip x 1 crop, 128x224x224 at 15 fps (torchvision)",
        )
    },
    default="k400",
)
def s3d(*, classes: int, dropout: float = 0.2) -> Net:
    return Inception3d(S3D, classes=classes, dropout=dropout)


@_as_s3d(reference="tensorflow/models@169dcbd research/slim/nets/s3dg.py")
def s3d_g(*, classes: int, dropout: float = 0.2, stem_kernel: int = 3) -> Net:
    """`stem_kernel` is how many frames the stem sees."""
    layers = Layers(stem=partial(stem_slim, stem_kernel), conv=separable_slim, gate=SelfGating)
    return Inception3d(layers, classes=classes, dropout=dropout)
