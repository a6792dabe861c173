"""From a table of events and a network to a detector that finds them in a new video."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import event_videos as toys
import numpy as np
import pytest
import torch
import toy
from commands import Marey
from event_videos import SETTINGS, WINDOW, make_annotated, make_network, make_video, some_events
from safetensors.torch import load_file, save_file

import marey
from marey.errors import DataError, ModelError, RecipeError, VideoError, WeightsError
from marey.files import sha256
from marey.models._temporal_head import TemporalHead
from marey.models._weights import OWN_LAYOUT, Weights
from marey.outputs.feature_folder import FeatureFolder
from marey.runtime import Runtime, compile
from marey.runtime.temporal import TemporalRuntime, is_head
from marey.tasks.detect import detect, made_ready
from marey.tasks.features import features, seer
from marey.tasks.many import features_all
from marey.training import detector, temporal_trainer
from marey.training.detector import evaluate_detector, train_detector
from marey.training.loop import Run
from marey.training.temporal_recipe import TemporalRecipe
from marey.types import Report

RECIPE = TemporalRecipe(**SETTINGS)  # type: ignore[arg-type]
SHORT = RECIPE.replace({"epochs": 3})


@dataclass
class Made:
    network: Path
    table: Path
    cache: Path
    run: Run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A detector that has learnt the toy."""
    home = tmp_path_factory.mktemp("detector")
    network, table = make_network(home / "net"), make_annotated(home)
    run = train_detector(network, table, RECIPE, out=home / "run", cache=home / "cache", bar=False)
    return Made(network, table, home / "cache", run)


def train(made: Made, out: Path, recipe: TemporalRecipe = SHORT, **how: Any) -> Run:
    given = {"cache": made.cache, **how}
    return train_detector(made.network, made.table, recipe, out=out, bar=False, **given)


class Counted:
    """A network that counts the clips that it looks at."""

    def __init__(self, runtime: Runtime) -> None:
        self.runtime, self.clips = runtime, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runtime, name)

    def __call__(self, frames: np.ndarray) -> np.ndarray:
        self.clips += len(frames)
        return self.runtime(frames)


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[Counted]:
    """The networks that training used."""
    used: list[Counted] = []

    def counting(model: Any) -> Counted:
        used.append(Counted(seer(model)))
        return used[-1]

    monkeypatch.setattr(detector, "seer", counting)
    return used


