from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from marey.models._create import create_model
from marey.models._net import Net
from marey.runtime._prepared import OneDnn, has_onednn, prepared
from marey.runtime.torch import channels_last

BATCH_NORM = nn.modules.batchnorm._BatchNorm

BY_LENGTH = ("slowfast_r50", "tdn_resnet50")  # take clips of one length, or of its multiples

# Of plain and SAME convolutions, causal ones, timm's with norm and activation in one, convolutions
# over folded frames, two pathways, and norms that stand elsewhere. How many norms stay.
NETS = {
    "mc3_18": 0,
    "x3d_xs": 0,
    "s3d_g": 0,
    "movinet_a0_stream": 0,
    "efficientnet_lite0": 0,
    "i3d_resnet18": 0,
    "slowfast_r50": 0,
    "shufflenetv2_3d": 0,
    "s3d_resnet18": 16,
    "tdn_resnet50": 39,
}


def network(name: str = "r3d_hara_10") -> Net:
    torch.manual_seed(0)
    net = create_model(name, classes=5).eval()
    for module in net.modules():
        if isinstance(module, BATCH_NORM):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
    return net


def clip(net: Net) -> Tensor:
    height, width = (max(32, least) for least in net.least[1:])
    frames = net.input.frames if net.architecture in BY_LENGTH else 4
    return torch.randn(2, 3, max(frames, net.least[0]), height, width)


def norms(net: nn.Module) -> int:
    return sum(isinstance(module, BATCH_NORM) for module in net.modules())


def apart(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("name", NETS)
def test_the_prepared_network_is_the_same_function_without_its_norms(name: str) -> None:
    net = network(name).double()
    made = prepared(net)
    assert (norms(net) > norms(made), norms(made)) == (True, NETS[name])
    given = clip(net).double()
    with torch.inference_mode():
        assert apart(made(given), net(given)) < 1e-12


def test_the_network_stays_as_it_was_and_shares_what_stays() -> None:
    net = network()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    made = prepared(net)
    after = net.state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert made.head.linear.weight is net.head.linear.weight
    assert made.labels == net.labels
    assert not any(parameter.is_meta for parameter in (*net.parameters(), *made.parameters()))


class Twice(nn.Module):
    """What is behind the convolution is read by two."""

    def __init__(self, conv: nn.Module) -> None:
        super().__init__()
        self.conv, self.norm = conv, nn.BatchNorm3d(3)

    def forward(self, x: Tensor) -> Tensor:
        made: Tensor = self.conv(x)
        return self.norm(made) + made


class Again(Twice):
    """The convolution is used twice, its norm once."""

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.conv(x)))


class Halved(nn.Conv3d):
    """Not linear in its weight as it stands."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) / 2 + x


class Behind(Twice):
    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


def conv(kind: type[nn.Conv3d] = nn.Conv3d) -> nn.Conv3d:
    return kind(3, 3, 1)


def watched(module: nn.Module) -> nn.Module:
    module.register_forward_hook(lambda *_: None)
    return module


@pytest.mark.parametrize(
    ("part", "stays"),
    [
        (Behind(conv()), False),
        (Twice(conv()), True),
        (Again(conv()), True),
        (Behind(conv(Halved)), True),
        (Behind(nn.utils.parametrizations.weight_norm(conv())), True),
        (Behind(watched(conv())), True),
    ],
)
def test_norms_stay_where_it_would_not_be_the_same(part: nn.Module, stays: bool) -> None:
    net = network()
    net.body = nn.Sequential(deepcopy(part).eval(), net.body)
    made = prepared(net)
    assert norms(made) == int(stays)
    with torch.inference_mode():
        given = clip(net)
        assert apart(made(given), net(given)) < 1e-5


def test_a_norm_that_has_two_names_goes_from_both() -> None:
    net = network()
    part = Behind(conv()).eval()
    part.same = part.norm
    net.body = nn.Sequential(part, net.body)
    made = prepared(net)
    assert norms(made) == 0
    with torch.inference_mode():
        given = clip(net)
        assert apart(made(given), net(given)) < 1e-5


class Looks(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x if float(x.sum()) > 0 else -x


def test_a_network_that_needs_values_keeps_its_norms() -> None:
    net = network()
    net.body = nn.Sequential(Looks(), net.body)
    made = prepared(net)
    assert norms(made) == norms(net) > 0
    with torch.inference_mode():
        given = clip(net)
        assert torch.equal(made(given), net(given))


class Kernels(TorchDispatchMode):
    """Counts which operations run."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        self.seen[func.overloadpacket.__name__] += 1
        return func(*args, **(kwargs or {}))


@pytest.mark.skipif(not has_onednn(), reason="torch's own loops are kept on this processor")
def test_onednn_computes_all_convolutions_and_keeps_the_memory_format() -> None:
    net = network("x3d_xs")
    made = prepared(net)
    channels_last(made)
    given = clip(net).contiguous(memory_format=torch.channels_last_3d)
    formats: list[bool] = []
    for module in made.modules():
        if isinstance(module, nn.Conv3d):
            module.register_forward_hook(
                lambda _, inputs, output: formats.append(
                    output.is_contiguous(memory_format=torch.channels_last_3d)
                )
            )
    with torch.inference_mode(), Kernels() as kernels, OneDnn():
        found = made(given)
    convolutions = sum(isinstance(module, nn.Conv3d) for module in made.modules())
    assert kernels.seen["mkldnn_convolution"] == convolutions == len(formats)
    assert all(formats)
    assert kernels.seen["convolution"] == 0
    with torch.inference_mode():
        assert apart(found, net(given)) < 1e-5


@pytest.mark.skipif(not has_onednn(), reason="torch's own loops are kept on this processor")
@pytest.mark.parametrize(
    "given",
    [
        {"padding": "same"},
        {"padding": 1, "stride": 2},
        {"padding": (1, 0, 1), "dilation": (1, 2, 1), "groups": 2},
        {"bias": torch.arange(4.0)},
    ],
)
def test_every_way_to_ask_for_a_convolution_gives_its_answer(given: dict[str, Any]) -> None:
    x, weight = torch.randn(2, 4, 5, 6, 7), torch.randn(4, 4 // given.get("groups", 1), 3, 3, 3)
    wanted = nn.functional.conv3d(x, weight, **given)
    with OneDnn():
        torch.testing.assert_close(
            nn.functional.conv3d(x, weight, **given), wanted, atol=1e-4, rtol=1e-4
        )


@pytest.mark.parametrize(
    "x", [torch.randn(1, 2, 3, 4, 4).double(), torch.randn(0, 2, 3, 4, 4), torch.randn(2, 3, 4, 4)]
)
def test_what_onednn_does_not_take_is_left_to_torch(x: Tensor) -> None:
    weight = torch.randn(2, 2, 1, 1, 1, dtype=x.dtype)
    with OneDnn():
        made = nn.functional.conv3d(x, weight)
    assert torch.equal(made, nn.functional.conv3d(x, weight))
