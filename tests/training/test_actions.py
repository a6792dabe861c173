"""From boxes marked in key frames to a network that says who does what."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import action_toy as toy
import numpy as np
import pytest
import torch
from action_toy import ACTIONS, BOXES, FAIL_AT, FRAMES, RECIPE, does, lines, make_marked
from commands import Marey

import marey
from marey.boxes import Detections
from marey.errors import DataError, ModelError, RecipeError
from marey.models import _registry as registry
from marey.models._checkpoint import read_config
from marey.models._create import create_model, load_checkpoint
from marey.models._registry import takes_boxes
from marey.outputs import write
from marey.runtime.roi import RoiRuntime, compile_actions
from marey.tasks.track import track
from marey.training import actions
from marey.training.action_metrics import evaluate_actions
from marey.training.actions import evaluate_action_network, train_actions
from marey.training.loop import Run
from marey.training.recipe import Recipe

SHORT = RECIPE.replace({"epochs": 1})
KEYS = ("batch", "lr", "ema", "folds", "label_smoothing", "pretrained", "freeze_norms", "workers")
SAID = [f"--set={key}={json.dumps(getattr(RECIPE, key))}" for key in KEYS]


@dataclass
class Made:
    table: Path
    run: Run

    @property
    def videos(self) -> Path:
        return self.table.parent


@pytest.fixture(autouse=True)
def tiny_boxes_model() -> Iterator[None]:
    toy.register()
    yield
    registry._ENTRIES.pop("tiny_boxes", None)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """A run that has learnt the toy, without an interruption."""
    toy.register()
    home = tmp_path_factory.mktemp("actions")
    table = make_marked(home / "videos")
    return Made(table, train(table, home / "run"))


def train(table: Path, out: Path, recipe: Recipe = RECIPE, **how: Any) -> Run:
    return train_actions("tiny_boxes", table, recipe, out=out, bar=False, **how)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder).state_dict()


def same(one: Path, other: Path) -> bool:
    a, b = weights(one), weights(other)
    return all(torch.equal(a[key], b[key]) for key in a)


def rows(out: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "clips_per_s"} for row in read]


def test_it_learns_what_only_time_tells(made: Made) -> None:
    history = rows(made.run.out)
    assert history[0]["train_loss"] > 0.4  # a coin: 0.69
    assert history[-1]["train_loss"] < 0.1
    assert made.run.metrics["val_map"] == 1
    assert made.run.metrics["val_loss"] == min(row["val_loss"] for row in history)
    assert made.run.warnings == ("tiny_boxes started untrained, without weights",)


def test_a_run_leaves_what_it_promises(made: Made) -> None:
    assert {path.name for path in made.run.out.iterdir()} == {
        *("best", "last", "state.pt", "train.csv", "val.csv", "metrics.jsonl", "tensorboard"),
        *("curves.png", "actions.png"),
    }
    sides = [(made.run.out / f"{name}.csv").read_text().splitlines() for name in ("train", "val")]
    videos = [{line.split(",")[0] for line in side} for side in sides]
    assert [len(names) for names in videos] == [6, 2]
    assert not videos[0] & videos[1]
    assert sum(map(len, sides)) == 8 * 3 * len(BOXES)
    config = read_config(made.run.best)
    assert (config.labels, config.multilabel, config.model) == (ACTIONS, True, "tiny_boxes")
    assert config.extra["actions"] == [[1, "blink"], [2, "rest"]]
    assert config.extra["metrics"] == {
        **made.run.metrics,
        "clips_per_s": config.extra["metrics"]["clips_per_s"],
    }


def test_what_was_learnt_says_who_does_what_in_a_new_video(made: Made, tmp_path: Path) -> None:
    video = toy.make_video(tmp_path / "new.mp4", 5 + 16)
    boxes = detections(tmp_path / "boxes.csv")
    assert takes_boxes(made.run.best)
    runtime = compile_actions(made.run.best)
    assert isinstance(runtime, RoiRuntime)
    assert (runtime.labels, runtime.multilabel) == (ACTIONS, True)
    report = marey.track(video, boxes, actions=made.run.best)
    assert len(report.tracks) == len(BOXES)
    for one in report.tracks:
        (box,) = [k for k, box in enumerate(BOXES) if abs(box[0] - one.boxes[0, 0]) < 3]
        does_it = {event.label for event in report.events if event.actor == one.id}
        assert does_it == {does(5 + 16, box)}
    marked = tmp_path / "tubes.csv"
    every = [f"new,{k / toy.FPS:.3f},{line}" for k in range(FRAMES) for line in _who(5 + 16)]
    marked.write_text("\n".join(every))
    measured = marey.evaluate_tubes([report], marked)
    assert (measured.at(0.2), measured.at(0.5), measured.warnings) == (1, 1, ())


def detections(path: Path) -> Path:
    """What a detector would find in each frame of any of the videos."""
    seen = [f"{k + 1},{','.join(map(str, box))}" for k in range(FRAMES) for box in BOXES]
    path.write_text("frame,x1,y1,x2,y2\n" + "\n".join(seen))
    return path


def test_it_learns_from_what_is_told_of_tracks(made: Made, marey: Marey, tmp_path: Path) -> None:
    boxes, told, reports = detections(tmp_path / "boxes.csv"), ["video,id,label,end"], []
    for number in range(8):
        report = track(made.videos / f"{number}.mp4", boxes)
        reports.append(report)
        for one in report.tracks:
            (box,) = [k for k, box in enumerate(BOXES) if abs(box[0] - one.boxes[0, 0]) < 3]
            if does(number, box) == "blink":  # whoever rests is told by no line
                told.append(f"{number}.mp4,{one.id},blink,")
    write(reports, tmp_path / "tracks.json")
    table = tmp_path / "told.csv"
    table.write_text("\n".join(told))
    how = ["--task", "actions", "-m", "tiny_boxes", "-o", tmp_path / "run", *SAID]
    how += ["--set", "epochs=4", "--tracks", tmp_path / "tracks.json", "--stride", "0.5"]
    done = marey("train", table, *how)
    assert done.returncode == 0, done.stderr
    assert "boxes of which no action is told, learnt as none: " in done.stderr
    row = json.loads(done.stdout)
    assert row["metrics"]["val_map"] == 1
    val = tmp_path / "run" / "val.csv"
    measured = evaluate_action_network(row["best"], val, videos=made.videos, bar=False)
    assert [(one.label, one.ap) for one in measured.actions] == [("blink", 1)]
    assert marey("train", table, *how, "--skip").returncode == 2


def _who(video: int) -> list[str]:
    """The lines of a video's first key frame, from the box on."""
    return [line.split(",", 2)[2] for line in lines(video)[: len(BOXES)]]


