"""The non-local block: every place in space and time looks at every other.

Wang et al., "Non-local Neural Networks", CVPR 2018, arXiv 1711.07971. Reference:
facebookresearch/SlowFast@287ec00 `slowfast/models/nonlocal_helper.py`.
"""

from __future__ import annotations

import math
from typing import Literal

from torch import Tensor, nn

Affinity = Literal["softmax", "dot_product"]
"""How alike places weigh each other: softmax of theta·phi / sqrt(width), so that the weights of a
place sum to 1, or theta·phi / (number of places). The paper's embedded Gaussian is the softmax
without the root."""


class NonLocal(nn.Module):
    """N C T H W plus, at each place, a weighted sum of `g` over all places: the same shape.

    What is looked at is max-pooled by 2 over height and width first, which need at least 2 pixels
    each. The last norm starts at zero, and so the block as the identity.
    """

    def __init__(self, channels: int, affinity: Affinity = "softmax") -> None:
        super().__init__()
        self.affinity = affinity
        self.width = channels // 2
        self.theta = nn.Conv3d(channels, self.width, 1)
        self.phi = nn.Conv3d(channels, self.width, 1)
        self.g = nn.Conv3d(channels, self.width, 1)
        self.out = nn.Conv3d(self.width, channels, 1)
        self.norm = nn.BatchNorm3d(channels)
        self.pool = nn.MaxPool3d((1, 2, 2))
        nn.init.zeros_(self.norm.weight)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.pool(x)
        theta = self.theta(x).flatten(2)  # N width places
        phi, g = self.phi(pooled).flatten(2), self.g(pooled).flatten(2)  # a quarter of the places
        weights = self._normalised(theta.transpose(1, 2) @ phi)
        seen: Tensor = (g @ weights.transpose(1, 2)).unflatten(2, x.shape[2:])
        mixed: Tensor = x + self.norm(self.out(seen))
        return mixed

    def _normalised(self, alike: Tensor) -> Tensor:
        """N places quarter, each place's weights of what it looks at."""
        if self.affinity == "softmax":
            return (alike / math.sqrt(self.width)).softmax(2)
        return alike / alike.shape[2]
