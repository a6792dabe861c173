from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import marey.runtime
import marey.runtime._cache as graph_cache
import marey.runtime._kept as notes
import marey.runtime.openvino as openvino_runtime
from marey.errors import ModelError
from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model
from marey.nn.clip import normalise
from marey.runtime import compile
from marey.runtime._kept import KeptRuntime, Note
from marey.runtime._openvino import core
from marey.runtime.openvino import OpenVinoRuntime

SHAPE = (4, 32, 48)
LABELS = ("sit", "stand", "walk")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a checkpoint, `net`, and the cache that compiling it by its path left."""
    home = tmp_path_factory.mktemp("made")
    torch.manual_seed(0)
    net = create_model("r3d_hara_10", classes=LABELS)
    net.input = replace(net.input, frames=SHAPE[0], size=SHAPE[1:], resize=32)
    net.licence = "research-only: a test"
    save_checkpoint(net, home / "net")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAREY_CACHE", str(home / "cache"))
        np.save(home / "logits.npy", compile(home / "net", threads=1)(frames()))
    return home


@pytest.fixture
def cache(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """That cache, for a test to spoil."""
    shutil.copytree(made / "cache", tmp_path / "cache")
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """What was made the slow way, with torch."""
    asked: list[object] = []
    plain = marey.runtime.make_ready

    def counted(*given: object) -> object:
        asked.append(given[0])
        return plain(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(marey.runtime, "make_ready", counted)
    return asked


@pytest.fixture
def converted(made: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which networks were converted; the graph is at hand, and converting takes seconds."""
    names: list[str] = []
    graph = next((made / "cache").glob("graphs/*/*1x4x32x48*/net.xml"))

    def convert(module: object, given: object, name: str) -> object:
        names.append(name)
        return core().read_model(graph)

    monkeypatch.setattr(openvino_runtime, "convert", convert)
    return names


def frames(clips: int = 1, shape: tuple[int, int, int] = SHAPE) -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (clips, *shape, 3), dtype=np.uint8)


def test_it_says_and_answers_what_the_first_one_did(
    made: Path, cache: Path, slow: list[object]
) -> None:
    runtime = compile(made / "net", threads=1)
    assert isinstance(runtime, KeptRuntime)
    logits = runtime(frames())
    assert np.array_equal(logits, np.load(made / "logits.npy"))
    assert not slow
    with_torch = OpenVinoRuntime(create_model(made / "net"), threads=1)
    assert np.array_equal(logits, with_torch(frames()))
    assert runtime.card() == with_torch.card()
    assert runtime.warnings == with_torch.warnings
    assert "research-only" in runtime.warnings[0]
    for name in ("input", "labels", "multilabel", "runtime", "precision", "difference", "notes"):
        assert getattr(runtime, name) == getattr(with_torch, name)


def test_it_needs_no_torch(made: Path, cache: Path) -> None:
    code = f"""
import json, sys, numpy as np
from dataclasses import asdict
from marey.runtime import compile
given = np.random.default_rng(7).integers(0, 256, (1, *{SHAPE}, 3), dtype=np.uint8)
runtime = compile({str(made / "net")!r}, threads=1)
logits = runtime(given)
heavy = [name for name in ("torch", "torchvision", "timm", "marey.models") if name in sys.modules]
print(json.dumps([heavy, asdict(runtime.card()), runtime.warnings, logits.tolist()]))
"""
    said = []
    for _ in range(2):  # by a path as text, which was not asked for yet, and then was
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        said.append(json.loads(done.stdout))
    (first, *others), (second, *same) = said
    assert first
    assert second == []
    assert others == same


def test_names_of_published_weights_lead_to_the_file_that_was_read(slow: list[object]) -> None:
    first = compile("motions6")
    runtime = compile("motions6")
    assert isinstance(runtime, KeptRuntime)
    assert slow in ([], ["motions6"])  # another test may have asked for it already
    assert runtime.card() == first.card()
    assert runtime.card().name == "efficientnet_lite0.motions6"
    assert "research-only: ARID footage" in runtime.warnings[0]
    files = [Path(stamp.path).name for stamp in runtime._note.files]
    assert files == ["config.json", "model.safetensors"]
    (read,) = create_model("efficientnet_lite0.in1k").report.load.files  # type: ignore[union-attr]
    assert Path(read.path).name == "efficientnet-lite0-57934424.pth"