def assert_found(report: Report, start: float = 0) -> None:
    """All events of video 99 are there, each within a window's length, and no others."""
    expected = some_events(99, start)
    assert [event.label for event in report.events] == [event.label for event in expected]
    for found, event in zip(report.events, expected, strict=True):
        assert abs(found.start - event.start) < WINDOW
        assert abs(found.end - event.end) < WINDOW


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that no training has seen."""
    return make_video(tmp_path_factory.mktemp("new") / "new.mp4", some_events(99), seed=99)


def test_events_are_found_in_a_new_video(made: Made, new: Path) -> None:
    report = marey.detect(new, str(made.run.best))
    assert_found(report)
    head = TemporalHead.load(made.run.best)
    card = report.model
    assert (card.name, card.network) == (str(made.run.best), head.config.network)
    assert (card.classes, card.multilabel) == (2, True)
    assert (report.top, report.windows) == ((), ())
    assert Report.from_dict(json.loads(json.dumps(report.to_dict()))) == report
    assert head.config.made_by == {"model": "network", "window": None, "stride": WINDOW / 4}
    ready = made_ready(made.run.best)
    assert detect(new, ready).events == report.events


def test_shifting_the_video_shifts_its_events(made: Made, tmp_path: Path) -> None:
    later = make_video(tmp_path / "later.mp4", some_events(99, 7), start=7, seed=99)
    report = detect(later, made.run.best)
    assert report.video.start == 7
    assert_found(report, 7)


def test_a_head_needs_nothing_but_its_folder(made: Made, new: Path, tmp_path: Path) -> None:
    before = detect(new, made.run.best)
    shutil.copytree(made.run.best, tmp_path / "mine")
    hidden = made.network.rename(made.network.with_name("hidden"))
    try:
        after = detect(new, tmp_path / "mine")
    finally:
        hidden.rename(made.network)
    assert after.events == before.events


def test_thresholds_are_its_own_until_others_are_given(made: Made, new: Path) -> None:
    ready = made_ready(made.run.best)
    assert isinstance(ready, TemporalRuntime)
    whole = detect(new, ready).events
    assert detect(new, ready, threshold=1.0).events == ()
    assert len(detect(new, ready, threshold=0.01).events) > len(whole)
    assert {e.label for e in detect(new, ready, thresholds={"glow": 1.0}).events} == {"shine"}
    assert {e.label for e in detect(new, ready, background=["shine"]).events} == {"glow"}
    assert detect(new, ready, shortest=9).events == ()
    with pytest.raises(ModelError, match=r"no label 'glov'.*glow"):
        detect(new, ready, thresholds={"glov": 0.5})
    told = detect(new, ready, smooth=1, leave=0.1, step=2).warnings
    assert told[-1] == "a trained head finds events in features: leave, smooth, step not used"


def test_it_is_measured_by_activitynets_protocol(made: Made) -> None:
    found = evaluate_detector(made.run.best, made.table, split="val", cache=made.cache, bar=False)
    assert found.metrics.loose == made.run.metrics["val_map"]
    assert found.metrics.at(0.5) > 0.9
    assert (found.videos, found.split) == (2, "val")
    assert found.events == sum(len(some_events(number)) for number in (3, 7))


def test_features_are_made_once(made: Made, counted: list[Counted], tmp_path: Path) -> None:
    train(made, tmp_path / "again")
    assert counted[-1].clips == 0
    (spoilt,) = made.cache.glob("5-*.npz")
    with np.load(spoilt) as arrays:
        values = arrays["values"]
    spoilt.write_bytes(spoilt.read_bytes()[:-100])
    run = train(made, tmp_path / "spoilt")
    assert "1 files of features were damaged: made anew" in run.warnings
    windows = round((toys.SECONDS - WINDOW) / (WINDOW / 4)) + 1
    assert counted[-1].clips == windows
    with np.load(spoilt) as arrays:
        assert np.array_equal(arrays["values"], values)
    train(made, tmp_path / "coarse", stride=0.5)
    assert counted[-1].clips > windows
    assert TemporalHead.load(tmp_path / "coarse" / "best").config.stride == 0.5


@pytest.mark.parametrize("how", [{}, {"stride": 0.5}])
def test_the_cache_is_what_the_verb_writes(
    how: dict[str, float], made: Made, marey: Marey, counted: list[Counted], tmp_path: Path
) -> None:
    videos = sorted(made.table.parent.glob("*.mp4"))
    asked = [f"--{key}={value}" for key, value in how.items()]
    done = marey("features", *videos, "-m", made.network, *asked, "-o", tmp_path / "f")
    assert (done.returncode, done.stdout) == (0, "")
    assert len(list((tmp_path / "f").iterdir())) == len(videos)
    train(made, tmp_path / "run", cache=tmp_path / "f", **how)
    assert counted[-1].clips == 0


def same(one: Path, other: Path) -> bool:
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_a_killed_run_goes_on(
    made: Made, counted: list[Counted], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while features are made, and again while it trains: the result is that of one run."""
    whole = train(made, tmp_path / "whole")
    cache, out = tmp_path / "cache", tmp_path / "run"

    def cut(*given: Any, **how: Any) -> Iterator[Any]:
        for number, done in enumerate(features_all(*given, **how)):
            if number == 3:
                raise KeyboardInterrupt
            yield done

    with monkeypatch.context() as patch:
        patch.setattr(detector, "features_all", cut)
        with pytest.raises(KeyboardInterrupt):
            train(made, out, cache=cache)
    assert len(list(cache.iterdir())) == 3
    measure, calls = temporal_trainer.measure_events, iter(range(9))

    def failing(*events: Any) -> Any:
        if next(calls) == 1:
            raise KeyboardInterrupt
        return measure(*events)

    with monkeypatch.context() as patch:
        patch.setattr(temporal_trainer, "measure_events", failing)
        with pytest.raises(KeyboardInterrupt):
            train(made, out, cache=cache)
    windows = round((toys.SECONDS - WINDOW) / (WINDOW / 4)) + 1
    assert counted[-1].clips == 5 * windows
    asked = len(counted)
    with pytest.raises(RecipeError, match="holds a run already"):
        train(made, out, cache=cache)
    assert len(counted) == asked, "that is said before anything is made"
    resumed = train(made, out, cache=cache, resume=True)
    assert counted[-1].clips == 0
    for name in ("best", "last"):
        assert same(out / name, whole.out / name)
        assert is_head(out / name)
        assert same(out / name / "network", made.network)
    assert resumed.metrics == whole.metrics


def test_a_registered_name_needs_no_copy(made: Made, tmp_path: Path) -> None:
    source = (made.network / "model.safetensors").as_uri()
    weights = Weights(source=source, licence="research-only: a test", layout=OWN_LAYOUT)
    toy.register(weights={"toy": weights}, default="toy")
    table = tmp_path / "events.csv"
    make_video(tmp_path / "a.mp4", some_events(3))
    table.write_text("video,start,end,label\na.mp4,2,5,glow\n")
    recipe = SHORT.replace({"epochs": 1, "folds": 0})
    run = train_detector("tiny", table, recipe, out=tmp_path / "run", bar=False)
    assert run.best == run.last
    assert not (run.best / "network").exists()
    assert any("research-only" in warning for warning in run.warnings)
    made_by = TemporalHead.load(run.best).config.made_by
    assert made_by["model"] == "tiny.toy"
    report = detect(tmp_path / "a.mp4", run.best)
    assert any("research-only" in warning for warning in report.warnings)


