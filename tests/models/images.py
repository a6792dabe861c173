"""Small image networks whose every layer counts, for tests of what time does to them."""

from __future__ import annotations

from typing import Any

import timm
import torch
from torch import nn

from marey.testing.sweep import randomise


def image(name: str = "test_resnet", classes: int = 5, **options: Any) -> nn.Module:
    """One of timm's networks, untrained but alive, in evaluation mode."""
    torch.manual_seed(0)
    net = timm.create_model(name, num_classes=classes, **options)
    randomise(net)
    return net.eval()


def clip(n: int = 2, frames: int = 4, size: int = 64) -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    brightness = 2 * torch.rand(n, 1, frames, 1, 1, generator=generator)
    return brightness * torch.randn(n, 3, frames, size, size, generator=generator).cumsum(4) / 4


def still(frames: int = 4, size: int = 64) -> torch.Tensor:
    """A clip that shows one picture all the time."""
    return clip(frames=1, size=size).expand(-1, -1, frames, -1, -1)
