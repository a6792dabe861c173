"""GSM: an Inception-v3 in which a gate decides what is shifted in time.

Paper: Sudhakaran et al., "Gate-Shift Networks for Video Action Recognition", CVPR 2020, arXiv
1912.00381. Reference: swathikirans/GSM@bb16a14 `gsm.py`, `models.py`,
`model_zoo/bninception/inceptionv3_gsm.yaml`.

TSM shifts fixed channels, whatever they hold. Here a convolution over space and time looks at the
channels and says for each pixel how much of it moves: half of the channels come from the next
frame, half from the one before. What does not move stays. `GateShift` stands in ten of the eleven
blocks of timm's Inception-v3, in one branch each, between the first 1x1 convolution and its norm.
It also reorders its channels, with closed gates too: the first, the one a quarter further on, the
second, …

The reference's Inception-v3 came by way of Caffe, and differs from timm's, which is made alike
(`caffe`): its convolutions have a bias, height and width are exchanged in those that are not
square, the pools of the stem round up, the last block takes the maximum for the mean, and the norms
have an epsilon of 1e-5.

Deviations: the mean over space and frames is taken before the last layer, which is linear, of
pictures of any size from 69 pixels on; the reference averages windows of 6x6, and fails where
convolution and pool of a reduction differ in size. Its colours are in the order BGR: the first
kernel is turned round when weights are loaded. Untrained, all convolutions but the gates' are drawn
as torch does; the authors start from an image network. Their BN-Inception is not in timm, and not
here. Their weights lie on Google Drive, which has no addresses that stay, and so are not listed;
downloaded by hand, a file loads by `load_state(net, read_state(path), source=str(path),
layout="gsm")` of `marey.models._weights`.
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.models._image_nets import image_net
from marey.models._inflate import Change
from marey.models._net import Net
from marey.models._registry import register
from marey.models.timed import Timed, TimeReport, timed
from marey.nn.time import Clock, OverTime, fold
from marey.types import Input

UNGATED = "Mixed_6d"
"""The one block without a gate in the reference."""


class GateShift(OverTime):
    """Half of the channels from the next frame, half from the one before, as far as gates open.

    The gates start closed. Channels come out in another order: of each half, those of its first and
    of its second quarter by turns.
    """

    def __init__(self, channels: int, clock: Clock) -> None:
        super().__init__(clock)
        self.norm = nn.BatchNorm2d(channels)
        self.conv = nn.Conv3d(channels, 2, 3, padding=1, groups=2)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)  # type: ignore[arg-type]

    def forward(self, frames: Tensor) -> Tensor:
        """(N*T) C H W → the same shape."""
        seen = self.clips(self.norm(frames).relu()).transpose(1, 2)
        gate = self.conv(seen).tanh()[:, :, None]  # N 2 1 T H W
        clip = self.clips(frames).transpose(1, 2)
        halves = torch.stack(clip.chunk(2, 1), 1)  # N 2 C/2 T H W
        moving = gate * halves
        following = F.pad(moving[:, 0, :, 1:], (0, 0, 0, 0, 0, 1))
        previous = F.pad(moving[:, 1, :, :-1], (0, 0, 0, 0, 1, 0))
        mixed = halves - moving + torch.stack([following, previous], 1)
        by_turns = torch.stack(mixed.chunk(2, 2), 3)  # N 2 C/4 2 T H W
        return fold(by_turns.flatten(1, 3))


class MaxPooled(nn.Module):
    """The last block, whose branch behind a pool gets the maximum; timm's gets the mean."""

    def __init__(self, block: nn.Module) -> None:
        super().__init__()
        for name, layer in block.named_children():
            self.add_module(name, layer)

    def forward(self, x: Tensor) -> Tensor:
        """N 2048 H W → the same shape."""
        layers = dict(self.named_children())
        single = layers["branch3x3_1"](x)
        double = layers["branch3x3dbl_2"](layers["branch3x3dbl_1"](x))
        branches = [
            layers["branch1x1"](x),
            layers["branch3x3_2a"](single),
            layers["branch3x3_2b"](single),
            layers["branch3x3dbl_3a"](double),
            layers["branch3x3dbl_3b"](double),
            layers["branch_pool"](F.max_pool2d(x, 3, stride=1, padding=1)),
        ]
        return torch.cat(branches, 1)


def caffe(image: nn.Module) -> nn.Module:
    """Make timm's Inception-v3 the reference's, in place."""
    for name, layer in list(image.named_modules()):
        if isinstance(layer, nn.Conv2d):
            height, width = layer.kernel_size
            turned = nn.Conv2d(
                layer.in_channels,
                layer.out_channels,
                (width, height),
                layer.stride,  # type: ignore[arg-type]
                layer.padding[::-1],  # type: ignore[arg-type]
            )
            image.set_submodule(name, turned)
        elif isinstance(layer, nn.BatchNorm2d):
            layer.eps = 1e-5
        elif isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = True
    image.set_submodule("Mixed_7c", MaxPooled(image.get_submodule("Mixed_7c")))
    return image


