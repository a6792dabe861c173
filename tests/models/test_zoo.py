"""What every registered network must have, whatever its family."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.errors import ModelError
from marey.models._create import create_model
from marey.models._features import stage_features
from marey.models._flow import data_flow
from marey.models._info import model_info
from marey.models._net import Net, is_norm
from marey.models._registry import list_models

NAMES = list_models()


@pytest.fixture(scope="module", params=NAMES)
def net(request: pytest.FixtureRequest) -> Iterator[Net]:
    torch.manual_seed(0)
    net = create_model(request.param, classes=3, dropout=0.0)
    # Norms as after training: those of a fresh network hide most mistakes, and some start at zero.
    for module in net.modules():
        if is_norm(module):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.0)
    yield net
    net.zero_grad()


def clip(net: Net, clips: int = 2, frames: int = 8, size: tuple[int, int] = (33, 48)) -> Tensor:
    """Odd and not square, but no smaller than the network can take."""
    shape = [max(pair) for pair in zip((frames, *size), net.least, strict=True)]
    return torch.randn(clips, len(net.input.mean), *shape)


def test_maps_lie_in_memory_as_they_like(net: Net) -> None:
    x = clip(net)
    with torch.inference_mode():
        expected = net(x)
        found = net(x.contiguous(memory_format=torch.channels_last_3d))
        assert expected.isfinite().all()
        assert (found - expected).abs().max() < 1e-4 * expected.abs().max()


def test_clips_do_not_meet(net: Net) -> None:
    x = clip(net)
    with torch.inference_mode():
        apart = torch.cat([net(one) for one in x.split(1)])
        together = net(x)
        assert (apart - together).abs().max() < 1e-4 * together.abs().max()


def test_every_stage_gives_its_features(net: Net) -> None:
    x = clip(net)
    with torch.inference_mode():
        found = stage_features(net, x)
        assert list(found) == [name for name, _ in net.stages()]
        assert torch.equal(found["head"], net(x))
        seen = net.head.per_frame(net.body(x))  # what features of videos are made of
        assert (seen.ndim, len(seen)) == (3, len(x))
    for name, maps in found.items():
        for pathway in maps if isinstance(maps, tuple) else (maps,):
            assert pathway.ndim == (2 if name == "head" else 5)
            assert len(pathway) == len(x)


def test_smaller_clips_are_refused(net: Net) -> None:
    with torch.inference_mode():
        assert net(torch.randn(1, len(net.input.mean), *net.least)).isfinite().all()
        for axis, least in enumerate(net.least):
            if least > 1:
                shape = [*net.least]
                shape[axis] -= 1
                with pytest.raises(ModelError, match=f"{net.name}: needs clips of at least"):
                    net(torch.randn(1, len(net.input.mean), *shape))
        with pytest.raises(ModelError, match=f"{net.name}: takes clips N"):
            net(torch.randn(1, 4, *net.least))


def test_training_reaches_every_parameter(net: Net) -> None:
    x = clip(net, 4, 8, (32, 32))
    net.train()
    try:
        net.zero_grad()
        loss = F.cross_entropy(net(x), torch.tensor([0, 1, 2, 0]))
        loss.backward()
        assert loss.isfinite()
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        momenta = {m.momentum for m in net.modules() if isinstance(m, nn.BatchNorm3d)}
        # torch's 0.1, or TensorFlow's decays of 0.99 and 0.999; never a decay taken for a momentum.
        assert momenta <= {0.1, 0.01, 0.001}
    finally:
        net.eval()


@pytest.mark.parametrize(
    ("name", "sees", "stride"),
    [
        # By hand: a kernel of 3 adds 2 strides, in every block once.
        ("tam_resnet50", [1, 7, 15, 27, 32], [1] * 5),
        # Two kernels a block; the first of a stage already strides.
        ("rmc3_18", [1, 1, 15, 16, 16], [1, 1, 2, 4, 8]),
        ("r3d_18", [3, 11, 16, 16, 16], [1, 1, 2, 4, 8]),
        ("tsm_resnet50", [1, 7, 8, 8, 8], [1] * 5),
        ("mc2_18", [3] * 5, [1] * 5),
    ],
)
def test_the_flow_tells_what_a_stage_sees(name: str, sees: list[int], stride: list[int]) -> None:
    net = create_model(name)
    *stages, head = data_flow(net)
    assert [stage.sees for stage in stages] == [(frames,) for frames in sees]
    assert [stage.stride for stage in stages] == [(step,) for step in stride]
    assert (head.shapes, head.sees) == (((net.classes,),), ())
    info = model_info(name)
    assert sum(stage.params for stage in (*stages, head)) == info.params
    assert sum(stage.macs for stage in (*stages, head)) == info.macs
    assert stages[0].shapes == ((64, info.shape[0], 56, 56),)
