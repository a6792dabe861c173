from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from marey.errors import ModelError, WeightsError
from marey.models._temporal_head import Features, HeadConfig, TemporalHead, detector
from marey.nn.temporal import Answers, TemporalDetector
from marey.types import Event, Input, ModelCard, Video, VideoFeatures, Window

CONFIG = HeadConfig(
    labels=("serve", "smash"),
    channels=4,
    stride=0.5,
    network="0123",
    made_by={"model": "x3d_s"},
    width=8,
    levels=2,
    thresholds=(0.5, 0.25),
    extra={"recipe": {"lr": 0.1}},
)


def features(
    cells: int = 8,
    start: float = 0.0,
    stride: float = 0.5,
    channels: int = 4,
    network: str = "0123",
) -> Features:
    values = np.random.default_rng(0).normal(size=(channels, cells)).astype(np.float32)
    return Features("a.mp4", values, start, stride, network)


class Told(TemporalDetector):
    """A network that says what it is told: (label, position, left, right, score), finest level."""

    def __init__(self, *said: tuple[int, int, float, float, float]) -> None:
        super().__init__(CONFIG.channels, len(CONFIG.labels), width=8, levels=1)
        self.said = said

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Answers:
        cells = x.shape[2]
        logits, distances = torch.full((1, 2, cells), -20.0), torch.ones(1, 2, cells)
        for label, position, left, right, score in self.said:
            logits[0, label, position] = torch.tensor(score).logit()
            distances[0, :, position] = torch.tensor([left, right])
        return Answers(logits, distances, torch.ones(1, cells, dtype=torch.bool))


def told(*said: tuple[int, int, float, float, float]) -> TemporalHead:
    return TemporalHead(Told(*said), CONFIG)


def rounded(events: tuple[Event, ...]) -> list[tuple[str, float, float, float]]:
    return [(e.label, e.start, e.end, round(e.score, 4)) for e in events]


def test_events_are_in_seconds_exactly_on_the_grid() -> None:
    # The middle of column 3 is at 100 + 3.5 * 0.5 = 101.75 s; 1.5 columns before and 2 after.
    found = told((0, 3, 1.5, 2.0, 0.75)).detect(features(start=100.0))
    assert rounded(found) == [("serve", 101.0, 102.75, 0.75)]


def test_places_and_seconds_are_each_others_inverse() -> None:
    one = features(start=-1.25, stride=0.4)
    assert one.seconds(np.array([0.0])).tolist() == [-1.05]  # the middle of the first column
    times = np.linspace(-2, 9, 12)
    np.testing.assert_allclose(one.seconds(one.cells(times)), times, atol=1e-12)


def test_rows_of_a_video_become_columns_on_a_grid() -> None:
    """The last window ends with the video, and its column is where the next would have been."""
    prepare = Input(frames=4, size=(8, 8), resize=8, mean=(0,) * 3, std=(1,) * 3)
    starts = np.array([7.0, 7.5, 8.0, 8.2])
    found = VideoFeatures(
        Video("b.mp4", "mp4", "h264", 8, 8, None, 7.0, 10.2, None),
        ModelCard("net", None, 4, "test", "float32", prepare, network="0123"),
        0.5,
        np.stack((starts, starts + 2), 1),
        np.arange(16, dtype=np.float32).reshape(4, 4),
    )
    made = Features.of(found)
    assert (made.video, made.stride, made.network) == ("b.mp4", 0.5, "0123")
    assert made.seconds(np.arange(4.0)).tolist() == [8.0, 8.5, 9.0, 9.5]
    assert np.array_equal(made.values[:, 1], found.values[1])
    assert Features.of(found, "b").video == "b"


def test_shifting_a_video_shifts_its_events() -> None:
    torch.manual_seed(0)
    head = TemporalHead(detector(CONFIG), CONFIG)
    here, there = (head.candidates(features(32, start=start)) for start in (0.0, 8.0))
    assert [(e.label, e.start + 8, e.end + 8, e.score) for e in here] == [
        (e.label, pytest.approx(e.start), pytest.approx(e.end), e.score) for e in there
    ]


def test_each_label_has_its_threshold_and_events_go_by_time() -> None:
    head = told((0, 6, 1, 1, 0.4), (1, 3, 1, 1, 0.4), (0, 1, 1, 1, 0.6))
    assert [e.label for e in head.detect(features())] == ["serve", "smash"]
    assert [round(e.score, 4) for e in head.candidates(features())] == [0.6, 0.4, 0.4]


def test_of_detections_of_one_label_the_best_stays() -> None:
    # 1..5 and 2..6 overlap by 3 of 5; 5..7 touches 2..6 by 1 of 5; the other label is not asked.
    said = [(0, 3, 2, 2, 0.8), (0, 4, 2, 2, 0.9), (0, 6, 1, 1, 0.7), (1, 5, 3, 1, 0.6)]
    found = told(*said).candidates(features())
    assert [(e.label, round(e.score, 4)) for e in found] == [
        ("serve", 0.9),
        ("serve", 0.7),
        ("smash", 0.6),
    ]


def test_events_are_cut_to_the_video() -> None:
    head, span = told((0, 0, 4, 1, 0.9), (0, 7, 1, 9, 0.9)), Window(0.1, 3.9)
    first, last = head.detect(features(), span)
    assert (first.start, last.end) == (0.1, 3.9)
    first, last = head.detect(features())
    assert (first.start, last.end) == (-1.75, 8.25)
    assert told((0, 7, 1, 1, 0.9)).detect(features(), Window(0, 3)) == ()  # nothing is left of it


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"network": "45"}, r"a.mp4: .* of the network 0123, got some of 45.*'model': 'x3d_s'"),
        ({"channels": 5}, r"takes features of 4 channels, got 5"),
        ({"stride": 0.25}, r"takes a feature every 0.5 s, got one every 0.25 s"),
    ],
)
def test_other_features_are_refused(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        told().detect(features(**wrong))


def saved(folder: Path) -> TemporalHead:
    torch.manual_seed(0)
    head = TemporalHead(detector(CONFIG, dropout=0.5), CONFIG)
    head.save(folder)
    return head


def test_a_folder_holds_all_that_is_needed(tmp_path: Path) -> None:
    head = saved(tmp_path / "best")
    assert {path.name for path in (tmp_path / "best").iterdir()} == {
        *("model.safetensors", "config.json"),
    }
    again = TemporalHead.load(tmp_path / "best")
    assert again.config == CONFIG
    found = again.candidates(features(32))
    assert found == head.candidates(features(32))
    assert found, "an untrained head finds something at every point, with little score"


def test_damaged_folders_say_so(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no temporal head"):
        TemporalHead.load(tmp_path)
    saved(tmp_path)
    tensors, config = tmp_path / "model.safetensors", tmp_path / "config.json"
    whole, words = tensors.read_bytes(), config.read_text()
    tensors.write_bytes(whole[:-1])
    with pytest.raises(WeightsError, match=r"is not the file that config.json describes"):
        TemporalHead.load(tmp_path)
    tensors.write_bytes(whole)
    for key, value in {"format": "marey.checkpoint/1", "head": {"labels": ["a"]}}.items():
        config.write_text(json.dumps({**json.loads(words), key: value}))
        with pytest.raises(WeightsError, match="holds no temporal head"):
            TemporalHead.load(tmp_path)
    other = {**json.loads(words)}
    other["head"]["width"] = 9
    config.write_text(json.dumps(other))
    with pytest.raises(WeightsError, match=r"holds no temporal head.*size mismatch"):
        TemporalHead.load(tmp_path)