def gated(net: Timed) -> Timed:
    """Put a `GateShift` behind the first 1x1 convolution of every block but one, in place."""
    changes = []
    for block, module in net.body.net.named_children():
        if not block.startswith("Mixed_") or block == UNGATED:
            continue
        branch, conv = next(
            (name, layer)
            for name, layer in module.named_modules()
            if isinstance(layer, nn.Conv2d) and layer.kernel_size == (1, 1)
        )
        gate = GateShift(conv.out_channels, net.body.clock)
        pair = nn.Sequential(OrderedDict(conv=conv, gate=gate))
        module.set_submodule(branch, pair)
        changes.append(Change(f"{block}.{branch}", "gate and shift behind it", "closed"))
    new = tuple(name for name, _ in net.named_parameters() if ".gate." in name)
    net.report.time = TimeReport("gate and shift", tuple(changes), new, {})
    return net


def from_authors(units: Mapping[str, str], state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The authors' names as this network's; `units` are their convolutions by timm's names."""
    ours = {}
    gated_units = {
        found[1] for name in state if (found := re.search(r"\.gsm_(\w+)_Conv2D\.", name))
    }
    for name, value in state.items():
        parts = re.fullmatch(r"base_model\.(gsm_)?(\w+)_(Conv2D|batchnorm)\.(.+)", name)
        if parts is None or parts[2] not in units:
            ours[name.replace("new_fc.", "head.linear.")] = value
            continue
        gate, unit, kind, entry = parts.groups()
        if gate:
            entry = "conv.gate." + entry.replace("conv3D.", "conv.").replace("bn.", "norm.")
        elif kind == "batchnorm":
            entry = f"bn.{entry}"
        else:
            entry = f"conv.conv.{entry}" if unit in gated_units else f"conv.{entry}"
        first = unit == "conv" and entry == "conv.weight"
        ours[f"body.net.{units[unit]}.{entry}"] = value.flip(1) if first else value  # from BGR
    return ours


# The authors' names of a block's convolutions, in timm's order, which is theirs too.
_BLOCK5 = "conv tower_conv tower_conv_1 tower_1_conv tower_1_conv_1 tower_1_conv_2 tower_2_conv"
_BLOCK6A = "conv tower_conv tower_conv_1 tower_conv_2"
_BLOCK6 = (
    "conv tower_conv tower_conv_1 tower_conv_2 tower_1_conv tower_1_conv_1 tower_1_conv_2 "
    "tower_1_conv_3 tower_1_conv_4 tower_2_conv"
)
_BLOCK7A = "tower_conv tower_conv_1 tower_1_conv tower_1_conv_1 tower_1_conv_2 tower_1_conv_3"
_BLOCK7 = (
    "conv tower_conv tower_mixed_conv tower_mixed_conv_1 tower_1_conv tower_1_conv_1 "
    "tower_1_mixed_conv tower_1_mixed_conv_1 tower_2_conv"
)
_BLOCKS = [*[_BLOCK5] * 3, _BLOCK6A, *[_BLOCK6] * 4, _BLOCK7A, *[_BLOCK7] * 2]
_PUBLISHED = ["conv", *(f"conv_{number}" for number in range(1, 5))] + [
    f"mixed_{number}_{name}" if number else f"mixed_{name}"
    for number, block in enumerate(_BLOCKS)
    for name in block.split()
]


@register(
    # Eight frames of all of a video, which in Something-Something takes four seconds.
    Input(
        frames=8,
        sampling="segments",
        seconds=4.0,
        resize=261,
        size=(229, 229),
        mean=(128 / 255, 117 / 255, 104 / 255),
        std=(1 / 255, 1 / 255, 1 / 255),
        views=(1, 1),
    ),
    classes=174,
    paper="1912.00381",
    reference="swathikirans/GSM@bb16a14",
)
def gsm_inception_v3(*, classes: int, dropout: float = 0.5) -> Net:
    image = caffe(image_net("inception_v3", classes))
    convs = [name for name, layer in image.named_modules() if isinstance(layer, nn.Conv2d)]
    units = [name.removesuffix(".conv") for name in convs]
    net = gated(timed(image, "none", frames=8, classes=classes, dropout=dropout))
    net.least = (1, 69, 69)
    net.layouts["gsm"] = partial(from_authors, dict(zip(_PUBLISHED, units, strict=True)))
    return net
