from __future__ import annotations

import doctest
import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import marey.models.movinet as module
from marey.errors import ModelError, WeightsError
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._info import model_info
from marey.models._movinet_blocks import STREAM, CausalExcite, SamePool
from marey.models._movinet_sizes import A0, K13, K15, K33, K53, Stage
from marey.models._weights import load_state
from marey.models.movinet import MoViNet
from marey.nn.causal import CausalConv3d, CumulativeMean, Stream
from marey.testing.fill import clip, fill, relative_error

# Parameters, and GMACs of the clip that the authors test on.
TABLE = {
    "movinet_a0": (3_111_799, 2.63),
    "movinet_a1": (4_690_296, 5.87),
    "movinet_a2": (5_249_562, 11.56),
    "movinet_a3": (7_397_545, 55.59),
    "movinet_a4": (11_349_463, 103.34),
    "movinet_a5": (18_650_523, 276.33),
    "movinet_a0_stream": (3_748_031, 2.43),
    "movinet_a1_stream": (6_447_352, 5.54),
    "movinet_a2_stream": (7_326_962, 10.70),
}
GOLDEN = Path(__file__).parents[1] / "golden"


def drawn(name: str, seed: int = 0, classes: int = 3) -> MoViNet:
    """A network in double with statistics, biases and scales as after training."""
    torch.manual_seed(seed)
    net = create_model(name, classes=classes, dropout=0.0).double().eval()
    for entry, value in net.state_dict().items():
        if entry.endswith(("running_var", "alpha")):
            value.uniform_(0.5, 1.5)
        elif entry.endswith(("running_mean", "bias")):
            value.uniform_(-0.1, 0.1)
    assert isinstance(net, MoViNet)
    return net


@pytest.fixture(scope="module")
def stream() -> MoViNet:
    return drawn("movinet_a0_stream")


def run(net: MoViNet, frames: Tensor, parts: list[int]) -> Tensor:
    """The logits after every frame of a clip that comes in `parts`."""
    state, found = None, []
    with torch.inference_mode():
        for part in torch.split(frames, parts, dim=2):
            logits, state = net.step(part, state)
            assert logits.shape == (len(frames), part.shape[2], net.classes)
            found.append(logits)
    return torch.cat(found, 1)


def frames(count: int = 8, clips: int = 2, size: tuple[int, int] = (37, 50)) -> Tensor:
    return torch.rand(clips, 3, count, *size, dtype=torch.double)


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    info = model_info(name)
    assert info.params == TABLE[name][0]
    assert info.macs / 1e9 == pytest.approx(TABLE[name][1], abs=0.006)
    assert info.input.frames / (info.input.fps or 0) == 10  # seconds


def test_what_one_frame_costs_a_stream() -> None:
    assert cost(create_model("movinet_a0_stream"), (1, 172, 172)).macs / 1e9 == pytest.approx(
        0.051, abs=5e-4
    )


@pytest.mark.parametrize("parts", [[1] * 8, [3, 5]])
def test_after_every_frame_the_published_logits(parts: list[int]) -> None:
    golden = json.loads((GOLDEN / "movinet_a0_stream.json").read_text())
    net = create_model("movinet_a0_stream", **golden["options"])
    assert isinstance(net, MoViNet)
    state = {
        name: torch.as_tensor(fill(name, shape, kind)) for name, shape, kind in golden["state"]
    }
    load_state(net, state, source="golden", layout="movinet-pytorch")
    found = run(net.double(), torch.from_numpy(clip(golden["inputs"][0])).double(), parts)
    expected = golden["float64"]["logits_after_frame"]  # T N K
    assert relative_error(found[..., :12].transpose(0, 1), expected) < 1e-12


@pytest.mark.parametrize("parts", [[8], [1] * 8, [3, 5], [1, 6, 1]])
def test_a_stream_is_its_clip_however_it_is_cut(stream: MoViNet, parts: list[int]) -> None:
    torch.manual_seed(1)
    whole = frames()
    with torch.inference_mode():
        last = stream(whole)
        firsts = torch.stack([stream(whole[:, :, : t + 1]) for t in range(8)], 1)
    found = run(stream, whole, parts)
    assert relative_error(found, firsts) < 1e-12
    assert relative_error(found[:, -1], last) < 1e-12
    assert relative_error(found[:, 0], last) > 1e-4  # and the answers do change


