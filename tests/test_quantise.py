from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import openvino
import pytest
import torch
from numpy.typing import NDArray

import marey.quantise as quantise_module
from marey.errors import DataError, MissingExtraError, ModelError
from marey.export import export
from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model
from marey.models._net import Net
from marey.quantise import Quantised, quantise
from marey.runtime import compile
from marey.runtime.file import FileRuntime
from marey.tasks.classify import classify
from marey.testing.videos import make_video

SIZE = (32, 48)
LENGTHS = (100, 60, 60)  # frames, at 25 a second


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(0)
    net = create_model("r3d_hara_10", classes=["sit", "stand", "wave"])
    net.input = replace(net.input, frames=4, size=SIZE, resize=SIZE, fps=10.0)
    return net.eval()


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three videos in two folders, and one that is none."""
    root = tmp_path_factory.mktemp("footage")
    for number, frames in enumerate(LENGTHS):
        (root / str(number % 2)).mkdir(exist_ok=True)
        make_video(root / str(number % 2) / f"{number}.mp4", frames=frames, first=50 * number)
    (root / "0" / "broken.mp4").write_bytes(b"no video at all")
    return root


@pytest.fixture(scope="module")
def written(net: Net, footage: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What the command says of an int8 file, in a process and a home of its own."""
    home = tmp_path_factory.mktemp("int8")
    save_checkpoint(net, home / "net")
    export(net, home / "f32.xml")
    command = ["export", "-m", home / "net", "-o", home / "int8.xml", "--clips", "12"]
    command += ["--precision", "int8", "--calibrate", footage]
    run = "import sys; from marey.cli import main; sys.argv[0] = 'marey'; main()"
    environment = {key: value for key, value in os.environ.items() if key != "CI"}
    return subprocess.run(
        [sys.executable, "-c", run, *map(str, command)],
        env=environment | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    ), home


def test_the_command_says_what_int8_lost_and_nothing_else(written: Any, footage: Path) -> None:
    done, home = written
    row = json.loads(done.stdout)
    found = row["int8"]
    assert row["difference"] < 1e-4
    assert (found["footage"], found["calibrated"], found["compared"]) == (footage.name, 7, 2)
    assert 0 < found["difference"] < 0.2
    assert found["kept"] > 0.9
    lines = done.stderr.splitlines()
    assert all(line.startswith("marey: warning: ") for line in lines)
    assert "1 of 4 samples left out" in lines[0]
    assert "broken.mp4" in lines[0]
    # Nothing was sent to the makers of the libraries, which begins by counting in this folder.
    assert not (home / "intel").exists()


def test_the_file_is_int8_and_says_so(written: Any, net: Net) -> None:
    done, home = written
    runtime = compile(home / "int8.xml", precision="int8")
    card = runtime.card()
    assert card.precision == "int8"
    assert card.difference == json.loads(done.stdout)["int8"]["difference"]
    assert compile(home / "int8.xml").card().precision == "int8"
    assert (runtime.labels, runtime.input) == (net.labels, net.input)
    graph = openvino.Core().read_model(home / "int8.xml")
    kinds = {str(op.get_output_element_type(0)) for op in graph.get_ops() if not op.inputs()}
    assert "<Type: 'int8_t'>" in kinds
    small, full = ((home / name).stat().st_size for name in ("int8.bin", "f32.bin"))
    assert small < 0.3 * full


def test_the_file_answers_nearly_as_the_network(written: Any) -> None:
    _, home = written
    frames = np.random.default_rng(3).integers(0, 256, (3, 4, *SIZE, 3), dtype=np.uint8)
    expected, found = (compile(home / name)(frames) for name in ("f32.xml", "int8.xml"))
    assert 0 < np.abs(found - expected).max() < 0.3 * np.abs(expected).max()


def test_reports_say_int8(written: Any, footage: Path) -> None:
    report = classify(footage / "0" / "0.mp4", model=str(written[1] / "int8.xml"))
    assert report.model.precision == "int8"


def test_a_float_file_is_not_int8(written: Any) -> None:
    with pytest.raises(ModelError, match=r"is not in int8.* --precision int8 --calibrate"):
        compile(written[1] / "f32.xml", precision="int8")


