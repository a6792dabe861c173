"""Small networks that look back only, one of each kind, whose every weight counts."""

from __future__ import annotations

from dataclasses import replace

import timm
import torch
from torch import nn

from marey.models._movinet_blocks import STREAM
from marey.models._movinet_sizes import A0, K13, K15, K33, K53, Stage
from marey.models._net import Net
from marey.models.movinet import MoViNet
from marey.models.timed import Timed, timed
from marey.testing.sweep import randomise
from marey.types import Input

FRAMES, SIZE = 6, 64
LABELS = ("sit", "stand", "walk")
RULES = {
    "none": "none",
    "shift": "shift:ends=causal",
    "lstm": "tam:ends=causal:init=paper+rnn:width=16",
    "gru": "rnn:cell=gru:width=16",
}
KINDS = (*RULES, "movinet")


def drawn(net: Timed) -> Timed:
    """A network whose kernels over time look at every frame that they can."""
    assert net.report.time is not None
    torch.manual_seed(1)
    for change in net.report.time.changes:
        weight = getattr(net.body.net.get_submodule(change.name), "weight", None)
        if weight is not None:
            nn.init.normal_(weight, std=0.1)
    return net.eval()


def network(kind: str, size: int = SIZE) -> Net:
    torch.manual_seed(0)
    if kind == "movinet":
        net: Net = _movinet()
    else:
        image = timm.create_model("test_resnet", num_classes=3)
        randomise(image)
        net = drawn(timed(image, RULES[kind], frames=FRAMES, classes=3))
    nn.init.normal_(net.head.linear.weight, std=0.3)
    net.input = Input(
        frames=FRAMES,
        size=(size, size),
        resize=size,
        mean=(0.4, 0.5, 0.6),
        std=(0.2, 0.3, 0.2),
        fps=5.0,
    )
    net.labels = LABELS
    return net.eval()


def _movinet() -> MoViNet:
    """One block a stage."""
    stages = tuple(Stage(8, (16,), (kernel,)) for kernel in (K15, K33, K53, K33, K13))
    net = MoViNet(replace(A0, stages=stages, top=16), STREAM, classes=3, dropout=0.0)
    net.architecture = net.name = "movinet_small"
    net.options = {}
    for name, value in net.state_dict().items():
        if name.endswith(("running_var", "alpha")):
            value.uniform_(0.5, 1.5)
        elif name.endswith(("running_mean", "bias")):
            value.uniform_(-0.1, 0.1)
    return net