def test_a_state_is_a_value(stream: MoViNet) -> None:
    """Steps change neither it nor the network, and those of several streams make a batch."""
    one, two = frames(4, 1), frames(4, 1)
    with torch.inference_mode():
        _, young = stream.step(one[:, :, :1])
        _, old = stream.step(two[:, :, :3])
        before = [value.clone() for value in young]
        expected = torch.cat(
            [stream.step(one[:, :, 1:2], young)[0], stream.step(two[:, :, 3:], old)[0]]
        )
        assert all(map(torch.equal, young, before))
        both = tuple(torch.cat(pair) for pair in zip(young, old, strict=True))
        found, _ = stream.step(torch.cat([one[:, :, 1:2], two[:, :, 3:]]), both)
    assert relative_error(found, expected) < 1e-12


def test_what_cannot_stream_and_what_does_not_fit_says_why(stream: MoViNet) -> None:
    base = create_model("movinet_a0", classes=2)
    assert isinstance(base, MoViNet)
    with pytest.raises(ModelError, match=r"it looks ahead.*movinet_a0_stream"):
        base.step(torch.rand(1, 3, 1, 8, 8))
    with torch.inference_mode():
        _, state = stream.step(frames(1))
        with pytest.raises(ModelError, match="a state does not fit these frames"):
            stream.step(frames(1, size=(64, 64)), state)
        with pytest.raises(ModelError, match="a state does not fit these frames"):
            stream.step(frames(1, clips=1), state)
        for other in (state[:-1], (*state, state[-1])):
            with pytest.raises(ModelError, match="of another network"):
                stream.step(frames(1), other)
        with pytest.raises(ModelError, match="takes clips N 3 T H W"):
            stream.step(torch.rand(1, 3, 8, 8))


