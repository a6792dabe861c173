from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from marey.errors import ModelError, WeightsError
from marey.models._cost import cost
from marey.models._create import create_model
from marey.models._weights import load_state
from marey.models.gsm import GateShift, MaxPooled
from marey.nn.time import Clock, fold, unfold

GOLDEN = Path(__file__).parents[1] / "golden" / "gsm_inception_v3.json"


def test_parameters_and_macs() -> None:
    with torch.device("meta"):
        net = create_model("gsm_inception_v3", classes=1000)
    found = cost(net, (8, 229, 229))
    assert found.params == 23_900_060
    # The reference answers after every frame.
    answers = 7 * net.head.linear.weight.numel()
    assert (found.macs + answers) / 1e9 == pytest.approx(26.71, abs=0.006)


def gate(channels: int, clips: int) -> GateShift:
    torch.manual_seed(0)
    return GateShift(channels, Clock(clips)).eval()


def shifted(module: GateShift, clip: Tensor) -> Tensor:
    """N C T H W → the same."""
    with torch.inference_mode():
        return unfold(module(fold(clip)), len(clip))


def by_turns(clip: Tensor) -> Tensor:
    """The channels in the order that the authors leave them in: 0, C/4, 1, C/4 + 1, …"""
    channels = clip.shape[1]
    order = [
        half + quarter + k
        for half in (0, channels // 2)
        for k in range(channels // 4)
        for quarter in (0, channels // 4)
    ]
    return clip[:, order]


def test_closed_gates_reorder_the_channels_and_do_no_more() -> None:
    clip = torch.randn(2, 8, 3, 4, 5)
    assert torch.equal(shifted(gate(8, 2), clip), by_turns(clip))


@pytest.mark.parametrize(("opening", "towards"), [(20.0, 1), (-20.0, -1)])
def test_open_gates_shift_half_of_the_channels_each_way(opening: float, towards: int) -> None:
    """The first half from the next frame, the second from the one before, zeros at the ends.

    A gate of -1 sends away the opposite, and what stays is doubled.
    """
    module, clip = gate(8, 1), torch.randn(1, 8, 4, 2, 2)
    nn.init.constant_(module.conv.bias, opening)  # type: ignore[arg-type]
    moved = torch.zeros_like(clip)
    moved[:, :4, :-1] = clip[:, :4, 1:]
    moved[:, 4:, 1:] = clip[:, 4:, :-1]
    expected = by_turns(towards * moved + (1 - towards) * clip)
    torch.testing.assert_close(shifted(module, clip), expected)


def test_each_half_has_a_gate_of_its_own_and_clips_do_not_meet() -> None:
    module, clip = gate(8, 2), torch.randn(2, 8, 3, 4, 4)
    nn.init.normal_(module.conv.weight)
    with torch.no_grad():
        module.conv.weight[1] = 0  # the second gate stays closed
    together = shifted(module, clip)
    assert torch.equal(together[:, 4:], by_turns(clip)[:, 4:])
    assert not torch.equal(together[:, :4], by_turns(clip)[:, :4])
    module.clock.clips = 1
    apart = torch.cat([shifted(module, one) for one in clip.split(1)])
    torch.testing.assert_close(together, apart)


def test_gates_stand_between_convolution_and_norm_of_one_branch_a_block() -> None:
    with torch.device("meta"):
        net = create_model("gsm_inception_v3")
    gates = {name: m for name, m in net.named_modules() if isinstance(m, GateShift)}
    branches = ["5b.branch1x1", "5c.branch1x1", "5d.branch1x1", "6a.branch3x3dbl_1"]
    branches += ["6b.branch1x1", "6c.branch1x1", "6e.branch1x1"]
    branches += ["7a.branch3x3_1", "7b.branch1x1", "7c.branch1x1"]
    assert list(gates) == [f"body.net.Mixed_{branch}.conv.gate" for branch in branches]
    assert {id(gate.clock) for gate in gates.values()} == {id(net.body.clock)}
    assert net.report.time is not None
    assert len(net.report.time.changes) == 10
    assert len(net.report.time.new) == 40
    assert "Mixed_6a.branch3x3dbl_1.conv  gate and shift" in str(net.report)


def test_the_image_network_is_the_one_that_came_by_way_of_caffe() -> None:
    with torch.device("meta"):
        image = create_model("gsm_inception_v3").body.net
    assert isinstance(image.Mixed_7c, MaxPooled)
    assert image.Pool1.ceil_mode
    assert image.Pool2.ceil_mode
    assert image.Mixed_6b.branch7x7_2.conv.kernel_size == (7, 1)
    assert image.Mixed_6b.branch7x7_3.conv.kernel_size == (1, 7)
    convs = [layer for layer in image.modules() if isinstance(layer, nn.Conv2d)]
    assert all(conv.bias is not None for conv in convs)
    norms = [layer for layer in image.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert {(norm.eps, norm.momentum) for norm in norms} == {(1e-5, 0.1)}


def test_the_last_block_takes_the_maximum_behind_its_pool() -> None:
    torch.manual_seed(0)
    block = create_model("gsm_inception_v3").body.net.Mixed_7c
    seen: list[Tensor] = []
    block.branch_pool.register_forward_pre_hook(lambda module, given: seen.append(given[0]))
    x = torch.randn(1, 2048, 3, 3)
    with torch.inference_mode():
        assert block(x).shape == x.shape
    assert torch.equal(seen[0][:, :, 1, 1], x.amax((2, 3)))


def published() -> dict[str, Tensor]:
    """A state by the authors' names, as the golden lists them."""
    torch.manual_seed(0)
    return {name: torch.rand(shape) for name, shape, _ in json.loads(GOLDEN.read_text())["state"]}


def test_published_colours_are_in_the_order_bgr() -> None:
    theirs = published()
    net = create_model("gsm_inception_v3")
    report = load_state(net, theirs, source="file", layout="gsm")
    assert report.fresh == report.dropped == ()
    first = net.body.net.Conv2d_1a_3x3.conv.weight
    assert torch.equal(first, theirs["base_model.conv_Conv2D.weight"][:, [2, 1, 0]])
    assert net.input.mean == pytest.approx([128 / 255, 117 / 255, 104 / 255])


def test_other_files_are_refused() -> None:
    with torch.device("meta"):
        net = create_model("gsm_inception_v3")
    for entry in ("gsm_mixed_6_conv_Conv2D.bn.bias", "mixed_11_conv_Conv2D.bias"):
        with pytest.raises(WeightsError, match="does not fit gsm_inception_v3"):
            load_state(
                net,
                published() | {f"base_model.{entry}": torch.ones(1)},
                source="file",
                layout="gsm",
            )
    with pytest.raises(WeightsError, match="cannot read the layout 'mmaction2'"):
        net.convert({}, "mmaction2")


def test_pictures_may_be_as_small_as_the_reductions_allow() -> None:
    net = create_model("gsm_inception_v3", classes=3)
    with torch.inference_mode():
        assert net(torch.randn(1, 3, 1, 69, 69)).isfinite().all()
        with pytest.raises(ModelError, match="needs clips of at least 1 x 69 x 69"):
            net(torch.randn(1, 3, 1, 68, 69))
        with pytest.raises(RuntimeError):  # it is the graph that cannot, not the check
            net.body(torch.randn(1, 3, 1, 68, 69))
