"""From decoded frames to what a network sees."""

from __future__ import annotations

import torch
from torch import Tensor

from marey.types import Input


def normalise(clips: Tensor, prepare: Input) -> Tensor:
    """uint8 N T H W 3 → float32 N 3 T H W: scaled to [0, 1], raised to gamma, mean and std removed.

    The frames already have the network's size. The result is a view in channels-last memory, which
    is the format that convolutions over time want.
    """
    x = clips / 255
    if prepare.gamma != 1:
        x.pow_(prepare.gamma)
    x.sub_(torch.tensor(prepare.mean, device=x.device))
    x.div_(torch.tensor(prepare.std, device=x.device))
    return x.permute(0, 4, 1, 2, 3)