def test_videos_that_cannot_be_read_are_told_all_at_once(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "data"
    shutil.copytree(made.table.parent, folder, ignore=shutil.ignore_patterns("run", "cache"))
    rows = (folder / "events.csv").read_text()
    (folder / "bad.mp4").write_bytes(b"no video")
    (folder / "events.csv").write_text(rows + "bad.mp4,1,2,glow,train\ngone.mp4,1,2,glow,train\n")
    how: dict[str, Any] = {"cache": tmp_path / "cache", "bar": False}
    with pytest.raises(DataError, match=r"(?s)2 of \d+ annotations.*bad\.mp4.*gone\.mp4"):
        train_detector(made.network, folder / "events.csv", SHORT, out=tmp_path / "run", **how)
    (folder / "good.csv").write_text(rows)

    def broken(*given: Any, **more: Any) -> Iterator[Any]:
        for done in features_all(*given, **more):
            late = Path(done.video).name in ("2.mp4", "4.mp4")
            yield replace(done, found=VideoError("breaks", where=done.video)) if late else done

    monkeypatch.setattr(detector, "features_all", broken)
    lost = r"(?s)2 of 8 videos cannot be read.*2\.mp4.*4\.mp4.*--skip"
    with pytest.raises(DataError, match=lost):
        train_detector(made.network, folder / "good.csv", SHORT, out=tmp_path / "run", **how)
    assert not (tmp_path / "run").exists()
    assert len(list((tmp_path / "cache").iterdir())) == 6, "those of the others are kept"
    table, out = folder / "events.csv", tmp_path / "run"
    run = train_detector(made.network, table, SHORT, out=out, skip=True, **how)
    told = " ".join(run.warnings)
    assert "2 of 10 videos left out: bad.mp4" in told
    assert "2 of 8 videos left out: 2.mp4" in told


def test_another_network_is_refused(made: Made, new: Path, tmp_path: Path) -> None:
    folder = tmp_path / "best"
    shutil.copytree(made.run.best, folder)
    state, config = folder / "network" / "model.safetensors", folder / "network" / "config.json"
    changed = {name: value + 1 for name, value in load_file(state).items()}
    said = json.loads(config.read_text())
    save_file(changed, state)
    config.write_text(json.dumps({**said, "sha256": sha256(state)}))
    with pytest.raises(ModelError, match=r"was taught on features of the network \w+;.*Train it"):
        detect(new, folder)
    shutil.rmtree(folder / "network")
    with pytest.raises(ModelError, match=r"its network is missing.*Copy the head's whole folder"):
        detect(new, folder)


def test_what_is_no_network_names_detect(made: Made, new: Path, marey: Marey) -> None:
    best = made.run.best
    for command in (
        ("classify", new, "-m", best),
        ("features", new, "-m", best, "-o", new.parent / "f"),
        ("watch", new, "-m", best),
        ("models", best),
        ("show", best),
        ("train", made.table, "--task", "detect", "-m", best, "-o", new.parent / "run"),
    ):
        done = marey(*command)
        assert done.returncode == 1, command
        assert "marey detect VIDEO -m" in done.stderr
    with pytest.raises(WeightsError, match="holds a temporal head"):
        compile(best)


def test_the_verbs_do_it_from_table_to_events(
    made: Made, new: Path, marey: Marey, tmp_path: Path
) -> None:
    out, best = tmp_path / "run", made.run.best
    how = [f"--set={key}={value}" for key, value in {**SETTINGS, "epochs": 2}.items()]
    task = ("--task", "detect", "--cache", made.cache)
    done = marey("train", made.table, *task, "-m", made.network, "-o", out, *how)
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["best"] == str(out / "best")
    assert row["metrics"]["epoch"] <= 2
    assert is_head(out / "best")
    done = marey("evaluate", made.table, "-m", best, "--split", "val", *task[2:])
    assert done.returncode == 0, done.stderr
    metrics = json.loads(done.stdout)["metrics"]
    assert metrics["loose"] == made.run.metrics["val_map"]
    assert [label["label"] for label in metrics["labels"]] == ["glow", "shine"]
    done = marey("detect", new, "-m", best)
    assert done.returncode == 0, done.stderr
    assert_found(Report.from_dict(json.loads(done.stdout)))
    assert marey("detect", new, "-m", best, "-o", tmp_path / "new.vtt").returncode == 0
    assert (tmp_path / "new.vtt").read_text().count("-->") == len(some_events(99))
    assert marey("evaluate", made.table, "-m", best, "--views", "1x1").returncode == 2


def test_features_of_the_folder_are_those_of_the_function(made: Made) -> None:
    found = features(made.table.parent / "1.mp4", made.network, stride=WINDOW / 4)
    how = {"window": None, "stride": WINDOW / 4, "decode": "all"}
    folder = FeatureFolder(made.cache, found.model, how)
    kept = folder.find(made.table.parent / "1.mp4")
    assert kept is not None
    assert np.array_equal(kept.values, found.values)
    assert np.array_equal(kept.spans, found.spans)
