"""What the video networks of FAIR's two code bases share: block, stage, names and zoo.

References: facebookresearch/pytorchvideo@f3142bb `pytorchvideo/models/{resnet,stem}.py`;
facebookresearch/SlowFast@287ec00 `slowfast/models/{resnet,stem}_helper.py`. The graphs are the
same, the names are not.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from marey.models._labels import kinetics400
from marey.models._weights import Weights
from marey.nn.init import he_fan_out
from marey.types import Input

Size = tuple[int, int, int]  # T H W
Middle = Callable[[int, Size], nn.Module]  # a block's middle: width and stride

STRIDES: Sequence[Size] = ((1, 1, 1), (1, 2, 2), (1, 2, 2), (1, 2, 2))


def conv3d(
    inputs: int, outputs: int, kernel: Size, stride: Size = (1, 1, 1), *, groups: int = 1
) -> nn.Conv3d:
    """An odd kernel without bias, padded so that stride 1 keeps the size."""
    time, height, width = kernel
    padding = time // 2, height // 2, width // 2
    return nn.Conv3d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False)


def space(width: int, stride: Size) -> nn.Module:
    """1x3x3: each frame by itself."""
    return conv3d(width, width, (1, 3, 3), stride)


def uniform(*kernels: int, depth: int = 50) -> list[list[int]]:
    """One kernel over time for all blocks of a stage, of a ResNet of this depth."""
    depths = {50: (3, 4, 6, 3), 101: (3, 4, 23, 3)}[depth]
    return [[kernel] * blocks for kernel, blocks in zip(kernels, depths, strict=True)]


class Bottleneck(nn.Module):
    """`time`x1x1 to a quarter of the width, the middle, 1x1x1, beside a shortcut.

    The shortcut is projected where width or size change.
    """

    def __init__(
        self, inputs: int, outputs: int, time: int, stride: Size, middle: Middle = space
    ) -> None:
        super().__init__()
        width = outputs // 4
        self.conv_a = conv3d(inputs, width, (time, 1, 1))
        self.norm_a = nn.BatchNorm3d(width)
        self.conv_b = middle(width, stride)
        self.norm_b = nn.BatchNorm3d(width)
        self.conv_c = conv3d(width, outputs, (1, 1, 1))
        self.norm_c = nn.BatchNorm3d(outputs)
        self.shortcut: nn.Module = nn.Identity()
        if inputs != outputs or stride != (1, 1, 1):
            self.shortcut = nn.Sequential(
                OrderedDict(
                    conv=conv3d(inputs, outputs, (1, 1, 1), stride), norm=nn.BatchNorm3d(outputs)
                )
            )

    def forward(self, x: Tensor) -> Tensor:
        y = self.norm_a(self.conv_a(x)).relu_()
        y = self.norm_b(self.conv_b(y)).relu_()
        mixed: Tensor = self.norm_c(self.conv_c(y)) + self.shortcut(x)
        return mixed.relu_()


def stem(time: int, outputs: int, *, pool: bool = True) -> nn.Sequential:
    """`time`x7x7 that halves height and width, and the max pool that does so again."""
    layers: OrderedDict[str, nn.Module] = OrderedDict(
        conv=conv3d(3, outputs, (time, 7, 7), (1, 2, 2)),
        norm=nn.BatchNorm3d(outputs),
        relu=nn.ReLU(inplace=True),
    )
    if pool:
        layers["pool"] = nn.MaxPool3d((1, 3, 3), (1, 2, 2), (0, 1, 1))
    return nn.Sequential(layers)


def stage(
    inputs: int, outputs: int, times: Sequence[int], stride: Size, middle: Middle = space
) -> nn.Sequential:
    """A block for each kernel over time in `times`, the first of them strided."""
    blocks: OrderedDict[str, nn.Module] = OrderedDict()
    for position, time in enumerate(times):
        blocks[f"block{position}"] = Bottleneck(inputs, outputs, time, stride, middle)
        inputs, stride = outputs, (1, 1, 1)
    return nn.Sequential(blocks)


def initialise(net: nn.Module) -> None:
    """As both code bases do: He's convolutions, and blocks that start as their shortcut."""
    he_fan_out(net)
    for module in net.modules():
        if isinstance(module, Bottleneck):
            nn.init.zeros_(module.norm_c.weight)


# Published fragments of names and ours, replaced in this order; the families add their own.
PYTORCHVIDEO = {".res_blocks.": ".block", ".branch2.": ".", ".branch1_": ".shortcut."}
PYSLOWFAST = {
    ".res": ".block",
    ".nonlocal": ".non_local",
    **{f".conv_{part}.": f".{part}." for part in ("theta", "phi", "g", "out")},
    ".stem.bn.": ".norm.",
    ".stem.": ".",
    **{f".branch2.{letter}.": f".conv_{letter}." for letter in "abc"},
    **{f".branch2.{letter}_bn.": f".norm_{letter}." for letter in "abc"},
    ".branch1.": ".shortcut.conv.",
    ".branch1_bn.": ".shortcut.norm.",
    "s1.": "body.stem.",
    **{f"s{number}.": f"body.res{number}." for number in range(2, 6)},
    "head.projection.": "head.linear.",
}


# The zoo's tests: short side 256, squares of it, at 30 fps.
zoo_input = partial(
    Input, fps=30, resize=256, size=(256, 256), mean=(0.45, 0.45, 0.45), std=(0.225, 0.225, 0.225)
)


def kinetics(file: str, prepare: Input, top1: float) -> Weights:
    """Weights of pytorchvideo's zoo; FAIR publishes the list of classes, which is alphabetical."""
    made = _zoo("kinetics", file, prepare, 400, "Kinetics-400 val, 10 clips x 3 crops")
    return replace(made, labels=kinetics400, top1=top1)


def something(file: str, prepare: Input, top1: float) -> Weights:
    """The same, fine-tuned on Something-Something V2; a clip is spread over all of a video."""
    spread = replace(prepare, sampling="segments", seconds=4.0, every=1, fps=None, views=(1, 3))
    made = _zoo("ssv2", file, spread, 174, "Something-Something V2 val, 1 clip x 3 crops")
    return replace(made, top1=top1)


def charades(file: str, prepare: Input, mean_ap: float) -> Weights:
    """The same, fine-tuned on Charades, of 24 fps; its classes do not exclude each other."""
    how = f"Charades, mAP {mean_ap} of sigmoids, the highest of 10 clips x 3 crops"
    made = _zoo("charades", file, replace(prepare, fps=24), 157, how)
    return replace(made, multilabel=True)


def _zoo(folder: str, file: str, prepare: Input, classes: int, how: str) -> Weights:
    shape = "x".join(str(side) for side in (prepare.frames, *prepare.size))
    return Weights(
        source=f"https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/{folder}/{file}.pyth",
        licence="Apache-2.0",
        layout="pytorchvideo",
        classes=classes,
        input=prepare,
        protocol=f"{how}, {shape} (pytorchvideo)",
    )
