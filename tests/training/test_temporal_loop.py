from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import event_toy as toys
import numpy as np
import pytest
import torch
from event_toy import LABELS, MADE_BY, RECIPE, make_toy
from safetensors.torch import load_file

from marey.data.annotations import Annotations
from marey.errors import DataError, RecipeError
from marey.models._temporal_head import Features, TemporalHead
from marey.training import temporal_trainer
from marey.training.loop import Run
from marey.training.temporal_loop import evaluate_temporal, train_temporal
from marey.training.temporal_recipe import TemporalRecipe
from marey.types import Event, Video

Toy = tuple[list[Features], Annotations]


@pytest.fixture(scope="module")
def toy() -> Toy:
    return make_toy(8)


def run(toy: Toy, out: Path, recipe: TemporalRecipe = RECIPE, **options: Any) -> Run:
    features, annotations = toy
    return train_temporal(
        features, annotations, recipe, made_by=MADE_BY, out=out, bar=False, **options
    )


def same(one: Path, other: Path) -> bool:
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


@pytest.fixture(scope="module")
def whole(toy: Toy, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing interrupts."""
    return run(toy, tmp_path_factory.mktemp("temporal") / "whole")


def test_a_run_leaves_what_it_promises(whole: Run, toy: Toy) -> None:
    assert {path.name for path in whole.out.iterdir()} == {
        *("best", "last", "state.pt", "split.csv", "metrics.jsonl")
    }
    rows = [json.loads(line) for line in (whole.out / "metrics.jsonl").read_text().splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert [row["step"] for row in rows] == [2, 4, 6]
    head = TemporalHead.load(whole.best)
    assert head.config.labels == LABELS
    assert (head.config.stride, head.config.network) == (toys.STRIDE, toys.NETWORK)
    assert head.config.made_by == MADE_BY
    assert len(head.config.thresholds) == len(LABELS)
    extra = head.config.extra
    assert extra["recipe"] == RECIPE.of_head()
    assert (
        extra["metrics"]
        == whole.metrics
        == max(rows, key=lambda row: (row["val_map"], row["val_map_strict"]))
    )
    assert [one["label"] for one in extra["by_label"]["labels"]] == list(LABELS)


def test_what_was_measured_can_be_measured_again(whole: Run, toy: Toy) -> None:
    features, annotations = toy
    metrics = evaluate_temporal(TemporalHead.load(whole.best), features, annotations.split("val"))
    assert metrics.loose == whole.metrics["val_map"]
    assert metrics.at(0.5) == whole.metrics["val_map_50"]


def test_the_same_seed_gives_the_same_weights(whole: Run, toy: Toy, tmp_path: Path) -> None:
    torch.manual_seed(99)  # whatever chance another process starts from
    assert same(run(toy, tmp_path / "again").last, whole.last)
    other = run(toy, tmp_path / "other", RECIPE.replace({"seed": 1}))
    assert not same(other.last, whole.last)


def test_resumed_equals_uninterrupted_bit_for_bit(
    whole: Run, toy: Toy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The power fails in the second epoch, when it is trained but nothing of it is saved yet."""
    measure = temporal_trainer.measure_events
    calls = iter(range(9))

    def failing(*events: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return measure(*events)

    monkeypatch.setattr(temporal_trainer, "measure_events", failing)
    with pytest.raises(KeyboardInterrupt):
        run(toy, tmp_path)
    monkeypatch.undo()
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 1
    with pytest.raises(RecipeError, match="holds a run already"):
        run(toy, tmp_path)
    resumed = run(toy, tmp_path, resume=True)
    for name in ("best", "last"):
        assert same(tmp_path / name, whole.out / name)
    assert resumed.metrics == whole.metrics
    assert TemporalHead.load(resumed.best).config == TemporalHead.load(whole.best).config
    assert "finished already" in run(toy, tmp_path, resume=True).warnings[-1]


def test_another_run_is_not_resumed(whole: Run, toy: Toy) -> None:
    with pytest.raises(RecipeError, match=r"other lr = 0.001"):
        run(toy, whole.out, RECIPE.replace({"lr": 0.5}), resume=True)
    features, annotations = toy
    changed = dataclasses.replace(features[0], values=features[0].values + 1)
    with pytest.raises(RecipeError, match="other data"):
        run(([changed, *features[1:]], annotations), whole.out, resume=True)


def test_without_validation_there_is_only_last(toy: Toy, tmp_path: Path) -> None:
    features, annotations = toy
    unsplit = annotations.with_videos(
        dataclasses.replace(video, split=None) for video in annotations.videos
    )
    done = run((features, unsplit), tmp_path / "all", RECIPE.replace({"epochs": 1, "folds": 0}))
    assert done.best == done.last == tmp_path / "all" / "last"
    assert not (tmp_path / "all" / "best").exists()
    assert Annotations.read(tmp_path / "all" / "split.csv", find=_video).splits == ("train",)
    done = run((features, unsplit), tmp_path / "fold", RECIPE.replace({"epochs": 1, "folds": 4}))
    written = Annotations.read(tmp_path / "fold" / "split.csv", find=_video)
    assert [len(written.split(name)) for name in ("train", "val")] == [6, 2]
    assert done.metrics.keys() >= {"val_map", "val_map_strict", "val_map_50"}


def _video(name: str) -> Video:
    return Video(name, "mp4", "h264", 8, 8, None, -1.0, None, None)


def test_patience_ends_a_run(toy: Toy, tmp_path: Path) -> None:
    still = RECIPE.replace({"epochs": 20, "patience": 2, "lr": 0, "ema": 0})
    run(toy, tmp_path, still)
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 3


def test_features_that_do_not_fit_are_refused(toy: Toy, tmp_path: Path) -> None:
    features, annotations = toy
    one = features[1]

    def refused(message: str, *instead: Features) -> None:
        with pytest.raises(DataError, match=message):
            run(([features[0], *instead, *features[2:]], annotations), tmp_path)

    refused("1 of 8 annotated videos have no features: 1.mp4")
    refused("1.mp4: its features are given twice", one, one)
    refused("have 3 channels", dataclasses.replace(one, values=one.values[:3]))
    refused("come every 0.5 s", dataclasses.replace(one, stride=0.5))
    refused("another network", dataclasses.replace(one, network="45"))
    refused("not finite", dataclasses.replace(one, values=np.where(one.values > 1, np.nan, 0)))
    refused("of shape", dataclasses.replace(one, values=one.values[:, :0]))


def test_what_is_odd_is_told(toy: Toy, tmp_path: Path) -> None:
    features, annotations = toy
    first = annotations.videos[0]
    events = (*first.events, Event("run", first.span.end - 0.3, first.span.end, 1.0))
    changed = [dataclasses.replace(first, events=events), *annotations.videos[1:]]
    more = [*features, dataclasses.replace(features[0], video="other.mp4")]
    done = run((more, annotations.with_videos(changed)), tmp_path, RECIPE.replace({"epochs": 1}))
    assert done.warnings == (
        "1 videos with features are not among those annotated here",
        "1 events are shorter than a feature's stride, 0.4 s, and may not be learnt; "
        "make features with a smaller one",
    )


def test_splits_that_cannot_teach_are_refused(toy: Toy, tmp_path: Path) -> None:
    features, annotations = toy
    known = dataclasses.replace(annotations, labels=(*LABELS, "fly"))
    with pytest.raises(DataError, match="no training video has an event of fly"):
        run((features, known), tmp_path)
    empty = annotations.with_videos(
        dataclasses.replace(v, events=()) if v.split == "val" else v for v in annotations.videos
    )
    with pytest.raises(DataError, match="no validation video has an event"):
        run((features, empty), tmp_path)
    with pytest.raises(DataError, match="labels that the head does not know: fly"):
        evaluate_temporal(_head(tmp_path, toy), features, known)


def _head(tmp_path: Path, toy: Toy) -> TemporalHead:
    return TemporalHead.load(run(toy, tmp_path / "run", RECIPE.replace({"epochs": 1})).last)


def test_recipes() -> None:
    assert TemporalRecipe.from_dict(RECIPE.to_dict()) == RECIPE
    for settings, message in (
        ({"width": 0}, "width is 0. Stay between 1 and 4096"),
        ({"epoch": 1}, "unknown key 'epoch'. Choose from epochs"),
        ({"folds": 1}, "fold 0 of 1 does not exist"),
    ):
        with pytest.raises(RecipeError, match=message):
            TemporalRecipe().replace(settings)


def test_it_learns_when_things_happen(tmp_path: Path) -> None:
    """Training to accuracy, on videos that neither training nor validation has seen."""
    recipe = RECIPE.replace({"epochs": 20, "batch": 2, "lr": 3e-3, "warmup": 2, "ema": 0.95})
    done = run(make_toy(24), tmp_path, recipe)
    head = TemporalHead.load(done.best)
    features, annotations = make_toy(12, seed=5)
    metrics = evaluate_temporal(head, features, annotations)
    assert metrics.at(0.5) > 0.9
    spans = {video.name: video.span for video in annotations.videos}
    told = [(one.video, event) for one in features for event in head.detect(one, spans[one.video])]
    marked = sum(len(video.events) for video in annotations.videos)
    assert 0.8 * marked < len(told) < 1.25 * marked, (
        "the thresholds tell about as many as there are"
    )
