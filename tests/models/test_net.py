from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from marey.errors import ModelError
from marey.models._create import create_model
from marey.models._net import Net, freeze, param_groups, replace_head


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return create_model("efficientnet_lite0+tam", classes=4)


def clip() -> torch.Tensor:
    return torch.randn(2, 3, 3, 32, 32)


def test_forward_is_the_head_of_the_body(net: Net) -> None:
    x = clip()
    body = net.body(x)
    assert body.shape == (2, 1280, 3, 1, 1)
    assert torch.equal(net(x), net.head(body))
    torch.testing.assert_close(net.head.linear(net.body(x).mean((2, 3, 4))), net(x))


def test_replace_head_changes_the_last_layer_only(net: Net) -> None:
    before = net.body(x := clip()).mean((2, 3, 4))
    replace_head(net, 2, ("sit", "stand"))
    assert (net.classes, net.labels) == (2, ("sit", "stand"))
    assert net(x).shape == (2, 2)
    assert torch.equal(net.body(x).mean((2, 3, 4)), before)


def test_labels_must_fit_and_differ(net: Net) -> None:
    with pytest.raises(ModelError, match="4 classes, got 2 labels"):
        net.labels = ("a", "b")
    with pytest.raises(ModelError, match="'a' 2 times"):
        net.labels = ("a", "b", "a", "c")


def moved(net: Net) -> set[str]:
    """The stages in which one step of training changed anything."""
    before = copy.deepcopy(dict(net.stages()))
    net.train()
    groups = param_groups(net, 0.1, weight_decay=0.1)
    optimiser = torch.optim.SGD(groups)
    net(clip()).square().sum().backward()
    optimiser.step()
    return {
        name
        for name, stage in net.stages()
        if any(
            not torch.equal(new, old)
            for new, old in zip(
                stage.state_dict().values(), before[name].state_dict().values(), strict=True
            )
        )
    }


def test_frozen_stages_keep_parameters_and_statistics(net: Net) -> None:
    names = [name for name, _ in net.stages()]
    freeze(net, 4)
    assert moved(net) == set(names[4:])
    freeze(net, 0)
    assert moved(net) == set(names)


def test_norms_can_be_frozen_by_themselves(net: Net) -> None:
    freeze(net, norms=True)
    net.train()
    norms = [m for m in net.body.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    assert not any(norm.training for norm in norms)
    assert net.head.training
    freeze(net)
    assert all(norm.training for norm in norms)


def test_freeze_refuses_the_head(net: Net) -> None:
    with pytest.raises(ModelError, match=r"0 to 9 stages of conv_stem, .*, head; got 10"):
        freeze(net, 10)


def test_groups_hold_every_free_parameter_once(net: Net) -> None:
    freeze(net, 2)
    groups = param_groups(net, 0.1, head_lr=1.0, weight_decay=0.05)
    assert [(g["lr"], g["weight_decay"]) for g in groups] == [
        (0.1, 0.05),
        (0.1, 0.0),
        (1.0, 0.05),
        (1.0, 0.0),
    ]
    found = [p for group in groups for p in group["params"]]
    assert {id(p) for p in found} == {id(p) for p in net.parameters() if p.requires_grad}
    assert len(found) == len({id(p) for p in found})
    undecayed = {id(p) for group in groups if not group["weight_decay"] for p in group["params"]}
    kernels = [p for name, p in net.named_parameters() if ".mix." in name and p.requires_grad]
    assert kernels
    assert all(id(p) in undecayed for p in kernels)


def test_a_head_rate_of_zero_is_zero(net: Net) -> None:
    assert param_groups(net, 0.1, head_lr=0.0)[-1]["lr"] == 0.0