def touch_weights(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    os.utime(folder / "model.safetensors")


def rename_classes(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    path = folder / "config.json"
    path.write_text(path.read_text().replace("stand", "lie"))


def remove_note(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    next(cache.glob("names/*")).unlink()


def cut_note(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    path = next(cache.glob("names/*"))
    path.write_bytes(path.read_bytes()[:200])


def change_note(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    path = next(cache.glob("names/*"))
    path.write_text(path.read_text().replace("stand", "stund"))


def other_note(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    next(cache.glob("names/*")).write_text("[]")


def cut_graph(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    path = next(cache.rglob("net.bin"))
    path.write_bytes(path.read_bytes()[:-1])


def change_code(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    for module in (notes, graph_cache):
        patch.setattr(module, "code", lambda: "other")


def change_machine(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    for module in (notes, openvino_runtime):
        patch.setattr(module, "made_by", lambda: ["other versions, or another processor"])


def find_a_gpu(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(notes, "_DRIVERS", (str(folder),))


def look_elsewhere(folder: Path, cache: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setenv("HF_HOME", str(folder))


@pytest.mark.parametrize(
    "change",
    [
        touch_weights,
        rename_classes,
        remove_note,
        cut_note,
        change_note,
        other_note,
        cut_graph,
        change_code,
        change_machine,
        find_a_gpu,
        look_elsewhere,
    ],
)
def test_what_has_changed_is_made_anew(
    change: Callable[[Path, Path, pytest.MonkeyPatch], None],
    made: Path,
    cache: Path,
    tmp_path: Path,
    slow: list[object],
    converted: list[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    shutil.copytree(made / "net", "net")
    shutil.rmtree(cache / "names")
    compile("net", threads=1)
    assert isinstance(compile("net", threads=1), KeptRuntime)
    slow.clear()
    change(Path("net"), cache, monkeypatch)
    anew = compile("net", threads=1)
    assert slow == ["net"]
    again = compile("net", threads=1)
    assert isinstance(again, KeptRuntime)
    assert again.labels == create_model("net").labels
    assert np.array_equal(again(frames()), anew(frames()))
    assert slow == ["net"]
    assert converted == ["net"] * (change in (cut_graph, change_code, change_machine))


def test_other_precisions_runtimes_and_places_are_other_networks(
    made: Path,
    cache: Path,
    slow: list[object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    compile(made / "net", threads=2)
    assert not slow
    for count, options in enumerate([{"precision": "f32"}, {"runtime": "openvino"}]):
        first = compile(made / "net", **options)  # type: ignore[arg-type]
        assert len(slow) == count + 1
        assert compile(made / "net", **options).card() == first.card()  # type: ignore[arg-type]
        assert len(slow) == count + 1
    assert compile(made / "net", device="cpu").card().runtime == "torch cpu"
    slow.clear()
    for place in ("one", "other"):
        shutil.copytree(made / "net", tmp_path / place / "net")
        rename = tmp_path / place / "net" / "config.json"
        rename.write_text(rename.read_text().replace("stand", place))
        monkeypatch.chdir(tmp_path / place)
        assert place in (compile("net").labels or ())
    assert slow == ["net", "net"]


def test_other_batches_are_other_graphs_and_the_rest_of_one_too(
    made: Path, cache: Path, slow: list[object]
) -> None:
    expected = compile(made / "net", threads=1, batch=2)(frames(3))
    assert len(slow) == 1
    slow.clear()
    runtime = compile(made / "net", threads=1, batch=2)
    assert np.array_equal(runtime(frames(3)), expected)
    assert not slow


def test_what_needs_torch_gets_it_when_it_comes(
    made: Path, cache: Path, slow: list[object]
) -> None:
    net = create_model(made / "net")
    longer = frames(1, (6, 32, 48))
    clips = normalise(torch.from_numpy(frames()), net.input)
    for given in (longer, clips.numpy(), clips, torch.from_numpy(frames())):
        slow.clear()
        runtime = compile(made / "net", threads=1)
        assert isinstance(runtime, KeptRuntime)
        logits = runtime(given)
        assert len(slow) == 1
        assert isinstance(logits, type(given))
        source = normalise(torch.from_numpy(longer), net.input) if given is longer else clips
        with torch.inference_mode():
            torch.testing.assert_close(torch.as_tensor(logits), net(source), rtol=1e-4, atol=1e-5)
        runtime(frames())
        assert len(slow) == 1
    assert runtime.net.labels == LABELS
    with pytest.raises(ModelError, match="net: takes frames, uint8 N T H W 3"):
        compile(made / "net")(frames()[0])


def test_weights_that_changed_since_are_not_mixed_with_the_graph(
    made: Path, cache: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "net"
    shutil.copytree(made / "net", folder)
    compile(folder)
    runtime = compile(folder)
    os.utime(folder / "model.safetensors")
    assert runtime(frames()).shape == (1, 3)
    with pytest.raises(ModelError, match=r"have changed since it was compiled\. Compile it again"):
        runtime(torch.from_numpy(frames()))


def test_several_threads_may_ask(made: Path, cache: Path) -> None:
    runtime = compile(made / "net", threads=1)
    given = [frames() + np.uint8(shift) for shift in range(8)]
    expected = [runtime(one) for one in given]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(compile(made / "net", threads=1), given))
    assert np.array_equal(found, expected)


def test_networks_without_a_name_leave_no_note(made: Path, cache: Path) -> None:
    shutil.rmtree(cache / "names")
    compile(create_model(made / "net"))
    assert not (cache / "names").exists()


def test_what_would_be_said_once_only_is_not_kept(made: Path, cache: Path) -> None:
    net = create_model(made / "net")
    runtime = OpenVinoRuntime(net)
    assert Note.of(runtime, 1) is not None
    assert net.report.load is not None
    net.report.load = replace(net.report.load, pinned="a hash of today")
    assert Note.of(runtime, 1) is None


def test_a_cache_that_cannot_be_written_is_said_once(
    made: Path, cache: Path, slow: list[object], converted: list[str]
) -> None:
    for folder, times in ((cache / "names", 0), (cache, 2)):
        shutil.rmtree(folder)
        folder.write_text("a file stands where the folder should")
        for _ in range(2):
            runtime = compile(made / "net")
            (said,) = (warning for warning in runtime.warnings if "MAREY_CACHE" in warning)
            assert ("graphs" if times else "names") in said
        assert len(converted) == times
    assert len(slow) == 4


def test_a_note_says_all_that_it_was_given(made: Path, cache: Path, tmp_path: Path) -> None:
    note = Note.of(OpenVinoRuntime(create_model(made / "net")), 1)
    assert note is not None
    note.write(tmp_path / "note.json")
    assert asdict(Note.read(tmp_path / "note.json")) == asdict(note)  # type: ignore[call-overload]
