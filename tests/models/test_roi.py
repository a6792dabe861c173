"""Networks that judge boxes, beside what they are by definition; a golden holds the numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from marey.errors import ModelError, WeightsError
from marey.models._create import create_model
from marey.models._features import stage_features
from marey.models._info import model_info
from marey.models._labels import ava
from marey.models._net import replace_head
from marey.models._registry import list_models, resolve, takes_boxes
from marey.models._roi_net import Maps, RoiNet
from marey.models._weights import load_state
from marey.nn.roi import BoxMax

NAMES = ("slow_r50_detection", "slowfast_r50_detection")
GOLDEN = Path(__file__).parents[1] / "golden"
BOXES = torch.tensor(
    [[1.0, 8, 8, 60, 40], [0.0, 0, 0, 80, 48], [0.0, 30, 4, 55, 47], [1.0, 20, 10, 20.5, 10.5]]
)


@pytest.fixture(scope="module", params=NAMES)
def net(request: pytest.FixtureRequest) -> RoiNet:
    torch.manual_seed(0)
    made = create_model(request.param, classes=5)
    assert isinstance(made, RoiNet)
    for module in made.modules():  # as after training
        if isinstance(module, nn.BatchNorm3d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
    return made


def clip(frames: int = 8, height: int = 48, width: int = 80) -> Tensor:
    return torch.randn(2, 3, frames, height, width, generator=torch.Generator().manual_seed(1))


@torch.inference_mode()
def test_a_box_has_the_answer_that_it_has_alone(net: RoiNet) -> None:
    x = clip()
    found = net(x, BOXES)
    assert found.shape == (4, 5)
    for box, row in zip(BOXES, found, strict=True):
        one = net(x[int(box[0])][None], [box[None, 1:]])
        torch.testing.assert_close(one[0], row, rtol=1e-4, atol=1e-4)
    assert len({tuple(row.tolist()) for row in found}) == 4


@torch.inference_mode()
def test_boxes_may_come_by_clip(net: RoiNet) -> None:
    x, order = clip(), [1, 2, 0, 3]
    by_clip = [BOXES[BOXES[:, 0] == k, 1:] for k in range(2)]
    assert torch.equal(net(x, by_clip), net(x, BOXES[order]))
    assert net(x, [BOXES[:0, 1:]] * 2).shape == (0, 5)


@torch.inference_mode()
def test_without_boxes_it_judges_the_whole_picture(net: RoiNet) -> None:
    x = clip()
    whole = torch.tensor([[0.0, 0, 0, 80, 48], [1.0, 0, 0, 80, 48]])
    assert torch.equal(net(x), net(x, whole))


@torch.inference_mode()
def test_maps_are_a_sixteenth_and_what_the_head_reads(net: RoiNet) -> None:
    x = clip(5, 50, 80)
    maps = Maps(net)
    assert maps(x).shape == (2, maps.classes, 4, 5)
    assert torch.equal(net.head(maps(x)[:, :, None], BOXES), net(x, BOXES))


@torch.inference_mode()
def test_the_last_stage_looks_at_every_second_pixel(net: RoiNet) -> None:
    found = stage_features(net, clip())
    for before, after in zip(*(_pathways(found[name]) for name in ("res4", "res5")), strict=True):
        assert before.shape[2:] == after.shape[2:]
    last = [m for name, m in net.body.named_modules() if "res5" in name and "conv_b" in name]
    assert {(m.dilation, m.padding, m.stride) for m in last} == {((1, 2, 2), (0, 2, 2), (1, 1, 1))}


def _pathways(maps: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return maps if isinstance(maps, tuple) else (maps,)


def test_the_largest_value_of_a_box_counts() -> None:
    """By hand: a map that is 1 in one pixel, read where the grid's points fall on pixels."""
    head = BoxMax(1, 1, stride=1)
    nn.init.ones_(head.linear.weight)
    x = torch.zeros(1, 1, 2, 16, 16)
    x[0, 0, :, 5, 6] = torch.tensor([1.0, 3.0])
    with torch.inference_mode():
        # Cells of 1x1, each read in its middle, half a pixel from the corners: a quarter of each.
        inside = head(x, torch.tensor([[0.0, 2, 2, 9, 9]]))
        outside = head(x, torch.tensor([[0.0, 8, 8, 15, 15]]))
    assert (inside.item(), outside.item()) == (pytest.approx(2 / 4), 0)


@pytest.mark.parametrize(
    ("boxes", "reason"),
    [
        (torch.zeros(3, 4), r"boxes \(3, 4\)"),
        ([torch.zeros(1, 4)], "1 tensors of boxes for 2 clips"),
        (torch.tensor([[2.0, 0, 0, 8, 8]]), "a clip that is not among the 2"),
        (torch.tensor([[-1.0, 0, 0, 8, 8]]), "a clip that is not among the 2"),
    ],
)
def test_other_boxes_are_refused(net: RoiNet, boxes: Tensor, reason: str) -> None:
    with pytest.raises(ModelError, match=f"{net.name}: takes boxes, B 5 .*{reason}"):
        net(clip(), boxes)


def test_other_classes_get_a_new_last_layer(net: RoiNet) -> None:
    copy = create_model(net.architecture, classes=5)
    replace_head(copy, 3, ("a", "b", "c"))
    assert copy(clip(), BOXES).shape == (4, 3)


# Parameters as pytorchvideo's zoo tells them.
@pytest.mark.parametrize(("name", "millions"), [(NAMES[0], 31.78), (NAMES[1], 33.82)])
def test_what_is_published_of_them(name: str, millions: float) -> None:
    info = model_info(f"{name}.ava")
    assert info.params / 1e6 == pytest.approx(millions, abs=0.02)
    assert info.labels == ava()
    weights = resolve(name).entry.weights["ava"]
    assert weights.multilabel
    assert weights.source.startswith("https://dl.fbaipublicfiles.com/pytorchvideo/model_zoo/ava/")
    assert (info.input.frames * info.input.every, info.input.fps) == (64, 30)


def test_the_labels_are_the_80_of_ava_in_order() -> None:
    labels = ava()
    assert len(set(labels)) == 80
    numbers = {1: "bend/bow (at the waist)", 12: "stand", 14: "walk", 15: "answer phone"}
    numbers |= {54: "smoke", 63: "write", 64: "fight/hit (a person)", 80: "watch (a person)"}
    assert {number: labels[number - 1] for number in numbers} == numbers


def test_only_these_take_boxes() -> None:
    assert sorted(name for name in list_models() if takes_boxes(name)) == sorted(NAMES)
    assert takes_boxes("slowfast_r50_detection.ava")


@pytest.mark.parametrize("name", NAMES)
def test_every_published_entry_is_loaded_and_others_are_refused(name: str) -> None:
    entries = json.loads((GOLDEN / f"{name}.json").read_text())["state"]
    state = {entry: torch.rand(shape) for entry, shape, _ in entries}
    net = create_model(name)
    report = load_state(net, state, source="a file", layout="pytorchvideo")
    assert (report.fresh, report.dropped) == ((), ())
    assert torch.equal(state["detection_head.proj.weight"], net.head.linear.weight)
    del state["detection_head.proj.bias"]
    with pytest.raises(WeightsError, match="1 missing"):
        load_state(net, state, source="a file", layout="pytorchvideo")
