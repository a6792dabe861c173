from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from marey.errors import ModelError
from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model
from marey.nn.clip import normalise
from marey.runtime import compile


def clips(frames: int = 4) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (2, frames, 64, 64, 3), dtype=np.uint8)


@pytest.mark.parametrize("name", ["mc2_18", "efficientnet_lite0"])
def test_a_runtime_answers_as_its_network(name: str) -> None:
    torch.manual_seed(0)
    net = create_model(name, classes=["sit", "stand"]).train()
    runtime = compile(net, device="cpu")
    logits = runtime(clips())
    assert (logits.dtype, logits.shape) == (np.float32, (2, 2))
    with torch.no_grad():
        expected = net.eval()(normalise(torch.from_numpy(clips()), net.input).contiguous())
    np.testing.assert_allclose(logits, expected.numpy(), atol=1e-5)
    np.testing.assert_allclose(logits[1:], runtime(clips()[1:]), atol=1e-5)
    assert runtime.labels == ("sit", "stand")
    assert runtime.input == net.input
    assert runtime.warnings == ()


def test_the_card_says_who_speaks_and_under_what_terms() -> None:
    card = compile("efficientnet_lite0", device="cpu").card()
    assert (card.name, card.licence) == ("efficientnet_lite0.in1k", "Apache-2.0")
    assert (card.classes, card.runtime, card.precision) == (1000, "torch cpu", "float32")


def test_a_checkpoint_folder_is_loaded_by_its_path(tmp_path: Path) -> None:
    save_checkpoint(create_model("efficientnet_lite0", classes=["a", "b"]), tmp_path / "mine")
    runtime = compile(tmp_path / "mine", device="cpu")
    assert runtime.labels == ("a", "b")
    assert runtime.card().name == str(tmp_path / "mine")


def test_random_weights_are_never_asked_for_labels() -> None:
    with pytest.raises(ModelError, match="rmc2_18: has no weights that could label anything"):
        compile("rmc2_18")


def test_a_new_head_warns() -> None:
    net = create_model("efficientnet_lite0.in1k", classes=["a", "b"])
    assert "new and untrained" in compile(net, device="cpu").warnings[0]


@pytest.mark.parametrize("wrong", [clips()[0], clips().astype(np.float32), clips()[..., :2]])
def test_wrong_clips_are_refused(wrong: NDArray[np.uint8]) -> None:
    runtime = compile(create_model("efficientnet_lite0", classes=2), device="cpu")
    with pytest.raises(ModelError, match="takes frames, uint8 N T H W 3"):
        runtime(wrong)


def test_importing_the_runtime_loads_no_torch() -> None:
    code = "import sys, marey.runtime; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_network_for_optical_flow_is_refused_by_name() -> None:
    with pytest.raises(ModelError, match="i3d_flow: takes 2 channels, optical flow"):
        compile(create_model("i3d_flow", classes=2), device="cpu")
