from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.nn.non_local import Affinity, NonLocal


def block(affinity: Affinity, channels: int = 6) -> NonLocal:
    torch.manual_seed(0)
    made = NonLocal(channels, affinity).double().eval()
    nn.init.uniform_(made.norm.weight, 0.5, 1.5)
    return made


def by_definition(block: NonLocal, x: Tensor) -> Tensor:
    """Place by place, in numbers: no matrix product, no reshape of a whole map."""
    pooled = F.max_pool3d(x, (1, 2, 2))
    theta, phi, g = block.theta(x), block.phi(pooled), block.g(pooled)
    seen = torch.zeros_like(theta)
    for n, t, i, j in torch.cartesian_prod(*(torch.arange(s) for s in (len(x), *x.shape[2:]))):
        at = theta[n, :, t, i, j]
        alike = (at[:, None, None, None] * phi[n]).sum(0)
        if block.affinity == "softmax":
            powers = (alike / math.sqrt(len(at))).exp()
            weights = powers / powers.sum()
        else:
            weights = alike / alike.numel()
        seen[n, :, t, i, j] = (weights * g[n]).sum((1, 2, 3))
    return x + block.norm(block.out(seen))


@pytest.mark.parametrize("affinity", ["softmax", "dot_product"])
def test_is_what_the_paper_defines(affinity: Affinity) -> None:
    net = block(affinity)
    x = torch.randn(2, 6, 3, 5, 4, dtype=torch.double)
    with torch.inference_mode():
        torch.testing.assert_close(net(x), by_definition(net, x))


def test_every_place_sees_every_other() -> None:
    net = block("softmax")
    x = torch.randn(1, 6, 3, 4, 4, dtype=torch.double)
    changed = x.clone()
    changed[..., 0, 0, 0] += 9
    with torch.inference_mode():
        difference = (net(changed) - net(x)).abs().amax((0, 1))
    assert (difference > 1e-9).all()


def test_starts_as_the_identity() -> None:
    x = torch.randn(2, 8, 2, 3, 3)
    for train in (False, True):
        torch.testing.assert_close(NonLocal(8).train(train)(x), x)
