"""MoViNet: mobile networks for video, A0 to A5, for clips ("base") and for streams.

Paper: Kondratyuk et al., "MoViNets: Mobile Video Networks for Efficient Video Recognition", CVPR
2021, arXiv 2103.11511. References: Atze00/MoViNet-pytorch@c2d1edf `movinets/models.py` with
`tf_like=True`, whose weights are converted from the authors'; tensorflow/models@00d83f3
`official/projects/movinet` for sizes, initialisation, dropout and how clips are taken.

MobileNetV3's blocks over time: widen (1x1x1), look (depthwise), weigh the channels (squeeze and
excitation, in every block), narrow (1x1x1). What the branch finds is scaled by `alpha`, which
starts at 0 (ReZero). Only space is ever strided. Two kinds of network share the sizes:

    base     depthwise kt x k x k, swish, gates from the mean over the clip
    stream   depthwise 1 x k x k, norm, hard-swish, then kt x 1 x 1 of the past alone; gates from
             the mean of all frames so far and of the present one; swish only in the head

A stream network gives the same answers in one go and frame by frame (`step`); the state is handed
in and out. A3 to A5 have stream versions with a positional encoding, of which no PyTorch weights
are published; they are not here.

Paddings are TensorFlow's SAME. Its average pool, in strided shortcuts, divides by the number of
real pixels under the window, along each axis; the port refuses pictures that are not square, here
they are treated as TensorFlow does.

Deviations: no stochastic depth (0.2 in the authors' training). Hidden kernels are He's normal over
the fan-in, which TensorFlow cuts off at two deviations and PyTorch does not; the last layer starts
small. The decay 0.99 of the norms is torch's momentum 0.01; the port has 0.1.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping

from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import ModelError
from marey.models._movinet_blocks import BASE, STREAM, Block, Kind, conv, unit
from marey.models._movinet_sizes import A0, A1, A2, A3, A4, A5, Size
from marey.models._net import Net
from marey.models._registry import Builder, register
from marey.models._weights import Weights, rewritten
from marey.nn.causal import Chain, CumulativeMean, Memory, Stream
from marey.nn.heads import Head, classifier
from marey.types import Input

HIDDEN = 2048  # the width before the logits, in all sizes
STRIDES = (2, 2, 2, 1, 2)  # over height and width, of the first block of block2 to block6


class Dense(Head):
    """The mean over space and time, a hidden layer with swish, the logits."""

    def __init__(self, channels: int, classes: int, dropout: float) -> None:
        super().__init__(dropout, None)
        self.so_far = CumulativeMean()
        self.hidden = nn.Linear(channels, HIDDEN)
        self.linear = classifier(HIDDEN, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.per_frame(x).mean(2))

    def step(self, x: Tensor, memory: Memory) -> Tensor:
        """N C T H W → N T K: after each frame, of all frames so far."""
        means = self.so_far(self.per_frame(x), memory)
        return self.logits(means.transpose(1, 2))

    def logits(self, features: Tensor) -> Tensor:
        return super().logits(F.silu(self.hidden(features)))


class MoViNet(Net):
    """conv1, the blocks of block2 to block6, conv7 and a dense head."""

    head: Dense

    def __init__(self, size: Size, kind: Kind, *, classes: int, dropout: float) -> None:
        inputs = size.stem
        stages: OrderedDict[str, nn.Module] = OrderedDict(
            conv1=unit(conv(3, inputs, (1, 3, 3), 2), kind.activation)
        )
        for number, (stage, stride) in enumerate(zip(size.stages, STRIDES, strict=True), start=2):
            blocks = Chain()
            for expanded, kernel in zip(stage.expanded, stage.kernels, strict=True):
                blocks.append(Block(inputs, expanded, stage.width, kernel, stride, kind))
                inputs, stride = stage.width, 1
            stages[f"block{number}"] = blocks
        stages["conv7"] = unit(conv(inputs, size.top), kind.activation)
        super().__init__(Chain(stages), Dense(size.top, classes, dropout))
        self.streams = kind.streams
        for module in self.modules():
            if isinstance(module, nn.Conv3d) or module is self.head.hidden:
                nn.init.kaiming_normal_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def step(
        self, frames: Tensor, state: tuple[Tensor, ...] | None = None
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The next frames, N 3 T H W, and what was before → logits of each, N T K, and the state.

        None begins a stream. A state belongs to the batch and the picture size that it came from;
        its tensors have one entry a stream first. However the frames are cut, the answers are the
        same, and the last is that of the clip. Raises ModelError for a base network, which looks
        ahead, and for a state that does not fit.

        >>> import torch
        >>> from marey.models._create import create_model
        >>> net, state = create_model("movinet_a0_stream", classes=2).eval(), None
        >>> for frames in torch.zeros(1, 3, 6, 64, 64).split(2, dim=2):
        ...     logits, state = net.step(frames, state)
        >>> logits.shape
        torch.Size([1, 2, 2])
        """
        if not self.streams:
            raise ModelError(
                "cannot run as a stream: it looks ahead",
                where=self.name,
                do=f"Take {self.architecture}_stream, or give it whole clips.",
            )
        self._check(frames)
        memory = Stream(state)
        logits = self.head.step(self.body(frames, memory), memory)
        return logits, memory.state

    def convert(self, state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
        """`movinet-pytorch`: the stream networks' kernels are those of images, O I h w."""
        if layout != "movinet-pytorch":
            return super().convert(state, layout)
        renamed = {rewritten(name, _NAMES): value for name, value in state.items()}
        return {name: _kernel(name, value) for name, value in renamed.items()}


_NAMES = [
    (r"^conv([17])\.conv_1\.", r"body.conv\1."),
    *((rf"^blocks\.b{k}_l(\d+)\.(?!alpha$)", rf"body.block{k + 2}.\1.branch.") for k in range(5)),
    *((rf"^blocks\.b{k}_l(\d+)\.alpha$", rf"body.block{k + 2}.\1.alpha") for k in range(5)),
    (r"\.(expand|project)\.conv_1\.", r".\1."),
    (r"\.deep\.conv_1\.", ".depthwise.0."),
    (r"\.deep\.conv_2\.", ".depthwise.1."),
    (r"\.branch\.res\.[01]\.conv_1\.", ".shortcut."),  # 0 where there is no pool before it
    (r"\.(fc[12])\.conv_1\.conv[23]d\.", r".\1."),
    (r"^classifier\.0\.conv_1\.conv[23]d\.", "head.hidden."),
    (r"^classifier\.3\.conv_1\.conv[23]d\.", "head.linear."),
    (r"\.conv[23]d\.weight$", ".conv.weight"),
]


def _kernel(name: str, value: Tensor) -> Tensor:
    if value.ndim < 2:
        return value
    if name.startswith("head."):
        return value.flatten(1)
    if value.ndim != 4:
        return value
    return value.unsqueeze(-1 if ".depthwise.1." in name else 2)


def published(size: Size, file: str, top1: float) -> Callable[[Builder], Builder]:
    """Register with the port's weights: the authors' own, converted."""
    clip = Input(
        frames=size.frames,
        fps=size.frames / 10,  # all of ten seconds
        resize=size.resize,
        size=(size.pixels, size.pixels),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        views=(1, 1),
    )
    weights = Weights(
        source=f"https://github.com/Atze00/MoViNet-pytorch/raw/main/weights/{file}_statedict_v3",
        licence="MIT (conversion), Apache-2.0 (tensorflow/models)",
        layout="movinet-pytorch",
        top1=top1,
        protocol="Kinetics-600 val, 1 clip x 1 crop, "
        f"{size.frames}x{size.pixels}x{size.pixels} at {clip.fps:g} fps (TensorFlow)",
    )
    return register(
        clip,
        classes=600,
        paper="2103.11511",
        reference="Atze00/MoViNet-pytorch@c2d1edf, tensorflow/models@00d83f3",
        weights={"k600": weights},
        default="k600",
    )


@published(A0, "modelA0", 72.28)
def movinet_a0(*, classes: int, dropout: float = 0.2) -> Net:
    return MoViNet(A0, BASE, classes=classes, dropout=dropout)


@published(A1, "modelA1", 76.69)
def movinet_a1(*, classes: int, dropout: float = 0.5) -> Net:
    return MoViNet(A1, BASE, classes=classes, dropout=dropout)


@published(A2, "modelA2", 78.62)
def movinet_a2(*, classes: int, dropout: float = 0.5) -> Net:
    return MoViNet(A2, BASE, classes=classes, dropout=dropout)


@published(A3, "modelA3", 81.79)
def movinet_a3(*, classes: int, dropout: float = 0.5) -> Net:
    return MoViNet(A3, BASE, classes=classes, dropout=dropout)


@published(A4, "modelA4", 83.48)
def movinet_a4(*, classes: int, dropout: float = 0.5) -> Net:
    return MoViNet(A4, BASE, classes=classes, dropout=dropout)


@published(A5, "modelA5", 84.27)
def movinet_a5(*, classes: int, dropout: float = 0.5) -> Net:
    return MoViNet(A5, BASE, classes=classes, dropout=dropout)


@published(A0, "modelA0_stream", 72.05)
def movinet_a0_stream(*, classes: int, dropout: float = 0.2) -> Net:
    return MoViNet(A0, STREAM, classes=classes, dropout=dropout)


@published(A1, "modelA1_stream", 76.45)
def movinet_a1_stream(*, classes: int, dropout: float = 0.2) -> Net:
    return MoViNet(A1, STREAM, classes=classes, dropout=dropout)


@published(A2, "modelA2_stream", 78.40)
def movinet_a2_stream(*, classes: int, dropout: float = 0.5) -> Net:
    return MoViNet(A2, STREAM, classes=classes, dropout=dropout)
