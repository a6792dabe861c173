from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
import timm
import torch
from numpy.typing import NDArray

import marey.export as export_module
from marey.errors import ModelError, OutputError
from marey.export import export
from marey.models._create import create_model
from marey.models._net import Net
from marey.models.timed import timed
from marey.nn.clip import normalise
from marey.runtime import compile
from marey.runtime.file import FileRuntime
from marey.runtime.openvino import example
from marey.tasks.classify import classify
from marey.testing.videos import make_video


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    net = create_model("r3d_hara_10", classes=["sit", "stand", "wave"])
    net.input = replace(net.input, frames=4, size=(32, 48), resize=(32, 48), fps=5.0)
    net.licence = "CC0"
    return net


def frames(clips: int) -> NDArray[np.uint8]:
    return np.random.default_rng(3).integers(0, 256, (clips, 4, 32, 48, 3), dtype=np.uint8)


@pytest.fixture(scope="module", params=[".onnx", ".xml"])
def file(
    net: Net, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    path: Path = tmp_path_factory.mktemp("exports") / f"net{request.param}"
    done = export(net, path)
    assert (done.path, done.warnings) == (path, ())
    assert done.difference < 1e-4
    return path


def test_the_file_answers_as_the_network_for_any_number_of_clips(net: Net, file: Path) -> None:
    runtime = compile(file, precision="f32")
    assert isinstance(runtime, FileRuntime)
    for clips in (1, 3):
        with torch.inference_mode():
            expected = net(normalise(torch.from_numpy(frames(clips)), net.input)).numpy()
        np.testing.assert_allclose(runtime(frames(clips)), expected, atol=1e-4)
    first = runtime(frames(1))
    kept = first.copy()
    runtime(255 - frames(1))
    assert np.array_equal(first, kept)


def test_labels_input_and_licence_are_in_the_file(net: Net, file: Path) -> None:
    runtime = compile(str(file))
    assert (runtime.labels, runtime.input) == (net.labels, net.input)
    card = runtime.card()
    assert (card.name, card.licence, card.classes) == (str(file), "CC0", 3)
    assert (card.runtime, card.precision) == ("openvino cpu", "float32")
    assert sorted(path.suffix for path in file.parent.iterdir()) in ([".onnx"], [".bin", ".xml"])


def test_a_file_is_a_model_by_its_path(file: Path, tmp_path: Path) -> None:
    make_video(tmp_path / "walk.mp4", frames=20, size=(64, 96))
    report = classify(tmp_path / "walk.mp4", model=str(file))
    assert {score.label for score in report.top} == {"sit", "stand", "wave"}


def test_a_file_runs_without_torch(file: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom marey.runtime import compile\n"
        f"runtime = compile({str(file)!r})\n"
        "assert runtime(np.zeros((1, 4, 32, 48, 3), np.uint8)).shape == (1, 3)\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_wrong_frames_are_refused(file: Path) -> None:
    runtime = compile(file)
    with pytest.raises(ModelError, match=r"N x 4 x 32 x 48 x 3; got uint8 \(1, 4, 32, 32, 3\)"):
        runtime(frames(1)[..., :32, :])


def test_torchs_own_file_runs_and_says_what_it_is(net: Net, tmp_path: Path) -> None:
    export(net, tmp_path / "net.pt2")
    extra = {"marey.json": ""}
    program = torch.export.load(tmp_path / "net.pt2", extra_files=extra)
    assert json.loads(extra["marey.json"])["labels"] == ["sit", "stand", "wave"]
    assert program.module()(torch.from_numpy(frames(3))).shape == (3, 3)


@pytest.mark.parametrize("suffix", [".onnx", ".xml", ".pt2"])
def test_a_file_may_take_any_number_of_frames(net: Net, suffix: str, tmp_path: Path) -> None:
    # Torch's own file holds on to more of what it was traced with: no strides over time for it.
    given = shifting() if suffix == ".pt2" else net
    path = tmp_path / f"net{suffix}"
    done = export(given, path, time="any")
    least = done.least_frames
    assert least is not None
    assert least <= 2
    run = export_module._runner(path)
    for length in (3, 7):
        clips = example(torch.uint8, (2, length, *given.input.size, 3))
        with torch.inference_mode():
            expected = given(normalise(clips, given.input))
        torch.testing.assert_close(run(clips), expected, atol=1e-4, rtol=1e-4)
    if suffix != ".pt2":
        with pytest.raises(ModelError, match=f"N x {least} or more x 32 x 48 x 3"):
            compile(path)(np.zeros((1, least - 1, 32, 48, 3), np.uint8))


def shifting() -> Net:
    net = timed(timm.create_model("test_resnet"), "shift", frames=4, classes=3)
    net.input = replace(net.input, size=(64, 64), resize=(64, 64))
    return net


def test_a_file_that_holds_on_to_its_frames_is_refused(net: Net, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"clips of \d frames will not do.* time 'fixed'"):
        export(net, tmp_path / "net.pt2", time="any")
    assert list(tmp_path.iterdir()) == []


def test_a_graph_made_for_its_frames_is_refused_any_number(net: Net, tmp_path: Path) -> None:
    gate = timed(timm.create_model("test_resnet"), "gate:stages=3", frames=4, classes=3)
    with pytest.raises(ModelError, match=r"torch.export cannot take it .* time 'fixed'"):
        export(gate, tmp_path / "gate.xml", time="any")
    with pytest.raises(ModelError, match=r"no time is called 'some'.* fixed, any"):
        export(net, tmp_path / "net.xml", time="some")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_answers_otherwise_is_not_left_behind(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_module, "BOUND", -1.0)
    with pytest.raises(ModelError, match="differ from the network's"):
        export(net, tmp_path / "net.xml")
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_written_says_so(net: Net, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no format is called '.tflite'.*\.onnx, \.xml, \.pt2"):
        export(net, tmp_path / "net.tflite")
    with pytest.raises(OutputError, match="Check that its folder exists"):
        export(net, tmp_path / "nowhere" / "net.xml")


def test_foreign_and_missing_files_are_one_clear_error(net: Net, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"gone\.onnx: cannot be run: is not there"):
        compile(tmp_path / "gone.onnx")
    (tmp_path / "noise.onnx").write_bytes(b"no graph at all")
    with pytest.raises(ModelError, match=r"noise\.onnx: cannot be run: "):
        compile(tmp_path / "noise.onnx")
    program = torch.export.export(torch.nn.Linear(2, 2), (torch.zeros(1, 2),))
    foreign = openvino.convert_model(program)
    openvino.save_model(foreign, tmp_path / "other.xml")
    with pytest.raises(ModelError, match=r"says nothing of its labels .* `marey export"):
        compile(tmp_path / "other.xml")
