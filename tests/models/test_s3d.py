from __future__ import annotations

import math
from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.video import s3d

from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._info import model_info
from marey.models._labels import kinetics400
from marey.models._weights import load_state
from marey.models.inception3d import WIDTHS
from marey.models.s3d import SelfGating
from marey.testing.fill import clip, relative_error, uniform


@pytest.mark.parametrize(
    ("name", "params", "frames", "gmacs"),
    [
        ("s3d", 8_320_048, 16, 17.979),
        ("s3d", 8_320_048, 64, 71.92),
        # What slim trains, measured, and the norms' scales.
        ("s3d_g", 9_518_848 + 7_280, 64, 64.18),
    ],
)
def test_parameters_and_macs(name: str, params: int, frames: int, gmacs: float) -> None:
    with torch.device("meta"):
        found = cost(create_model(name), (frames, 224, 224))
    assert found.params == params
    # The reference answers for each window, and takes the mean of the answers.
    answers = (frames // 8 - 2) * 400 * 1024
    assert (found.macs + answers) / 1e9 == pytest.approx(gmacs, abs=0.006)


def randomised(net: nn.Module) -> nn.Module:
    torch.manual_seed(0)
    for name, value in net.state_dict().items():
        if name.endswith(("running_var", "running_mean")):
            value.uniform_(0.5, 1.5)
    return net


class AnyMap(nn.Module):
    """torchvision's last pool, its window as large as the map."""

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool3d(x, (2, *x.shape[3:]), 1)


@pytest.mark.parametrize("size", [(19, 49, 66), (32, 33, 64)])
def test_equals_torchvision_with_the_same_state(size: tuple[int, int, int]) -> None:
    theirs = randomised(s3d(num_classes=7, dropout=0.4)).double()
    theirs.avgpool = AnyMap()
    ours = create_model("s3d", classes=7, dropout=0.4).double()
    report = load_state(ours, theirs.state_dict(), source="torchvision", layout="torchvision")
    assert report.fresh == report.dropped == ()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    for train in (False, True):
        theirs.train(train)
        ours.train(train)
        logits = []
        for net in (theirs, ours):  # in training each window is dropped out by itself
            torch.manual_seed(1)
            logits.append(net(x))
        torch.testing.assert_close(logits[1], logits[0], rtol=1e-10, atol=1e-12)


def test_the_last_pool_drops_an_odd_row() -> None:
    with torch.device("meta"):
        ports, slim = create_model("s3d"), create_model("s3d_g")
        x = torch.empty(1, 3, 19, 97, 131)
        assert ports.body(x).shape[2:] == (2, 3, 4)
        assert slim.body(x).shape[2:] == (3, 4, 5)


def kylemin() -> Iterator[str]:
    """The names of kylemin/S3D in the order of its state, which is torchvision's."""

    def unit(name: str, kind: str = "") -> Iterator[str]:
        yield f"{name}.conv{kind}.weight"
        for entry in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            yield f"{name}.bn{kind}.{entry}"

    def separable(name: str) -> Iterator[str]:
        yield from unit(name, "_s")
        yield from unit(name, "_t")

    for number in (0, 2, 3):
        yield from (unit if number == 2 else separable)(f"base.{number}")
    for number in (5, 6, 8, 9, 10, 11, 12, 14, 15):
        for branch in ("0.0", "1.0", "1.1", "2.0", "2.1", "3.1"):
            make = separable if branch in ("1.1", "2.1") else unit
            yield from make(f"base.{number}.branch{branch}")
    yield from ("fc.0.weight", "fc.0.bias")


def test_both_ports_names_lead_to_the_same_places() -> None:
    state = {name: torch.rand(value.shape) for name, value in s3d().state_dict().items()}
    nets = create_model("s3d"), create_model("s3d")
    load_state(nets[0], state, source="torchvision", layout="torchvision")
    other = dict(zip(kylemin(), state.values(), strict=True))
    load_state(nets[1], other, source="kylemin", layout="kylemin")
    expected, found = (net.state_dict() for net in nets)
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def slim(stem: int, classes: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    """The variables of the authors' code, kernels T H W I O."""

    def unit(name: str, *kernel: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield f"{name}/weights", kernel
        for entry in ("beta", "moving_mean", "moving_variance"):
            yield f"{name}/BatchNorm/{entry}", kernel[-1:]

    def separable(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, tuple[int, ...]]]:
        yield from unit(name, 1, 3, 3, inputs, outputs)
        yield f"{name}/temporal/weights", (3, 1, 1, outputs, outputs)
        yield f"{name}/temporal/biases", (outputs,)

    def gate(name: str, width: int) -> tuple[str, tuple[int, ...]]:
        return f"{name}/self_gating/transformer_W/weights", (1, 1, 1, width, width)

    root = "InceptionV1"
    yield from unit(f"{root}/Conv2d_1a_7x7", stem, 7, 7, 3, 64)
    yield from unit(f"{root}/Conv2d_2b_1x1", 1, 1, 1, 64, 64)
    yield from separable(f"{root}/Conv2d_2c_3x3", 64, 192)
    yield gate(f"{root}/Conv2d_2c_3x3", 192)
    inputs = 192
    for block, (first, *pairs, last) in WIDTHS.items():
        branch = f"{root}/Mixed_{block}/Branch_"
        yield from unit(f"{branch}0/Conv2d_0a_1x1", 1, 1, 1, inputs, first)
        yield gate(f"{branch}0/Conv2d_0a_1x1", first)
        for number, (narrow, wide) in enumerate(pairs, start=1):
            yield from unit(f"{branch}{number}/Conv2d_0a_1x1", 1, 1, 1, inputs, narrow)
            yield from separable(f"{branch}{number}/Conv2d_0b_3x3", narrow, wide)
            yield gate(f"{branch}{number}/Conv2d_0b_3x3", wide)
        yield from unit(f"{branch}3/Conv2d_0b_1x1", 1, 1, 1, inputs, last)
        yield gate(f"{branch}3/Conv2d_0b_1x1", last)
        inputs = first + sum(wide for _, wide in pairs) + last
    yield f"{root}/Logits/Conv2d_0c_1x1/weights", (1, 1, 1, inputs, classes)
    yield f"{root}/Logits/Conv2d_0c_1x1/biases", (classes,)


def filled(name: str, shape: tuple[int, ...]) -> Tensor:
    u = uniform(name, shape)
    if len(shape) > 1:
        u = (2 * u - 1) * math.sqrt(6 / math.prod(shape[:-1]))
    else:
        u = 0.5 + u if name.endswith("variance") else 0.2 * (u - 0.5)
    return torch.from_numpy(u)


# The authors' code in TensorFlow 2.15 and double precision, its variables and clip filled as above.
SLIM = {
    (3, (2, 3, 19, 33, 50)): [
        [-0.01910360682950616, 0.1520880750832644, 0.11044793049406461, 0.003181615163464893],
        [-0.01917770709831236, 0.1513942168304629, 0.11028573275447827, 0.002545251104262642],
    ],
    (7, (1, 3, 16, 32, 32)): [
        [-0.028216885212749912, 0.1331084839105236, 0.07220092404588774, 0.02867748768212496]
    ],
}


@pytest.mark.parametrize(("stem", "shape"), SLIM)
def test_s3d_g_equals_the_authors_code(stem: int, shape: tuple[int, ...]) -> None:
    net = create_model("s3d_g", classes=5, stem_kernel=stem).double()
    state = {name: filled(name, size) for name, size in slim(stem, 5)}
    report = load_state(net, state, source="slim", layout="slim")
    assert report.fresh == report.dropped == ()
    with torch.inference_mode():
        found = net(torch.from_numpy(clip(shape)).double())
    assert relative_error(found[:, :4], SLIM[stem, shape]) < 1e-12


def test_a_gate_looks_at_the_whole_clip() -> None:
    gate = SelfGating(4)
    x = torch.randn(1, 4, 3, 2, 2)
    with torch.inference_mode():
        other = x.clone()
        other[:, :, -1] += 10
        assert not torch.allclose(gate(other)[:, :, 0], gate(x)[:, :, 0])
        gate.linear.weight.zero_()
        torch.testing.assert_close(gate(x), x / 2)


def test_gates_end_each_branch_and_the_last_convolution_before_the_blocks() -> None:
    with torch.device("meta"):
        net = create_model("s3d_g")
    found = [name for name, module in net.named_modules() if isinstance(module, SelfGating)]
    blocks = [f"body.stage{name[0]}.mixed_{name}" for name in WIDTHS]
    branches = [f"{block}.branch{number}.gate" for block in blocks for number in range(4)]
    assert found == ["body.stage2.gate_2c", *branches]


def test_s3d_g_starts_with_the_identity_over_time() -> None:
    time = create_model("s3d_g", classes=2).body.stage2.conv_2c.time.conv
    assert torch.equal(time.weight[:, :, 1, 0, 0], torch.eye(192))
    assert time.weight.sum() == 192
    assert not time.bias.any()


def test_published_weights_say_what_they_are() -> None:
    info = model_info("s3d.k400")
    assert (info.labels, info.shape) == (kinetics400(), (128, 224, 224))
    assert info.macs / 1e9 == pytest.approx(143.8, abs=0.1)