@pytest.fixture
def seen(written: Any, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Takes the place of NNCF: hands back a file that is there, and keeps what it was given."""
    kept: dict[str, Any] = {}

    def stand_in(model: Path, clips: Path, taken: list[int], path: Path) -> None:
        kept["frames"], kept["taken"] = np.load(clips), taken
        quantise_module._write(written[1] / "f32.xml", path, FileRuntime(model).about)

    monkeypatch.setattr(quantise_module, "quantised", stand_in)
    return kept


def run(written: Any, tmp_path: Path, footage: Path, most: int) -> tuple[Quantised, Any]:
    return quantise(written[1] / "f32.xml", tmp_path / "int8.xml", footage, most)


def test_clips_are_those_that_classify_sees(
    written: Any, footage: Path, tmp_path: Path, seen: dict[str, Any]
) -> None:
    asked: list[NDArray[np.uint8]] = []
    runtime = FileRuntime(written[1] / "f32.xml")

    class Watched(FileRuntime):
        def __init__(self) -> None: ...

        def __getattr__(self, name: str) -> Any:
            return getattr(runtime, name)

        warnings = ()

        def card(self) -> Any:
            return runtime.card()

        def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.float32]:
            asked.extend(frames)
            return runtime(frames)

    classify(footage / "0" / "0.mp4", model=Watched())
    run(written, tmp_path, footage, 12)
    # The first and the last clip of the first video begin and end with it.
    assert np.array_equal(seen["frames"][0], asked[0])
    assert np.array_equal(seen["frames"][2], asked[-1])


def test_clips_are_shared_out_evenly(
    written: Any, footage: Path, tmp_path: Path, seen: dict[str, Any]
) -> None:
    found, _ = run(written, tmp_path, footage, 10)  # 2 and 3 of each video, and 2 or 3 of none
    assert found.calibrated + found.compared in (7, 8)
    assert not set(seen["taken"]) & {3, 7}
    assert found.difference < 1e-6
    assert (found.agreement, found.kept) == (1, pytest.approx(1))


def test_few_clips_judge_themselves(
    written: Any, footage: Path, tmp_path: Path, seen: dict[str, Any]
) -> None:
    found, told = run(written, tmp_path, footage, 4)
    assert found.calibrated == found.compared == 3
    assert any("judged on the clips that calibrated it" in line for line in told)
    assert run(written, tmp_path, footage, 4)[0].hash == found.hash
    assert run(written, tmp_path, footage, 5)[0].hash != found.hash


def test_a_table_gives_its_spans_and_of_splits_train(
    written: Any, footage: Path, tmp_path: Path, seen: dict[str, Any]
) -> None:
    rows = [f"{footage / '0' / '0.mp4'},0,1,a,train", f"{footage / '1' / '1.mp4'},,,b,test"]
    table = tmp_path / "clips.csv"
    table.write_text("video,start,end,label,split\n" + "\n".join(rows))
    found, _ = run(written, tmp_path, table, 8)
    assert found.footage == "clips.csv"
    assert found.calibrated + found.compared == 8


@pytest.mark.parametrize("factor", [-1.0, np.nan])
def test_int8_that_answers_otherwise_is_refused(
    written: Any,
    footage: Path,
    tmp_path: Path,
    seen: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    factor: float,
) -> None:
    class Otherwise(FileRuntime):
        def __call__(self, frames: NDArray[np.uint8], /) -> NDArray[np.float32]:
            own = self.path.parent == written[1]
            return super().__call__(frames) * np.float32(1 if own else factor)

    monkeypatch.setattr(quantise_module, "FileRuntime", Otherwise)
    with pytest.raises(ModelError, match=r"best labels keep .* Calibrate on more clips"):
        run(written, tmp_path, footage, 12)
    assert not (tmp_path / "int8.xml").exists()


def test_footage_that_cannot_be_read_is_one_clear_error(
    written: Any, tmp_path: Path, seen: dict[str, Any]
) -> None:
    (tmp_path / "broken.mp4").write_bytes(b"no video at all")
    with pytest.raises(DataError, match=r"no clip can be read; the first: .*broken\.mp4"):
        run(written, tmp_path, tmp_path, 4)
    with pytest.raises(DataError, match="no such folder or file"):
        run(written, tmp_path, tmp_path / "gone", 4)


def test_what_nncf_cannot_do_is_its_last_words(written: Any, tmp_path: Path) -> None:
    from marey.runtime._nncf import quantised

    with pytest.raises(ModelError, match=r"NNCF cannot quantise it \(FileNotFoundError: .*gone"):
        quantised(written[1] / "f32.xml", tmp_path / "gone.npy", [0], tmp_path / "int8.xml")


def test_wrong_usage_is_told_before_any_work(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ModelError, match=r"needs clips to calibrate on.* --calibrate CLIPS"):
        export(net, tmp_path / "net.xml", precision="int8")
    with pytest.raises(ModelError, match="float32 is not calibrated"):
        export(net, tmp_path / "net.xml", calibrate=tmp_path)
    for suffix in (".onnx", ".pt2"):
        with pytest.raises(ModelError, match=rf"int8 is written as \.xml, not as {suffix}"):
            export(net, tmp_path / f"net{suffix}", precision="int8", calibrate=tmp_path)
    with pytest.raises(ModelError, match="judged on clips of one length"):
        export(net, tmp_path / "net.xml", precision="int8", calibrate=tmp_path, time="any")
    with pytest.raises(ModelError, match="no precision is called 'int4'"):
        export(net, tmp_path / "net.xml", precision="int4")
    with pytest.raises(ModelError, match=r"int8 is for files.* marey export"):
        compile(net, precision="int8")
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'marey\[int8\]'"):
        export(net, tmp_path / "net.xml", precision="int8", calibrate=tmp_path)
