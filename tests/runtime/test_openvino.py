from __future__ import annotations

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import marey.runtime._cache as graph_cache
import marey.runtime._openvino as engine
import marey.runtime.openvino as openvino_runtime
from marey.errors import ModelError
from marey.models._create import create_model
from marey.models._net import Net
from marey.nn.clip import normalise
from marey.runtime import compile
from marey.runtime._openvino import NAMES, fastest
from marey.runtime.openvino import BOUNDS, DiffersError, OpenVinoRuntime, RefusedError

SHAPE = (4, 32, 48)


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def network(seed: int = 0, gamma: float = 1.0) -> Net:
    torch.manual_seed(seed)
    net = create_model("r3d_hara_10", classes=5)
    net.input = replace(net.input, frames=SHAPE[0], size=SHAPE[1:], resize=32, gamma=gamma)
    for name, value in net.state_dict().items():
        if name.endswith("running_var"):
            value.uniform_(0.5, 1.5)
    return net


def frames(clips: int = 1, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (clips, *shape, 3), dtype=np.uint8)


def expected(net: Net, given: NDArray[np.uint8]) -> NDArray[np.float32]:
    with torch.inference_mode():
        return net(normalise(torch.from_numpy(given), net.input)).numpy()


def far(found: NDArray[np.float32], wanted: NDArray[np.float32]) -> float:
    return float(np.abs(found - wanted).max() / np.abs(wanted).max())


@pytest.mark.parametrize("gamma", [1.0, 0.4])
def test_frames_go_in_and_the_networks_answers_come_out(gamma: float) -> None:
    net = network(gamma=gamma)
    runtime = OpenVinoRuntime(net, "f32")
    logits = runtime(frames())
    assert (logits.dtype, logits.shape) == (np.float32, (1, 5))
    assert far(logits, expected(net, frames())) < 1e-4
    assert runtime.difference < 1e-4
    assert (runtime.card().runtime, runtime.card().precision) == ("openvino cpu", "float32")
    assert runtime.warnings == ()


def test_answers_stay_when_others_follow() -> None:
    runtime = OpenVinoRuntime(network(), "f32")
    first = runtime(frames())
    kept = first.copy()
    runtime(255 - frames())
    assert np.array_equal(first, kept)


def test_the_fastest_precision_is_what_the_processor_has() -> None:
    net = network()
    runtime = OpenVinoRuntime(net)
    assert runtime.card().precision == NAMES[fastest()]
    assert far(runtime(frames()), expected(net, frames())) < BOUNDS[fastest()]


def test_other_shapes_batches_and_normalised_clips_are_taken_as_they_come() -> None:
    net = network()
    runtime = OpenVinoRuntime(net, "f32")
    for given in (frames(3), frames(1, (6, 48, 32))):
        assert far(runtime(given), expected(net, given)) < 1e-4
    clip = normalise(torch.from_numpy(frames(2)), net.input)
    logits = runtime(clip)
    assert isinstance(logits, torch.Tensor)
    assert far(logits.numpy(), expected(net, frames(2))) < 1e-4
    with pytest.raises(ModelError, match="r3d_hara_10: takes frames, uint8 N T H W 3"):
        runtime(frames().astype(np.int64))


def test_many_clips_are_cut_into_batches_of_one_graph() -> None:
    net = network()
    runtime = OpenVinoRuntime(net, "f32", batch=2)
    assert far(runtime(frames(4)), expected(net, frames(4))) < 1e-4
    assert len(runtime._graphs) == 1
    assert far(runtime(frames(5)), expected(net, frames(5))) < 1e-4
    assert len(runtime._graphs) == 2


def test_a_graph_is_planned_for_its_shape(cache: Path) -> None:
    OpenVinoRuntime(network(), "f32")
    (path,) = cache.rglob("net.xml")
    assert list(engine.core().read_model(path).inputs[0].shape) == [1, *SHAPE, 3]


def test_several_threads_may_ask() -> None:
    runtime = OpenVinoRuntime(network(), "f32", threads=1)
    given = [frames() + np.uint8(shift) for shift in range(8)]
    expected = [runtime(one) for one in given]
    with ThreadPoolExecutor(4) as pool:
        assert np.array_equal(list(pool.map(runtime, given)), expected)


def test_graphs_belong_to_the_code_that_made_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = graph_cache.code()
    room = Path(graph_cache.__file__).parents[1]
    copied = tmp_path / "marey"
    shutil.copytree(room, copied, ignore=shutil.ignore_patterns("*.safetensors", "*.pyc"))
    monkeypatch.setattr(graph_cache, "__file__", str(copied / "runtime" / "_cache.py"))
    assert graph_cache.code.__wrapped__() == now
    with (copied / "nn" / "clip.py").open("a") as file:
        file.write("# changed\n")
    changed = graph_cache.code.__wrapped__()
    (copied / "models" / "another.py").touch()
    assert len({now, changed, graph_cache.code.__wrapped__()}) == 3


