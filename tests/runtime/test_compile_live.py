"""Which way a name is watched: frame by frame or by windows, found out once and kept."""

from __future__ import annotations

import doctest
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

import marey.runtime.live as module
from marey.errors import ModelError
from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model
from marey.models._net import Net
from marey.runtime import compile
from marey.runtime._kept import KeptRuntime
from marey.runtime.live import compile_live, compile_stream
from marey.runtime.openvino import OpenVinoRuntime
from marey.runtime.stream import StreamRuntime
from marey.tasks._live_score import Stepping

LABELS = ("sit", "stand", "walk")
SHAPE = (4, 64, 64)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Checkpoints of a network that can stream and of one that cannot, and an empty cache."""
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    torch.manual_seed(0)
    for name, rule in (("looks-back", "shift:ends=causal"), ("looks-ahead", "shift")):
        net = create_model(f"timm/test_resnet+{rule}", classes=LABELS)
        net.input = replace(net.input, frames=SHAPE[0], size=SHAPE[1:], resize=64)
        net.licence = "research-only: a test"
        save_checkpoint(net, tmp_path / name)
    return tmp_path


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Which networks were built."""
    names: list[str] = []
    plain = create_model

    def counted(name: str, **options: object) -> Net:
        names.append(Path(name).name)
        return plain(name, **options)  # type: ignore[arg-type]

    monkeypatch.setattr("marey.models._create.create_model", counted)
    return names


def frames(count: int) -> NDArray[np.uint8]:
    shape = (1, count, *SHAPE[1:], 3)
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def test_frame_by_frame_where_it_can_be_and_by_windows_where_not(
    folder: Path, built: list[str]
) -> None:
    assert isinstance(compile_live(folder / "looks-back"), StreamRuntime)
    assert isinstance(compile_live(folder / "looks-ahead"), OpenVinoRuntime)
    assert built == ["looks-back", "looks-ahead"]
    # The second time there is nothing to build.
    assert isinstance(compile_live(folder / "looks-back"), StreamRuntime)
    assert isinstance(compile_live(folder / "looks-ahead"), KeptRuntime)
    assert built == ["looks-back", "looks-ahead"]


def test_what_another_verb_has_left_does_not_decide(folder: Path) -> None:
    for name in ("looks-back", "looks-ahead"):
        compile(folder / name)
    assert isinstance(compile_live(folder / "looks-back"), StreamRuntime)
    assert isinstance(compile_live(folder / "looks-ahead"), KeptRuntime)


def test_windows_can_be_asked_for(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(compile_live(folder / "looks-back", runtime="torch"), StreamRuntime)
    made = compile(folder / "looks-back", runtime="torch")
    monkeypatch.setattr(module, "compile", lambda name, **how: made)
    for how in ({"windows": True}, {"runtime": "onnx"}):
        assert compile_live(folder / "looks-back", **how) is made  # type: ignore[arg-type]
    assert not isinstance(made, Stepping)


def test_ready_again_it_says_and_answers_the_same_without_torch(folder: Path) -> None:
    first = compile_stream(folder / "looks-back", threads=1)
    logits, state = first.step(frames(5))
    code = f"""
import json, sys, numpy as np
from dataclasses import asdict
from marey.runtime.live import compile_live
given = np.random.default_rng(0).integers(0, 256, (1, 5, 64, 64, 3), dtype=np.uint8)
live = compile_live({str(folder / "looks-back")!r}, threads=1)
logits, state = live.step(given)
heavy = [name for name in ("torch", "torchvision", "timm", "marey.models") if name in sys.modules]
about = [asdict(live.card()), live.labels, live.warnings, live.answer, live.forgets]
print(json.dumps([heavy, about, logits.tolist(), [part.shape for part in state]]))
"""
    said = []
    for _ in range(2):  # by a path as text, which was not asked for yet, and then was
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        said.append(json.loads(done.stdout))
    (built, *others), (heavy, *same) = said
    assert built
    assert heavy == []
    assert others == same
    assert same[1] == logits.tolist()
    assert same[2] == [list(part.shape) for part in state]
    assert "research-only" in first.warnings[0]


def test_what_has_changed_is_made_anew(folder: Path, built: list[str]) -> None:
    compile_live(folder / "looks-back")
    weights = folder / "looks-back" / "model.safetensors"
    weights.touch()
    assert isinstance(compile_live(folder / "looks-back"), StreamRuntime)
    next((folder / "cache").rglob("step*/net.bin")).write_bytes(b"damaged")
    assert isinstance(compile_live(folder / "looks-back"), StreamRuntime)
    assert built == ["looks-back"] * 3


def test_a_cache_that_cannot_be_written_is_said_and_does_without(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "file").touch()
    monkeypatch.setenv("MAREY_CACHE", str(folder / "file"))
    live = compile_live(folder / "looks-back")
    assert isinstance(live, StreamRuntime)
    assert any("Set MAREY_CACHE" in note for note in live.warnings)
    assert live.step(frames(1))[0].shape == (1, 1, 3)


def test_a_name_that_means_no_weights_is_refused() -> None:
    for ready in (compile_live, compile_stream):
        with pytest.raises(ModelError, match="has no weights that could label anything"):
            ready("r3d_hara_10")
        with pytest.raises(ModelError, match="no precision is called 'fp8'"):
            ready("r3d_18", precision="fp8")


def test_examples_run() -> None:
    assert doctest.testmod(module).failed == 0
