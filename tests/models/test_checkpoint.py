from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from marey.errors import ModelError, OutputError, WeightsError
from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model, load_checkpoint
from marey.models._info import model_info
from marey.models._net import Net


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    net = create_model("efficientnet_lite0+tam+segments", classes=["sit", "stand"])
    net.input = replace(net.input, frames=9, gamma=0.4, size=(64, 64), resize=72)
    net.licence, net.multilabel = "CC0", True
    for value in net.state_dict().values():
        if value.is_floating_point():
            value.add_(torch.rand_like(value), alpha=0.01)
    return net


@pytest.fixture
def folder(net: Net, tmp_path: Path) -> Path:
    save_checkpoint(net, tmp_path / "runs" / "best", extra={"recipe": {"lr": 0.1}, "fold": 3})
    return tmp_path / "runs" / "best"


def clip() -> torch.Tensor:
    return torch.randn(1, 3, 6, 48, 48)


def test_what_is_saved_comes_back(net: Net, folder: Path) -> None:
    again = create_model(str(folder))
    x = clip()
    assert torch.equal(again(x), net(x))
    assert (again.labels, again.input, again.licence) == (net.labels, net.input, "CC0")
    assert again.multilabel
    assert not create_model(str(folder), classes=3).multilabel  # another head, trained otherwise
    assert (again.architecture, again.name) == ("efficientnet_lite0", str(folder))
    assert again.options == net.options
    assert again.report.load is not None
    assert again.report.warnings == ()
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors"]
    config = json.loads((folder / "config.json").read_text())
    assert config["extra"] == {"recipe": {"lr": 0.1}, "fold": 3}
    assert config["labels"] == ["sit", "stand"]


def test_a_folder_is_described_as_a_name_is(net: Net, folder: Path) -> None:
    info = model_info(folder)
    assert (info.name, info.classes, info.input) == (str(folder), 2, net.input)
    assert info.shape == (9, 64, 64)
    assert info.options == net.options
    assert info.params == sum(p.numel() for p in net.parameters())
    assert [(w.licence, w.labels) for w in info.weights] == [("CC0", True)]


def test_half_the_size_nearly_the_same_answer(net: Net, folder: Path, tmp_path: Path) -> None:
    save_checkpoint(net, tmp_path / "half", half=True)
    sizes = [(path / "model.safetensors").stat().st_size for path in (tmp_path / "half", folder)]
    assert sizes[0] < 0.52 * sizes[1]
    again = load_checkpoint(tmp_path / "half")
    assert {value.dtype for value in again.parameters()} == {torch.float32}
    x = clip()
    torch.testing.assert_close(again(x), net(x), atol=2e-2, rtol=2e-2)


def test_saving_again_replaces(net: Net, folder: Path) -> None:
    save_checkpoint(net, folder, extra={"epoch": 2})
    assert json.loads((folder / "config.json").read_text())["extra"] == {"epoch": 2}
    load_checkpoint(folder)


def test_other_classes_get_a_new_head(net: Net, folder: Path) -> None:
    again = create_model(folder, classes=["a", "b", "c"])
    x = clip()
    assert again.labels == ("a", "b", "c")
    assert again(x).shape == (1, 3)
    assert torch.equal(again.body(x), net.body(x))
    assert again.report.load is not None
    assert again.report.load.new_head
    assert create_model(folder, classes=["sit", "stand"]).report.load.new_head is False  # type: ignore[union-attr]


def edited(change: Callable[[dict[str, object]], object]) -> Callable[[Path], None]:
    def edit(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return edit


def cut(name: str, keep: int) -> Callable[[Path], None]:
    def damage(folder: Path) -> None:
        (folder / name).write_bytes((folder / name).read_bytes()[:keep])

    return damage


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").unlink(), "no readable config.json"),
        (lambda folder: (folder / "model.safetensors").unlink(), "no model.safetensors"),
        (cut("config.json", 50), "is not JSON"),
        (cut("model.safetensors", 5000), "is damaged, or not the file that config.json"),
        (edited(lambda c: c["labels"].append("lie")), "2 classes, but 3 labels"),
        (edited(lambda c: c.update(labels=["sit", "sit"])), "'sit' 2 times"),
        (edited(lambda c: c.pop("input")), "lacks 'input'"),
        (edited(lambda c: c["input"].update(frames=0)), "must be positive"),
        (edited(lambda c: c["input"].update(surprise=1)), "surprise"),
        (edited(lambda c: c.update(format="marey.checkpoint/9")), "Update marey"),
        (edited(lambda c: c.update(options=3)), "does not describe a checkpoint"),
        (edited(lambda c: c.update(classes=7, labels=None)), "1 bias|does not fit|head"),
    ],
)
def test_damage_is_named(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(WeightsError, match=message):
        load_checkpoint(folder)


def test_a_network_of_a_later_version_is_named(folder: Path) -> None:
    edited(lambda c: c.update(model="x9d"))(folder)
    with pytest.raises(ModelError, match="'x9d' that marey cannot make"):
        load_checkpoint(folder)


def test_a_folder_that_cannot_be_made_is_an_output_error(net: Net, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be made"):
        save_checkpoint(net, tmp_path / "file" / "best")