def test_what_is_kept_is_not_converted_again(monkeypatch: pytest.MonkeyPatch) -> None:
    first = OpenVinoRuntime(network(), "f32")
    answers = first(frames())
    converted: list[str] = []

    def convert(module: object, example: object, name: str) -> object:
        converted.append(name)
        raise RefusedError("not again")

    monkeypatch.setattr(openvino_runtime, "convert", convert)
    again = OpenVinoRuntime(network(), "f32")
    np.testing.assert_allclose(again(frames()), answers, rtol=1e-4)
    assert again.difference == first.difference
    assert not converted
    for other in (network(seed=1), network(gamma=0.5)):
        with pytest.raises(RefusedError, match="not again"):
            OpenVinoRuntime(other, "f32")


@pytest.mark.parametrize("damaged", ["net.bin", "net.xml", "about.json"])
def test_a_damaged_entry_is_made_anew(cache: Path, damaged: str) -> None:
    net = network()
    answers = OpenVinoRuntime(net, "f32")(frames())
    (path,) = cache.rglob(damaged)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    np.testing.assert_allclose(OpenVinoRuntime(net, "f32")(frames()), answers, rtol=1e-4)
    assert len(path.read_bytes()) > len(content) / 2


def test_a_cache_that_cannot_be_written_is_said_and_does_without(cache: Path) -> None:
    cache.write_text("a file stands where the folder should")
    runtime = OpenVinoRuntime(network(), "f32")
    assert "Set MAREY_CACHE" in runtime.warnings[0]
    assert runtime(frames()).shape == (1, 5)


def test_wrong_answers_are_refused_with_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(BOUNDS, "f32", 0.0)
    with pytest.raises(DiffersError, match=r"r3d_hara_10: .* in float32 .* 'torch'"):
        OpenVinoRuntime(network(), "f32")


@pytest.mark.skipif(fastest() == "f32", reason="this processor computes in float32 only")
def test_where_half_precision_is_too_coarse_float32_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(BOUNDS, "bf16", 0.0)
    runtime = compile(network())
    assert runtime.card().precision == "float32"
    assert runtime.warnings == ()
    assert runtime.card().difference < 1e-4
    with pytest.raises(DiffersError):
        compile(network(), precision="bf16")


def test_a_network_that_openvino_refuses_runs_in_torch_and_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("no such operation\nand a long story")

    monkeypatch.setattr(torch.export, "export", fail)
    net = network()
    runtime = compile(net)
    assert runtime.card().runtime == "torch cpu"
    assert runtime.warnings == (
        "r3d_hara_10: runs in torch, slower: OpenVINO cannot take it (no such operation)",
    )
    assert far(runtime(frames()), expected(net, frames())) < 1e-4
    with pytest.raises(RefusedError, match="cannot take it"):
        compile(network(), runtime="openvino")


def test_bfloat16_is_refused_on_processors_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine, "fastest", lambda: "f32")
    with pytest.raises(ModelError, match="this processor does not compute in bfloat16"):
        compile(network(), precision="bf16")


def test_a_full_disk_is_said_and_does_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise RuntimeError("no space left on device")

    monkeypatch.setattr("openvino.save_model", full)
    runtime = compile(network(), precision="f32")
    assert "no space left on device" in runtime.warnings[0]
    assert runtime(frames()).shape == (1, 5)


def test_unknown_names_bring_the_choices() -> None:
    with pytest.raises(ModelError, match="no runtime is called 'tensorrt'"):
        compile(network(), runtime="tensorrt")
    with pytest.raises(ModelError, match=r"'fp8'\. Choose one of: auto, f32, bf16"):
        compile(network(), precision="fp8")


def test_two_processes_may_write_the_same_entry(cache: Path) -> None:
    net = network()
    OpenVinoRuntime(net, "f32")
    (entry,) = (path.parent for path in cache.rglob("net.xml"))
    shutil.rmtree(entry)
    entry.mkdir()  # as of another process that was killed
    OpenVinoRuntime(net, "f32")
    assert (entry / "net.xml").is_file()


def test_signals_are_survived_after_networks_are_gone() -> None:
    code = """
import gc, os, signal, torch
from dataclasses import replace
from marey.models._create import create_model
from marey.runtime import compile
for classes in (2, 3):
    net = create_model("r3d_hara_10", classes=classes)
    net.input = replace(net.input, frames=4, size=(32, 32))
    compile(net)(torch.zeros(1, 4, 32, 32, 3, dtype=torch.uint8))
    del net
    gc.collect()
signal.signal(signal.SIGUSR1, lambda *_: print("handled"))
os.kill(os.getpid(), signal.SIGUSR1)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "handled\n"
