"""Pixels picked first: the numbers of the strided convolution, and no crash in its gradient."""

from __future__ import annotations

import subprocess
import sys
from copy import deepcopy

import torch
from torch import nn

from marey.nn.strided import pick_pixels_first

STEPS = """
import torch
from torch import nn
from marey.nn.strided import pick_pixels_first
net = nn.Sequential(nn.Conv2d(3, 16, 1, stride=2, bias=False))
pick_pixels_first(net)
for _ in range(150):
    clip = torch.randn(16, 3, 64, 64).contiguous(memory_format=torch.channels_last)
    made = net(clip)
    (made * torch.randn_like(made)).sum().backward()
"""


def test_the_same_numbers_and_gradients() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1, stride=(2, 3)), nn.Conv2d(4, 5, 3, stride=2)).double()
    other = deepcopy(net)
    pick_pixels_first(other)
    assert [layer.stride for layer in other] == [(1, 1), (2, 2)]
    frames = torch.randn(2, 3, 33, 32, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(other(frames), net(frames))
    grads = [torch.autograd.grad(one(frames).sin().sum(), frames)[0] for one in (net, other)]
    torch.testing.assert_close(*grads)
    assert other.state_dict().keys() == net.state_dict().keys()


def test_a_copy_does_it_too() -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 1, stride=2))
    pick_pixels_first(net)
    frames = torch.randn(1, 3, 8, 8)
    torch.testing.assert_close(deepcopy(net)(frames), net(frames))
    assert net(frames).shape == (1, 4, 4, 4)


def test_training_does_not_crash() -> None:
    subprocess.run([sys.executable, "-c", STEPS], check=True, timeout=300)
