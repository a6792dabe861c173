"""Features by every runtime, and by name without torch: what the network itself makes of a clip."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from marey.errors import ModelError
from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model
from marey.models._embedding import Embedding
from marey.nn.clip import normalise
from marey.runtime import compile
from marey.runtime._kept import KeptRuntime
from marey.tasks._seen import labels_of

SHAPE = (4, 32, 48)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    net = create_model("r3d_hara_10", classes=("sit", "stand"))
    net.input = replace(net.input, frames=SHAPE[0], size=SHAPE[1:], resize=32)
    path = tmp_path_factory.mktemp("made") / "net"
    save_checkpoint(net, path)
    return path


def frames() -> NDArray[np.uint8]:
    return np.random.default_rng(7).integers(0, 256, (1, *SHAPE, 3), dtype=np.uint8)


@pytest.mark.parametrize("runtime", ["openvino", "torch", "onnx"])
def test_every_runtime_gives_the_same(folder: Path, runtime: str) -> None:
    if runtime == "onnx" and (find_spec("onnxruntime") is None or find_spec("onnxscript") is None):
        pytest.skip("ONNX Runtime is not installed")
    net = Embedding(create_model(folder))
    made = compile(folder, runtime=runtime, precision="f32", features=True, threads=1)
    with torch.inference_mode():
        expected = net(normalise(torch.from_numpy(frames()), net.input)).numpy()
    np.testing.assert_allclose(made(frames()), expected, rtol=1e-3, atol=1e-3 * expected.max())
    card = made.card()
    assert (card.network, card.classes) == (net.network, expected.shape[1])
    assert made.labels is None


def test_by_name_they_need_no_torch_and_are_not_the_scores(folder: Path) -> None:
    code = f"""
import json, sys, numpy as np
from dataclasses import asdict
from marey.runtime import compile
given = np.random.default_rng(7).integers(0, 256, (1, *{SHAPE}, 3), dtype=np.uint8)
runtime = compile({str(folder)!r}, threads=1, features=True)
made = runtime(given)
heavy = [name for name in ("torch", "timm", "marey.models") if name in sys.modules]
print(json.dumps([heavy, asdict(runtime.card()), made.tolist()]))
"""
    scores = compile(str(folder), threads=1)(frames())  # its note is another
    said = []
    for _ in range(2):
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        said.append(json.loads(done.stdout))
    (_, *first), (heavy, *again) = said
    assert heavy == []
    assert again == first
    assert again[0]["network"] == Embedding(create_model(folder)).network
    assert scores.shape == (1, 2)
    assert isinstance(compile(str(folder), threads=1), KeptRuntime)
    assert compile(str(folder), threads=1).card().network is None


def test_files_and_scores_are_no_features(folder: Path, tmp_path: Path) -> None:
    for suffix in (".onnx", ".xml"):
        with pytest.raises(ModelError, match=r"net\.\w+: an exported file gives scores only"):
            compile(tmp_path / f"net{suffix}", features=True)
    with pytest.raises(ModelError, match="gives features, not scores"):
        labels_of(compile(folder, runtime="torch", features=True))
