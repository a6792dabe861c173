"""One network of each graph, elsewhere: torch.export, ONNX Runtime and OpenVINO, any batch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from exports import agrees_everywhere
from torch import Tensor

from marey.models._create import create_model
from marey.models._net import Net

GRAPHS = {
    "r3d_18": (4, 48, 64),
    "r2plus1d_18": (4, 48, 64),
    "x3d_xs": (4, 48, 64),
    "c3d": (16, 64, 80),
    "ircsn_50": (8, 48, 64),
    "i3d_r50": (4, 48, 64),
    "csn_r101": (8, 48, 64),
    "slowfast_r50": (8, 48, 64),
    "slowfast_r50_mm": (8, 48, 64),
    "slow_r50_detection": (4, 48, 64),
    "movinet_a0": (4, 48, 64),
    "movinet_a0_stream": (4, 48, 64),
    "r3d_hara_18": (8, 64, 80),
    "mobilenetv2_3d": (8, 64, 80),
    "shufflenet_3d": (8, 64, 80),
    "tdn_resnet50": (10, 64, 80),
    "i3d": (8, 64, 80),
    "s3d": (8, 64, 80),
    "s3d_g": (8, 64, 80),
    "blvnet_tam_50": (4, 64, 96),
}
"""The clips are small, but larger than one pixel at the end, which no engine lays out alike."""


def clips(net: Net, shape: tuple[int, int, int], count: int) -> Tensor:
    return torch.randn(count, len(net.input.mean), *shape)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_runs_elsewhere(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = create_model(name, classes=5)
    agrees_everywhere(net, partial(clips, net, GRAPHS[name]), tmp_path)