# An epoch is four steps and six looks to validate.
@pytest.mark.parametrize(
    ("workers", "save_every", "fail_at"),
    [(2, 1, ("train", 7)), (0, 0, ("train", 11)), (0, 3, ("val", 8))],
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    made: Made, tmp_path: Path, workers: int, save_every: int, fail_at: tuple[str, int]
) -> None:
    recipe = RECIPE.replace({"workers": workers, "save_every": save_every})
    FAIL_AT.append(fail_at)
    try:
        with pytest.raises(KeyboardInterrupt):
            train(made.table, tmp_path / "run", recipe)
    finally:
        FAIL_AT.clear()
    torch.manual_seed(123)  # whatever chance another process starts from
    with pytest.raises(RecipeError, match="holds a run already"):
        train(made.table, tmp_path / "run", recipe)
    resumed = train(made.table, tmp_path / "run", recipe, resume=True)
    for name in ("best", "last"):
        assert same(made.run.out / name, resumed.out / name)
    assert rows(resumed.out) == rows(made.run.out)


def test_a_cache_changes_nothing(made: Made, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    short = SHORT.replace({"batch": 3})  # so that an epoch sees all
    one = train(made.table, tmp_path / "one", short.replace({"cache": str(cache)}))
    kept = {path: path.stat().st_mtime_ns for path in cache.iterdir()}
    assert len(kept) == 8 * 3
    two = train(made.table, tmp_path / "two", short.replace({"cache": str(cache)}))
    assert {path: path.stat().st_mtime_ns for path in cache.iterdir()} == kept
    three = train(made.table, tmp_path / "three", short)
    assert same(one.last, two.last)
    assert same(one.last, three.last)


def test_a_finished_run_and_another_one(made: Made) -> None:
    again = train(made.table, made.run.out, resume=True)
    assert again.warnings[-1] == "the run was finished already"
    assert again.metrics == made.run.metrics
    with pytest.raises(RecipeError, match=r"has other lr = 0\.02"):
        train(made.table, made.run.out, RECIPE.replace({"lr": 1.0}), resume=True)


def test_measured_as_in_its_validation(made: Made, tmp_path: Path) -> None:
    val, found = made.run.out / "val.csv", tmp_path / "found.csv"
    measured = evaluate_action_network(made.run.best, val, videos=made.videos, out=found, bar=False)
    assert measured.mean_ap == made.run.metrics["val_map"]
    assert (measured.frames, measured.warnings) == (6, ())
    assert [one.marked + one.found for one in measured.actions] == [9 + 18, 9 + 18]
    again = evaluate_actions(found, val)
    assert again.actions == measured.actions
    out = tmp_path / "out.csv"
    out.write_text("\n".join({line.rsplit(",", 6)[0] for line in val.read_text().splitlines()[:3]}))
    less = evaluate_action_network(
        made.run.best, val, videos=made.videos, excluded=out, out=found, bar=False
    )
    assert less.frames == 5
    assert len(found.read_text().splitlines()) == 5 * len(BOXES) * len(ACTIONS)


class Finder:
    """Finds all boxes but the last, and something that is no person."""

    warnings = ("made up",)

    def __call__(self, frames: np.ndarray) -> list[Detections]:
        assert frames.shape == (1, toy.HEIGHT, toy.WIDTH, 3)
        boxes = np.array([*BOXES[:-1], (0, 0, 9, 9), (0, 0, 30, 30)], np.float32)
        labels = (*("person",) * (len(BOXES) - 1), "car", "person")
        return [Detections(boxes, np.array([0.9, 0.8, 0.9, 0.1], np.float32), labels)]


def test_a_detectors_people_may_be_judged(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(actions, "make_detector", lambda name: Finder())
    val, found = made.run.out / "val.csv", tmp_path / "found.csv"
    measured = evaluate_action_network(
        made.run.best, val, videos=made.videos, detector="mine", out=found, bar=False
    )
    assert measured.warnings == ("made up",)
    assert len(found.read_text().splitlines()) == 6 * 2 * len(ACTIONS)
    for one in measured.actions:
        missed = sum(
            line.split(",")[6] == one.label and line.endswith(",2")
            for line in val.read_text().splitlines()
        )
        assert one.ap == pytest.approx(1 - missed / one.marked)


def test_numbers_and_a_list_of_actions(made: Made, tmp_path: Path) -> None:
    """Lines of actions that are not in the list count as none: somebody who does nothing of it."""
    number = {"blink": "7", "rest": "3"}
    marked = tmp_path / "numbers.csv"
    rows = [line.split(",") for k in range(8) for line in lines(k)]
    marked.write_text("\n".join(",".join([*r[:6], number[r[6]], r[7]]) for r in rows))
    listed = tmp_path / "list.pbtxt"
    listed.write_text('item {\n  name: "blink"\n  id: 7\n}\n')
    how = {"videos": made.videos, "classes": listed}
    run = train(marked, tmp_path / "run", **how)
    rest = sum(r[6] == "rest" for r in rows)
    assert f"lines of other actions, which count as none: {rest}" in run.warnings
    assert load_checkpoint(run.best).labels == ("blink",)
    assert run.metrics["val_map"] == 1
    measured = evaluate_action_network(run.best, marked, videos=made.videos, bar=False)
    assert [(one.number, one.label) for one in measured.actions] == [(7, "blink")]
    assert measured.mean_ap == 1
    with pytest.raises(DataError, match="actions that the network does not know: rest"):
        evaluate_action_network(made.run.best, marked, videos=made.videos, classes=_of(tmp_path))


def _of(folder: Path) -> Path:
    path = folder / "other.pbtxt"
    path.write_text('item {\n  name: "blink"\n  id: 7\n}\nitem {\n  name: "resting"\n  id: 3\n}\n')
    return path


def test_the_same_actions_keep_the_head_and_others_get_a_new_one(
    made: Made, tmp_path: Path
) -> None:
    still = SHORT.replace({"lr": 0.0, "freeze_norms": True, "ema": 0.0})
    how: dict[str, Any] = {"videos": made.videos, "bar": False}
    run = train_actions(made.run.best, made.table, still, out=tmp_path / "same", **how)
    assert same(run.best, made.run.best)
    assert run.metrics["val_map"] == 1
    other = tmp_path / "other.csv"
    other.write_text(made.table.read_text().replace("rest", "lie"))
    run = train_actions(made.run.best, other, still, out=tmp_path / "other", **how)
    assert "the head is new, of 2 classes" in run.warnings
    changed = [key for key, value in weights(run.best).items() if key.startswith("head")]
    assert not torch.equal(weights(run.best)[changed[0]], weights(made.run.best)[changed[0]])


def test_the_head_may_learn_alone(made: Made, tmp_path: Path) -> None:
    recipe = SHORT.replace({"freeze": 2, "freeze_norms": True, "folds": 0, "ema": 0.0})
    run = train(made.table, tmp_path / "run", recipe)
    assert run.best == run.last
    torch.manual_seed(recipe.seed)
    before = create_model("tiny_boxes", classes=ACTIONS).state_dict()
    moved = {key for key, value in weights(run.best).items() if not value.equal(before[key])}
    assert moved == {"head.linear.weight", "head.linear.bias"}


def test_nobody_left_in_the_picture_is_nothing_to_learn(made: Made, tmp_path: Path) -> None:
    recipe = SHORT.replace({"crop": [0.01, 0.01], "folds": 0})
    run = train(made.table, tmp_path / "run", recipe)
    assert 0 <= run.metrics["train_loss"] < 0.7


def test_a_file_of_its_own_may_validate(made: Made, tmp_path: Path) -> None:
    val = tmp_path / "val.csv"
    val.write_text("\n".join(lines(7)))
    run = train(made.table, tmp_path / "run", SHORT, videos=made.videos, validation=val)
    assert (run.out / "val.csv").read_text().count("\n") == len(lines(7))
    assert run.warnings[-1] == "videos that are learnt from and validate, too: 1"
    assert (run.out / "train.csv").read_text().count("\n") == 8 * len(lines(7))
    val.write_text("7,1,0,0,1,1,9\n".replace(",9", ",2"))
    listed = tmp_path / "list.pbtxt"
    listed.write_text('item {\n  name: "a"\n  id: 1\n}\n')
    marked = tmp_path / "marked.csv"
    marked.write_text("6,1,0,0,1,1,1\n")
    how = {"videos": made.videos, "classes": listed}
    with pytest.raises(DataError, match="no line has one of the actions"):
        train(marked, tmp_path / "other", SHORT, validation=val, **how)


def test_others_are_refused(made: Made, tmp_path: Path) -> None:
    for name in ("r3d_18", "efficientnet_lite0.in1k"):
        with pytest.raises(ModelError, match=f"{name}: judges clips, not boxes in them"):
            train_actions(name, made.table, SHORT, out=tmp_path / "run")
    for name in ("efficientnet_lite0.in1k", "net.onnx"):
        with pytest.raises(ModelError, match="judges clips"):
            evaluate_action_network(name, made.table)


def test_the_command(made: Made, marey: Marey, tmp_path: Path) -> None:
    given = ["--task", "actions", "-m", "tiny_boxes", "-o", tmp_path / "run", *SAID]
    done = marey("train", made.table, *given, "--set", "epochs=1")
    assert done.returncode == 0, done.stderr
    row = json.loads(done.stdout)
    assert row["best"] == str(tmp_path / "run" / "best")
    assert 0 <= row["metrics"]["val_map"] <= 1
    val = [tmp_path / "run" / "val.csv", "--task", "actions", "--videos", made.videos]
    done = marey("evaluate", *val, "-m", row["best"], "-o", tmp_path / "found.csv")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["mean_ap"] == row["metrics"]["val_map"]
    again = marey("evaluate", *val[:3], "--actions", tmp_path / "found.csv")
    assert json.loads(again.stdout)["mean_ap"] == row["metrics"]["val_map"]
    assert marey("evaluate", *val, "--actions", tmp_path / "found.csv").returncode == 2
    assert marey("train", made.table, "--task", "actions").returncode == 2
    assert marey("train", made.table, "--videos", made.videos, "--recipe", "x").returncode == 2
