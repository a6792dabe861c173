"""One network of each graph, elsewhere: torch.export, ONNX Runtime and OpenVINO, any batch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch
from exports import agrees_everywhere
from torch import Tensor

from marey.models._net import Net
from marey.models._registry import create_model

GRAPHS = {
    "r3d_18": (4, 48, 64),
    "r2plus1d_18": (4, 48, 64),
}
"""The clips are small, but larger than one pixel at the end, which no engine lays out alike."""


def clips(net: Net, shape: tuple[int, int, int], count: int) -> Tensor:
    return torch.randn(count, len(net.input.mean), *shape)


@pytest.mark.parametrize("name", GRAPHS)
def test_every_graph_runs_elsewhere(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = create_model(name, classes=5)
    agrees_everywhere(net, partial(clips, net, GRAPHS[name]), tmp_path)