def test_one_frame_is_exported_with_its_state(stream: MoViNet) -> None:
    # A network of one block a stage, for exporting takes seconds.
    stages = tuple(Stage(8, (8,), (kernel,)) for kernel in (K15, K33, K53, K33, K13))
    size = replace(A0, stages=stages, top=16)
    small = MoViNet(size, STREAM, classes=2, dropout=0.0).double().eval()
    small.input = stream.input
    for value in small.parameters():
        nn.init.uniform_(value)

    class Step(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = small

        def forward(self, frame: Tensor, *state: Tensor) -> tuple[Tensor, ...]:
            logits, after = self.net.step(frame, state)
            return logits, *after

    clips = torch.export.Dim("N", max=16)
    with torch.no_grad():
        _, state = small.step(frames(1))
        each = ({0: clips}, tuple({0: clips} for _ in state))
        program = torch.export.export(Step(), (frames(1), *state), dynamic_shapes=each)
        _, state = small.step(frames(2, clips=3))
        frame = frames(1, clips=3)
        found, *after = program.module()(frame, *state)
        expected, last = small.step(frame, state)
    assert torch.equal(found, expected)
    assert all(map(torch.equal, after, last))


@pytest.mark.parametrize("size", [(8, 8), (7, 7), (9, 6), (6, 5), (2, 3), (1, 1)])
def test_the_pool_divides_by_the_real_pixels(size: tuple[int, int]) -> None:
    x = torch.rand(2, 3, 2, *size, dtype=torch.double)
    expected = torch.empty(2, 3, 2, *((side + 1) // 2 for side in size), dtype=torch.double)
    starts = [range(-(side % 2), side - side % 2, 2) for side in size]  # an odd size pads before
    for i, top in enumerate(starts[0]):
        for j, left in enumerate(starts[1]):
            window = x[..., max(top, 0) : top + 3, max(left, 0) : left + 3]
            expected[..., i, j] = window.mean((-1, -2))
    torch.testing.assert_close(SamePool()(x), expected)


def test_a_stream_is_gated_by_tensorflows_hard_sigmoid() -> None:
    """Slope 0.2, of [mean so far, present mean]."""
    torch.manual_seed(0)
    layer = CausalExcite(8).double()
    nn.init.constant_(layer.fc2.weight, 0.1)
    x = torch.rand(1, 8, 3, 2, 2, dtype=torch.double)
    now = x.mean((3, 4))
    so_far = torch.stack([now[:, :, : t + 1].mean(2) for t in range(3)], 2)
    weight, bias = layer.fc1.weight.flatten(1), layer.fc1.bias
    assert bias is not None
    assert layer.fc2.bias is not None
    seen = torch.einsum("kc,nct->nkt", weight, torch.cat([so_far, now], 1)) + bias[:, None]
    gates = torch.einsum("ck,nkt->nct", layer.fc2.weight.flatten(1), F.hardswish(seen))
    gates = (0.2 * (gates + layer.fc2.bias[:, None]) + 0.5).clamp(0, 1)
    torch.testing.assert_close(layer(x), x * gates[..., None, None])


def test_a_mean_counts_beyond_what_half_precision_can() -> None:
    ones = torch.ones(1, 1, 300, 1, 1, dtype=torch.bfloat16)  # which has no 257
    memory = Stream()
    assert torch.equal(CumulativeMean()(ones, memory), ones)
    assert memory.state[0].flatten().tolist() == [300, 300]


def test_a_layer_keeps_copies_of_the_last_frames_only() -> None:
    memory = Stream()
    x = torch.rand(1, 2, 50, 4, 4)
    CausalConv3d(2, 2, 3, groups=2)(x, memory)
    assert torch.equal(memory.state[0], x[:, :, -2:])
    assert memory.state[0].untyped_storage().nbytes() == 2 * 2 * 4 * 4 * 4


def test_a_fresh_network_is_its_shortcuts() -> None:
    """ReZero, and the first answers near even odds."""
    net = create_model("movinet_a0_stream").eval()
    block = net.body.get_submodule("block3.1")
    x = torch.rand(1, 32, 2, 5, 5)
    assert torch.equal(block(x), x)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 0.01)}
    dropouts = {"movinet_a0": 0.2, "movinet_a1": 0.5, "movinet_a1_stream": 0.2}
    assert {name: create_model(name).head.dropout.p for name in dropouts} == dropouts


def test_published_names_and_shapes(stream: MoViNet) -> None:
    shapes = {
        # Without a pool before it, as in A3 and A5, the projection comes first.
        "blocks.b3_l0.res.0.conv_1.conv3d.weight": (88, 80, 1, 1, 1),
        "blocks.b1_l0.res.1.conv_1.norm.weight": (32,),
        "blocks.b4_l3.deep.conv_1.conv2d.weight": (344, 1, 5, 5),
        "blocks.b1_l0.deep.conv_2.conv2d.weight": (80, 1, 3, 1),
        "classifier.3.conv_1.conv2d.weight": (600, 2048, 1, 1),
    }
    found = stream.convert(
        {name: torch.empty(shape) for name, shape in shapes.items()}, "movinet-pytorch"
    )
    assert {name: tuple(value.shape) for name, value in found.items()} == {
        "body.block5.0.shortcut.conv.weight": (88, 80, 1, 1, 1),
        "body.block3.0.shortcut.norm.weight": (32,),
        "body.block6.3.branch.depthwise.0.conv.weight": (344, 1, 1, 5, 5),
        "body.block3.0.branch.depthwise.1.conv.weight": (80, 1, 3, 1, 1),
        "head.linear.weight": (600, 2048),
    }


def test_a_file_of_the_other_kind_is_refused(stream: MoViNet) -> None:
    golden = json.loads((GOLDEN / "movinet_a0_base.json").read_text())
    state = {name: torch.empty(shape) for name, shape, _ in golden["state"]}
    with pytest.raises(WeightsError, match=r"missing .*depthwise\.1"):
        load_state(stream, state, source="base", layout="movinet-pytorch")
    with pytest.raises(WeightsError, match="cannot read the layout 'torchvision'"):
        stream.convert(state, "torchvision")


def test_examples_run() -> None:
    assert doctest.testmod(module).failed == 0
