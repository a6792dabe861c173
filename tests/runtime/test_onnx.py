from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import marey.runtime as runtime_module
import marey.runtime.onnx as onnx_runtime
from marey.errors import MissingExtraError, ModelError
from marey.export import export
from marey.models._create import create_model
from marey.models._net import Net
from marey.nn.clip import normalise
from marey.runtime import compile
from marey.runtime._onnxruntime import OnnxFileRuntime
from marey.runtime.onnx import OnnxRuntime
from marey.runtime.openvino import DiffersError, RefusedError

pytest.importorskip("onnxruntime")

SHAPE = (4, 32, 48)


def network(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    net = create_model("r3d_hara_10", classes=["sit", "stand", "wave"])
    net.input = replace(net.input, frames=SHAPE[0], size=SHAPE[1:], resize=32)
    return net


def frames(clips: int = 1, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (clips, *shape, 3), dtype=np.uint8)


def expected(net: Net, given: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return net(normalise(torch.from_numpy(given), net.input)).numpy()


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def made(cache: Path) -> OnnxRuntime:
    """Made once: to convert takes seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAREY_CACHE", str(cache))
        found = compile(network(), runtime="onnx", threads=1)
    assert isinstance(found, OnnxRuntime)
    return found


def test_frames_go_in_and_the_networks_answers_come_out(made: OnnxRuntime) -> None:
    for given in (frames(), frames(3)):
        logits = made(given)
        assert (logits.dtype, logits.shape) == (np.float32, (len(given), 3))
        np.testing.assert_allclose(logits, expected(made.net, given), atol=1e-4)
    card = made.card()
    assert (card.runtime, card.precision) == ("onnxruntime cpu", "float32")
    assert card.difference is not None
    assert 0 <= card.difference < 1e-4
    assert made.labels == ("sit", "stand", "wave")
    assert made.warnings == ()


def test_answers_stay_when_others_follow(made: OnnxRuntime) -> None:
    first = made(frames())
    kept = first.copy()
    made(255 - frames())
    assert np.array_equal(first, kept)


def test_clips_and_tensors_are_taken_too(made: OnnxRuntime, cache: Path) -> None:
    clips = normalise(torch.from_numpy(frames(2)), made.net.input)
    logits = made(clips.double())
    assert isinstance(logits, torch.Tensor)
    np.testing.assert_allclose(logits.numpy(), expected(made.net, frames(2)), atol=1e-4)
    assert sorted(path.parent.name for path in cache.rglob("net.onnx")) == [
        "clipsx3x4x32x48-f32",
        "framesx4x32x48x3-f32",
    ]


def test_what_is_kept_is_not_converted_again(
    made: OnnxRuntime, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MAREY_CACHE", str(cache))
    monkeypatch.setattr(onnx_runtime, "convert", refuse)
    again = OnnxRuntime(network(), threads=1)
    assert np.array_equal(again(frames()), made(frames()))
    assert again.difference == made.difference
    with pytest.raises(RefusedError, match="not again"):
        OnnxRuntime(network(seed=1))


def refuse(*_: object) -> bytes:
    raise RefusedError("not again")


def test_a_damaged_entry_is_made_anew(
    made: OnnxRuntime, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (path for path in cache.rglob("net.onnx") if "frames" in str(path))
    content = path.read_bytes()
    monkeypatch.setenv("MAREY_CACHE", str(cache))
    monkeypatch.setattr(onnx_runtime, "convert", lambda *_: content)
    path.write_bytes(content[:1000])
    assert np.array_equal(OnnxRuntime(network(), threads=1)(frames()), made(frames()))
    assert path.read_bytes() == content


def test_wrong_answers_are_refused_with_advice(
    made: OnnxRuntime, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (path,) = (path for path in cache.rglob("net.onnx") if "frames" in str(path))
    other = path.read_bytes()
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path))
    monkeypatch.setattr(onnx_runtime, "convert", lambda *_: other)
    with pytest.raises(DiffersError, match=r"r3d_hara_10: ONNX Runtime's answers .* 'torch'"):
        OnnxRuntime(network(seed=1))
    with pytest.raises(DiffersError):  # the difference is kept with it
        OnnxRuntime(network(seed=1))


def test_what_cannot_be_converted_is_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operation\nand a long story")

    monkeypatch.setattr(torch.export, "export", fail)
    with pytest.raises(RefusedError, match=r"cannot take it \(no such operation\).*'torch'"):
        compile(network(seed=2), runtime="onnx")


def test_other_precisions_bring_the_choices() -> None:
    with pytest.raises(ModelError, match=r"not in bf16\. Choose one of: auto, f32"):
        compile(network(), runtime="onnx", precision="bf16")


@pytest.mark.parametrize("missing", ["onnxruntime", "onnxscript"])
def test_missing_libraries_are_named_with_their_install_line(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if missing == "onnxruntime":
        monkeypatch.setattr("marey.runtime._onnxruntime.find_spec", lambda _: None)
    else:
        monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(MissingExtraError, match=r"pip install 'marey\[onnx\]'"):
        compile(network(), runtime="onnx")


# Files


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("exports") / "net.onnx"
    export(network(), path)
    return path


def test_a_file_answers_as_the_network(file: Path) -> None:
    runtime = compile(file, runtime="onnx", threads=1)
    assert isinstance(runtime, OnnxFileRuntime)
    for clips in (1, 3):
        found = runtime(frames(clips))
        np.testing.assert_allclose(found, expected(network(), frames(clips)), atol=1e-4)
    card = runtime.card()
    assert (card.name, card.runtime, card.precision) == (str(file), "onnxruntime cpu", "float32")
    assert runtime.labels == ("sit", "stand", "wave")
    assert runtime.warnings == ()
    with pytest.raises(ModelError, match=r"N x 4 x 32 x 48 x 3; got uint8"):
        runtime(frames(1, (4, 32, 32)))


def test_a_file_runs_without_torch_and_without_openvino(file: Path) -> None:
    code = (
        "import sys, numpy as np\nfrom marey.runtime import compile\n"
        f"runtime = compile({str(file)!r}, runtime='onnx')\n"
        "assert runtime(np.zeros((1, 4, 32, 48, 3), np.uint8)).shape == (1, 3)\n"
        "assert 'onnxruntime' in sys.modules\n"
        "sys.exit('torch' in sys.modules or 'openvino' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_without_openvino_a_file_runs_in_onnx_runtime_and_says_so(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert compile(file).card().runtime == "openvino cpu"
    there = {"onnxruntime"}
    monkeypatch.setattr(runtime_module, "find_spec", lambda name: name if name in there else None)
    runtime = compile(file)
    assert runtime.card().runtime == "onnxruntime cpu"
    assert runtime.warnings == (f"{file}: runs in ONNX Runtime: OpenVINO is not installed",)
    there.clear()
    with pytest.raises(MissingExtraError, match="OpenVINO is not installed"):
        compile(file)


def test_what_does_not_fit_a_file_is_refused(file: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"not run by runtime 'torch'.*auto, openvino, onnx\."):
        compile(file, runtime="torch")
    with pytest.raises(ModelError, match=r"net\.xml: .* 'onnx'\. Choose one of: auto, openvino\."):
        compile(tmp_path / "net.xml", runtime="onnx")
    for precision in ("bf16", "int8"):
        with pytest.raises(ModelError, match=f"not in {precision}"):
            compile(file, runtime="onnx", precision=precision)
    (tmp_path / "noise.onnx").write_bytes(b"no graph")
    for name in ("noise.onnx", "none.onnx"):
        with pytest.raises(ModelError, match=f"{name}: "):
            compile(tmp_path / name, runtime="onnx")
