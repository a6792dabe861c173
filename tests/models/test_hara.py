from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision.models.video.resnet import BasicBlock, Conv3DSimple, VideoResNet
from torchvision.models.video.resnet import Bottleneck as TorchvisionBottleneck

from marey.errors import WeightsError
from marey.models._create import create_model
from marey.models._features import stage_features
from marey.models._info import model_info
from marey.models._weights import load_state, read_state
from marey.models.hara import Basic, Bottleneck, HaraResNet

# Parameters and GMACs at 16x112x112 with 700 classes, counted in the reference.
TABLE = {
    "r3d_hara_10": (14_758_524, 5.65),
    "r3d_hara_18": (33_563_004, 8.31),
    "r3d_hara_34": (63_872_636, 12.70),
    "r3d_hara_50": (47_633_276, 10.07),
    "r3d_hara_101": (86_679_420, 13.89),
    "r3d_hara_152": (118_838_140, 18.61),
    "r3d_hara_200": (128_037_756, 25.81),
}


@pytest.mark.parametrize("name", TABLE)
def test_parameters_and_macs(name: str) -> None:
    info = model_info(name)
    assert info.params == TABLE[name][0]
    assert info.macs / 1e9 == pytest.approx(TABLE[name][1], abs=0.006)
    assert info.shape == (16, 112, 112)


class Stem(nn.Sequential):
    """What the authors have in front of torchvision's blocks."""

    def __init__(self) -> None:
        super().__init__(
            nn.Conv3d(3, 64, 7, (1, 2, 2), 3, bias=False),
            nn.BatchNorm3d(64),
            nn.ReLU(),
            nn.MaxPool3d(3, 2, 1),
        )


def as_published(name: str) -> str:
    """The authors' names for torchvision's."""
    name = name.replace("stem.0.", "conv1.").replace("stem.1.", "bn1.")
    name = re.sub(r"\.conv(\d)\.1\.", r".bn\1.", name)
    return re.sub(r"\.conv(\d)\.0\.(0\.)?", r".conv\1.", name)


@pytest.mark.parametrize(
    ("block", "kind"), [(BasicBlock, Basic), (TorchvisionBottleneck, Bottleneck)]
)
def test_the_blocks_are_torchvisions(
    block: type[BasicBlock], kind: type[Basic] | type[Bottleneck]
) -> None:
    torch.manual_seed(0)
    depths = [1, 2, 1, 1]
    theirs = VideoResNet(block, [Conv3DSimple] * 4, depths, Stem, num_classes=11)
    for name, value in theirs.state_dict().items():
        if name.endswith(("running_var", "running_mean")):
            value.uniform_(0.5, 1.5)
    ours = HaraResNet(kind, depths, classes=11, dropout=0.0)
    state = {as_published(name): value for name, value in theirs.state_dict().items()}
    report = load_state(ours, state, source="torchvision", layout="kenshohara")
    assert report.fresh == report.dropped == ()
    clip = torch.randn(2, 3, 7, 40, 67)
    for train in (False, True):
        theirs.train(train)
        ours.train(train)
        torch.testing.assert_close(ours.head(ours.body(clip)), theirs(clip))


def test_time_is_halved_by_the_pool_and_three_stages() -> None:
    with torch.device("meta"):
        found = stage_features(create_model("r3d_hara_18"), torch.empty(1, 3, 16, 112, 112))
    *maps, _ = found.values()
    shapes = [tuple(stage.shape[1:]) for stage in maps if isinstance(stage, torch.Tensor)]
    assert shapes == [
        (64, 8, 28, 28),
        (64, 8, 28, 28),
        (128, 4, 14, 14),
        (256, 2, 7, 7),
        (512, 1, 4, 4),
    ]


def test_the_authors_snapshots_load(tmp_path: Path) -> None:
    net = create_model("r3d_hara_10", classes=4)
    own = {"body.stem.conv": "conv1", "body.stem.norm": "bn1", "head.linear": "fc"}
    state = {}
    for name, value in net.state_dict().items():
        part, _, entry = name.rpartition(".")
        published = own.get(part, part.removeprefix("body."))
        published = published.replace("residual.", "").replace("shortcut", "downsample")
        state[f"module.{published}.{entry}"] = torch.rand_like(value, dtype=torch.float32)
    path = tmp_path / "r3d10_K_200ep.pth"
    schedule = {"milestones": Counter([50, 100, 150]), "last_epoch": 200}
    snapshot = {"epoch": 200, "arch": "resnet-10", "state_dict": state, "scheduler": schedule}
    torch.save(snapshot, path, _use_new_zipfile_serialization=False)  # as in 2020
    load_state(net, read_state(path), source=str(path), layout="kenshohara")
    kernel = net.state_dict()["body.layer2.0.shortcut.0.weight"]
    assert torch.equal(kernel, state["module.layer2.0.downsample.0.weight"])
    with pytest.raises(WeightsError, match="cannot read the layout 'torchvision'"):
        load_state(net, {}, source="here", layout="torchvision")
    unknown = {"layer5.0.conv1.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match=r"1 unknown \(.*layer5"):
        load_state(net, read_state(path) | unknown, source="here", layout="kenshohara")
