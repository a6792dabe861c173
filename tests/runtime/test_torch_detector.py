"""What all of torch's detectors share, on the smallest that there can be."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from marey.errors import MissingExtraError
from marey.runtime import _torch_detector
from marey.runtime._torch_detector import Found, TorchDetector
from marey.runtime.openvino import RefusedError
from marey.types import Input


class Fixed(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 2, 3, padding=1)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.conv(x), x.mean((1, 2, 3))


class Tiny(TorchDetector):
    """One box, the whole picture, with a score that depends on all of it."""

    def __init__(self, folder: Path, runtime: str = "auto") -> None:
        path = folder / "weights"
        path.write_bytes(b"some")
        look = Input(1, (24, 32), 24, mean=(0.0,) * 3, std=(1.0,) * 3)
        super().__init__("tiny", "MIT", Fixed(), path, look, runtime=runtime, threads=1)

    def find(self, frames: Tensor) -> Found:
        maps, means = self.compute(frames.float() / 255)
        height, width = frames.shape[2:]
        scores = (maps.flatten(1).std(1) + means).sigmoid()
        box = torch.tensor([[0, 0, width, height]])
        return [
            {"boxes": box, "scores": score[None], "labels": torch.tensor([2])} for score in scores
        ]


def frames(count: int, height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height).integers(0, 255, (count, height, width, 3), np.uint8)


def test_graphs_of_two_sizes_equal_torch(tmp_path: Path) -> None:
    compiled, plain = Tiny(tmp_path), Tiny(tmp_path, "torch")
    for size in ((24, 32), (20, 50), (24, 32)):
        given = frames(3, *size)
        for one, other in zip(compiled(given), plain(given), strict=True):
            assert np.allclose(one.scores, other.scores, atol=1e-6)
            assert np.array_equal(one.boxes, [[0, 0, size[1], size[0]]])
            assert one.labels == ("car",)
    assert len(compiled._graphs) == 2
    card = compiled.card()
    assert (card.runtime, card.precision) == ("openvino cpu", "float32")
    assert card.difference is not None
    assert card.difference < 1e-5
    assert (plain.card().runtime, plain.card().difference) == ("torch cpu", None)
    assert compiled.warnings == plain.warnings == ()


def test_a_batch_is_its_frames(tmp_path: Path) -> None:
    detector, given = Tiny(tmp_path), frames(3, 24, 32)
    alone = [detector(given[k : k + 1])[0].scores for k in range(3)]
    assert np.array_equal(np.concatenate(alone), [one.scores[0] for one in detector(given)])


def test_threads_take_turns(tmp_path: Path) -> None:
    detector = Tiny(tmp_path)
    given = [frames(2, 24 + k % 3, 32) for k in range(12)]
    expected = [[one.scores for one in detector(each)] for each in given]
    with ThreadPoolExecutor(4) as pool:
        found = [[one.scores for one in each] for each in pool.map(detector, given)]
    assert np.array_equal(found, expected)


def test_a_graph_is_made_once_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = Tiny(tmp_path)
    monkeypatch.setattr(_torch_detector, "convert", None)
    again, given = Tiny(tmp_path), frames(1, 24, 32)
    assert np.array_equal(first(given)[0].scores, again(given)[0].scores)
    assert again.card() == first.card()


def test_what_openvino_refuses_runs_in_torch_and_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Tiny, "apart", lambda *_: float("nan"))
    monkeypatch.setenv("MAREY_CACHE", str(tmp_path / "cache"))
    detector = Tiny(tmp_path)
    (note,) = detector.warnings
    assert note.startswith("tiny, 32x24: runs in torch, slower: OpenVINO's answers in float32")
    assert detector.card().runtime == "torch cpu"
    given = frames(1, 24, 32)
    assert np.array_equal(detector(given)[0].scores, Tiny(tmp_path, "torch")(given)[0].scores)
    with pytest.raises(RefusedError, match="differ from the network's"):
        Tiny(tmp_path, "openvino")


def test_without_openvino_it_runs_in_torch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("marey.runtime.find_spec", lambda name: None)
    assert Tiny(tmp_path).warnings == (
        "tiny, 32x24: runs in torch, slower: OpenVINO is not installed",
    )
    with pytest.raises(MissingExtraError, match="OpenVINO is not installed"):
        Tiny(tmp_path, "openvino")
