"""How fresh kernels are drawn, where several authors do it alike."""

from __future__ import annotations

from torch import nn


def he_fan_out(net: nn.Module) -> None:
    """He's normal distribution by the fan-out for all convolutions of `net`, biases zero.

    He et al. 2015, arXiv 1502.01852; the start of ResNets since torchvision's.
    """
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
