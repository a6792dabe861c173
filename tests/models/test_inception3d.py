from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from marey.errors import ModelError, WeightsError
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._info import model_info
from marey.models._labels import kinetics400
from marey.models._net import Net
from marey.models._weights import load_state
from marey.models.inception3d import SamePool, Windows, joint

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize(("frames", "gmacs"), [(64, 111.15), (16, 27.788)])
def test_parameters_and_macs(frames: int, gmacs: float) -> None:
    with torch.device("meta"):
        found = cost(create_model("i3d"), (frames, 224, 224))
    assert found.params == 12_697_264
    # The reference answers for each window, and takes the mean of the answers.
    answers = (frames // 8 - 2) * 400 * 1024
    assert (found.macs + answers) / 1e9 == pytest.approx(gmacs, abs=0.006)


def test_flow_has_two_channels_and_is_else_the_same() -> None:
    with torch.device("meta"):
        rgb, flow = create_model("i3d"), create_model("i3d_flow")
        assert flow(torch.empty(1, 2, 8, 32, 32)).shape == (1, 400)
        with pytest.raises(ModelError, match="takes clips N 2 T H W"):
            flow(torch.empty(1, 3, 8, 32, 32))
    count = [sum(p.numel() for p in net.parameters()) for net in (rgb, flow)]
    assert count[0] - count[1] == 64 * 7**3
    assert len(flow.input.mean) == len(flow.input.std) == 2


def test_every_kernel_is_a_cube() -> None:
    with torch.device("meta"):
        net = create_model("i3d")
    convs = [m for m in net.modules() if isinstance(m, nn.Conv3d)]
    assert [conv.kernel_size for conv in convs[:3]] == [(7, 7, 7), (1, 1, 1), (3, 3, 3)]
    # 1x1x1 four times and 3x3x3 twice a block: the paper's 5x5 is one of these.
    assert [conv.kernel_size[0] for conv in convs[3:]] == [1, 1, 3, 1, 3, 1] * 9
    assert all(len(set(conv.kernel_size)) == 1 for conv in convs)
    norms = [m for m in net.modules() if isinstance(m, nn.BatchNorm3d)]
    assert len(norms) == len(convs)
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-3, 1e-3)}


@pytest.mark.parametrize(("size", "before"), [(8, 2), (9, 3)])
@pytest.mark.parametrize("axis", [2, 3, 4])
def test_the_stem_pads_what_is_odd_behind(axis: int, size: int, before: int) -> None:
    conv = joint(3, 1, 7, 2)[0]
    shape = [1, 3, 1, 1, 1]
    shape[axis] = size
    x = torch.arange(1.0, size + 1).view([size if k == axis else 1 for k in range(5)]).expand(shape)
    middle = [3, 3, 3]
    middle[axis - 2] = 0  # the first tap along the axis: what it sees tells where the kernel begins
    with torch.inference_mode():
        conv.weight.zero_()
        conv.weight[:, 0, *middle] = 1
        found = conv(x)[0, 0].flatten().tolist()
    starts = [2 * k - before for k in range((size + 1) // 2)]
    assert found == [start + 1 if start >= 0 else 0 for start in starts]


def test_pools_pad_what_is_odd_behind_and_drop_nothing() -> None:
    def along_time(size: int, kernel: int) -> list[float]:
        x = torch.arange(1.0, size + 1).view(1, 1, size, 1, 1)
        return SamePool((kernel, 1, 1), (2, 1, 1))(x).flatten().tolist()  # type: ignore[no-any-return]

    assert along_time(6, 3) == [3, 5, 6]
    assert along_time(5, 3) == [2, 4, 5]
    assert along_time(5, 2) == [2, 4, 5]
    with torch.device("meta"):
        net = create_model("i3d")
        shapes = [
            net.body(torch.empty(1, 3, *size)).shape[2:] for size in ((1, 1, 1), (19, 97, 131))
        ]
    assert shapes == [(1, 1, 1), (3, 4, 5)]


@pytest.mark.parametrize(
    ("steps", "weights"), [(1, [1]), (2, [1, 1]), (3, [1, 2, 1]), (4, [1, 2, 2, 1])]
)
def test_the_end_steps_weigh_half(steps: int, weights: list[float]) -> None:
    head = Windows(1, 1, dropout=0.0)
    with torch.inference_mode():
        head.linear.weight.fill_(1)
        maps = torch.eye(steps).view(steps, 1, steps, 1, 1).expand(-1, -1, -1, 2, 3)
        found = head(maps).flatten()
    torch.testing.assert_close(found, torch.tensor(weights) / sum(weights))


def published(file: str) -> dict[str, Tensor]:
    """A random state under the names of a golden."""
    golden = json.loads((GOLDEN / file).read_text())
    return {
        name: torch.zeros(shape, dtype=torch.int64) if "int" in kind else torch.rand(shape)
        for name, shape, kind in golden["state"]
    }


def hassony2() -> Iterator[str]:
    """The names of kinetics_i3d_pytorch in the order of its state."""

    def unit(name: str) -> Iterator[str]:
        yield f"{name}.conv3d.weight"
        for entry in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked"):
            yield f"{name}.batch3d.{entry}"

    for name in ("1a_7x7", "2b_1x1", "2c_3x3"):
        yield from unit(f"conv3d_{name}")
    for block in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"):
        for branch in ("0", "1.0", "1.1", "2.0", "2.1", "3.1"):
            yield from unit(f"mixed_{block}.branch_{branch}")
    yield from (f"conv3d_0c_1x1.conv3d.{entry}" for entry in ("weight", "bias"))


def loaded(net: Net, state: dict[str, Tensor], layout: str) -> dict[str, Tensor]:
    report = load_state(net, state, source="test", layout=layout)
    assert report.fresh == report.dropped == ()
    return net.state_dict()


def test_both_ports_names_lead_to_the_same_places() -> None:
    state = published("i3d_inception.json")
    expected = loaded(create_model("i3d"), state, "piergiaj")
    *body, last, bias = hassony2()
    values = list(state.values())  # piergiaj has the last layer first
    other = dict(zip([last, bias, *body], values, strict=True))
    found = loaded(create_model("i3d"), other, "hassony2")
    assert all(torch.equal(found[name], value) for name, value in expected.items())


def test_a_foreign_name_is_reported() -> None:
    state = published("i3d_inception.json")
    state["Mixed_4b.b4a.conv3d.weight"] = state.pop("Mixed_4b.b1a.conv3d.weight")
    with torch.device("meta"):
        net = create_model("i3d")
    with pytest.raises(WeightsError, match=r"missing \(body.stage4.mixed_4b.branch1.a.conv.weight"):
        load_state(net, state, source="file", layout="piergiaj")
    with pytest.raises(WeightsError, match="cannot read the layout 'caffe2'"):
        net.convert(state, "caffe2")


def test_published_weights_say_what_they_are() -> None:
    info = model_info("i3d.k400")
    assert (info.labels, info.shape) == (kinetics400(), (64, 224, 224))
    info = model_info("i3d.charades")
    assert (info.classes, info.labels, info.input.fps) == (157, None, 24)
