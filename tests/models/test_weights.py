from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from marey.errors import WeightsError
from marey.models._create import create_model
from marey.models._net import Net
from marey.models._weights import LoadReport, guess, load_state, read_state


@pytest.fixture(scope="module")
def net() -> Net:
    return create_model("mc2_18", classes=3)


@pytest.fixture
def state(net: Net) -> dict[str, Tensor]:
    published = {}
    for name, value in net.state_dict().items():
        name = name.replace("head.linear", "fc").removeprefix("body.")
        published[name] = torch.rand_like(value) if value.is_floating_point() else value
    return published


def load(net: Net, state: dict[str, Tensor], **options: bool) -> LoadReport:
    return load_state(net, state, source="file", layout="torchvision", **options)


def test_every_value_arrives(net: Net, state: dict[str, Tensor]) -> None:
    report = load(net, state)
    own = net.state_dict()
    assert torch.equal(own["body.layer1.0.conv1.0.weight"], state["layer1.0.conv1.0.weight"])
    assert torch.equal(own["head.linear.bias"], state["fc.bias"])
    assert report.loaded == len([name for name in state if "num_batches" not in name])
    assert report.warnings == ()


def test_counters_may_be_absent(net: Net, state: dict[str, Tensor]) -> None:
    load(net, {name: value for name, value in state.items() if "num_batches" not in name})


def test_missing_unknown_and_misshapen_entries_are_refused_together(
    net: Net, state: dict[str, Tensor]
) -> None:
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state["stem.0.bias"] = state.pop("stem.1.bias")
    state["stem.0.weight"] = torch.rand(64, 3, 1, 7, 7)
    with pytest.raises(WeightsError) as caught:
        load(net, state)
    message = str(caught.value)
    assert "1 missing (body.stem.1.bias)" in message
    assert "1 unknown (body.stem.0.bias)" in message
    assert "body.stem.0.weight (64, 3, 1, 7, 7) for (64, 3, 3, 7, 7)" in message
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_the_layout_it_looks_like_is_named(net: Net, state: dict[str, Tensor]) -> None:
    wrapped = {f"module.{name}": value for name, value in state.items()}
    with pytest.raises(WeightsError, match="look like a network wrapped in DataParallel"):
        load(net, wrapped)
    with pytest.raises(WeightsError, match="cannot read the layout 'mmaction2'"):
        load_state(net, state, source="file", layout="mmaction2")


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("backbone.conv1.weight", "mmaction2"),
        ("blocks.0.multipathway_blocks.0.conv.weight", "pytorchvideo"),
        ("s1.pathway0_stem.conv.weight", "PySlowFast"),
        ("_conv_stem.weight", "lukemelas' EfficientNet"),
        ("something.else", "none that marey knows"),
    ],
)
def test_layouts_are_told_apart(name: str, layout: str) -> None:
    assert guess([name]) == layout


def test_a_new_head_drops_the_files_and_says_so(state: dict[str, Tensor]) -> None:
    net = create_model("mc2_18", classes=5)
    with pytest.raises(WeightsError, match="give `classes`"):
        load(net, state)
    report = load(net, state, new_head=True)
    assert set(report.fresh) == set(report.dropped) == {"head.linear.weight", "head.linear.bias"}
    assert "new and untrained" in report.warnings[0]


def test_both_kinds_of_file_are_read(tmp_path: Path) -> None:
    tensors = {"a": torch.rand(2, 3)}
    save_file(tensors, tmp_path / "a.safetensors")
    torch.save(tensors, tmp_path / "a.pth")
    for file in tmp_path.iterdir():
        assert torch.equal(read_state(file)["a"], tensors["a"])


@pytest.mark.parametrize("key", ["state_dict", "model_state"])
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_snapshot_of_a_training_is_read(tmp_path: Path, key: str, prefix: str) -> None:
    state = OrderedDict({f"{prefix}a": torch.rand(2), f"{prefix}b.module.c": torch.rand(1)})
    torch.save(
        {"epoch": 3, "arch": "net", key: state, "optimizer": {"lr": 0.1}}, tmp_path / "a.pth"
    )
    read = read_state(tmp_path / "a.pth")
    assert list(read) == ["a", "b.module.c"]
    assert torch.equal(read["a"], state[f"{prefix}a"])


def test_a_prefix_that_only_some_entries_have_is_part_of_their_names(tmp_path: Path) -> None:
    tensors = {"module.a": torch.rand(2), "b": torch.rand(2)}
    torch.save(tensors, tmp_path / "a.pth")
    assert list(read_state(tmp_path / "a.pth")) == ["module.a", "b"]


@pytest.mark.parametrize("inside", [{"a": 1}, {"a": {"b": torch.zeros(1)}}])
def test_a_snapshot_of_anything_but_tensors_is_refused(
    tmp_path: Path, inside: dict[str, object]
) -> None:
    torch.save({"state_dict": inside, "epoch": 3}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="something else than a dictionary of tensors"):
        read_state(tmp_path / "a.pth")


@pytest.mark.parametrize("name", ["cut.safetensors", "cut.pth"])
@pytest.mark.parametrize("keep", [0, 5, 200])
def test_a_cut_file_is_refused(tmp_path: Path, name: str, keep: int) -> None:
    path = tmp_path / name
    tensors = {"a": torch.rand(50, 50)}
    save_file(tensors, path) if path.suffix == ".safetensors" else torch.save(tensors, path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(WeightsError, match="not a readable weights file"):
        read_state(path)


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (print, ("this must never run",))


@pytest.mark.parametrize("kind", ["torch", "snapshot", "pickle"])
def test_a_pickle_with_code_is_refused_and_not_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    path = tmp_path / "evil.pth"
    if kind == "torch":
        torch.save({"a": Evil()}, path)
    elif kind == "snapshot":
        torch.save({"state_dict": {"a": torch.rand(2)}, "args": Evil()}, path)
    else:
        path.write_bytes(pickle.dumps({"a": Evil()}, protocol=2))
    with pytest.raises(WeightsError, match="not a readable weights file"):
        read_state(path)
    assert "never run" not in capsys.readouterr().out


def test_anything_but_tensors_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "list.pth"
    torch.save([torch.rand(2)], path)
    with pytest.raises(WeightsError, match="something else than a dictionary of tensors"):
        read_state(path)
    with pytest.raises(WeightsError, match="cannot be read"):
        read_state(tmp_path / "absent.pth")
