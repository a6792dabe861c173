from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toy import LABELS, create

from marey.data.cache import Cache
from marey.data.manifest import Manifest
from marey.errors import DataError
from marey.runtime import compile
from marey.tasks.classify import softmax
from marey.training.evaluate import evaluate
from marey.training.loop import Run
from marey.types import Input, ModelCard


class Told:
    """A runtime that counts, and sees the brightness of the right half against the left."""

    warnings = ()

    def __init__(self, prepare: Input, labels: tuple[str, ...] | None = LABELS) -> None:
        self.input, self.labels = prepare, labels
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, clips: np.ndarray) -> np.ndarray:
        self.shapes.append(clips.shape)
        last = clips[:, -1].astype(np.float32)
        half = last.shape[2] // 2
        right = last[:, :, half:].mean((1, 2, 3)) - last[:, :, :half].mean((1, 2, 3))
        return np.stack([right, -right], 1)

    def card(self) -> ModelCard:
        return ModelCard("told", None, 2, "numpy", "float32", self.input)


def test_what_was_learnt(toy: Path, learnt: Run) -> None:
    evaluation = evaluate(learnt.best, toy, workers=2)
    assert evaluation.metrics.top1 >= 0.9
    assert evaluation.samples == 12
    assert evaluation.protocol == "2x3 views of 8 frames at 16x16"
    assert evaluation.labels == LABELS
    assert evaluation.unreadable == evaluation.warnings == ()
    right = sum(one.label == one.predicted for one in evaluation.predictions)
    assert right == round(12 * evaluation.metrics.top1) == evaluation.metrics.confusion.trace()


def test_json(toy: Path, learnt: Run) -> None:
    data = json.loads(json.dumps(evaluate(learnt.best, toy, workers=0).to_dict()))
    assert set(data["metrics"]["per_class"]) == set(LABELS)
    assert data["metrics"]["top5"] is None
    assert data["protocol"] == "2x3 views of 8 frames at 16x16"
    assert data["data_hash"] == Manifest.read(toy).data_hash()
    assert np.sum(data["metrics"]["confusion"]) == 12
    assert {one["predicted"] for one in data["predictions"]} <= set(LABELS)


def test_probabilities_are_averaged_over_the_views(toy: Path) -> None:
    # Windows of half a second: room for two of them in a second.
    prepare = replace(create().input, seconds=0.5, views=(2, 3))
    told = Told(prepare)
    evaluation = evaluate(told, toy, workers=0)
    assert told.shapes == [(1, 8, 16, 16, 3)] * 6 * 12
    one = Manifest.read(toy)
    told.shapes.clear()
    small = evaluate(told, one, workers=0, batch=4)
    assert {shape[0] for shape in told.shapes} == {4, 2}, "no more than a batch at once"
    assert small.predictions == evaluation.predictions
    single = evaluate(told, one, views=(1, 1), workers=0)
    assert single.protocol == "1x1 views of 8 frames at 16x16"
    assert single.predictions != evaluation.predictions


def test_against_the_network_called_by_hand(toy: Path) -> None:
    net = create()
    evaluation = evaluate(net, toy, views=(1, 1), workers=0)
    from marey.data.dataset import fixed_views
    from marey.data.source import open_source

    sample = Manifest.read(toy).samples[0]
    views = fixed_views(open_source(sample, 0, net.input), net.input, (1, 1))
    p = softmax(compile(net, precision="f32")(views))[0]
    assert evaluation.predictions[0].score == pytest.approx(float(p.max()))


def test_unreadable_videos_are_listed_and_not_counted(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path / "clips")
    (tmp_path / "clips" / LABELS[1] / "3.mp4").write_bytes(b"not a video")
    told = Told(create().input)
    evaluation = evaluate(told, tmp_path / "clips", workers=2)
    assert evaluation.samples == 11
    assert [lost.video.name for lost in evaluation.unreadable] == ["3.mp4"]
    assert "1 of 12 samples left out" in evaluation.warnings[0]
    for path in (tmp_path / "clips").rglob("*.mp4"):
        path.write_bytes(b"not a video")
    with pytest.raises(DataError, match="none of 12 videos can be read"):
        evaluate(told, tmp_path / "clips", workers=0)


def test_labels_must_agree(toy: Path) -> None:
    with pytest.raises(DataError, match=r"1 labels that told does not know: 'retreat'"):
        evaluate(Told(create().input, ("approach", "wait")), toy)
    with pytest.raises(DataError, match="the classes of told have no names"):
        evaluate(Told(create().input, None), toy)


def test_a_network_may_know_more_labels_than_the_data(toy: Path) -> None:
    told = Told(create().input, LABELS[::-1])
    backwards = evaluate(told, toy, workers=0)
    told.labels = LABELS
    assert backwards.metrics.top1 == pytest.approx(1 - evaluate(told, toy, workers=0).metrics.top1)


def test_split_and_cache(toy: Path, learnt: Run, tmp_path: Path) -> None:
    table = tmp_path / "split.csv"
    Manifest.read(toy).stratified(3).write(table)
    cache = Cache(tmp_path / "cache", 12.0)
    first = evaluate(learnt.best, table, split="val", workers=0, cache=cache)
    assert first.samples == 4
    assert first.split == "val"
    assert len(list(cache.folder.glob("*.npy"))) == 4
    assert evaluate(learnt.best, table, split="val", workers=0).predictions == first.predictions
    with pytest.raises(DataError, match="no sample is of split 'test'"):
        evaluate(learnt.best, table, split="test")
