from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from toy import LABELS, RECIPE, create

from marey.data.manifest import Manifest
from marey.errors import DataError, MissingExtraError, RecipeError, WeightsError
from marey.models._checkpoint import read_config
from marey.models._create import load_checkpoint
from marey.training.loop import Run, train, train_from
from marey.training.recipe import Recipe
from marey.training.state import STATE


def run(toy: Path, out: Path, recipe: Recipe = RECIPE, net: Any = None, **options: Any) -> Any:
    return train(net or create(), Manifest.read(toy), recipe, out=out, **options)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder).state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def rows(out: Path) -> list[dict[str, Any]]:
    read = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "clips_per_s"} for row in read]


@pytest.fixture(scope="module")
def whole(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nothing interrupts, with two workers."""
    import toy as toys

    toys.register()
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(toy, out, RECIPE.replace({"workers": 2}))
    return out


def test_a_run_leaves_what_it_promises(whole: Path, toy: Path) -> None:
    names = {path.name for path in whole.iterdir()}
    assert names == {
        *("best", "last", STATE, "split.csv", "metrics.jsonl", "tensorboard"),
        *("curves.png", "confusion.png"),
    }
    history = rows(whole)
    assert [row["epoch"] for row in history] == [1, 2, 3, 4]
    assert [row["step"] for row in history] == [2, 4, 6, 8]  # 8 of 12 clips, in batches of 4
    config = read_config(whole / "best")
    assert config.labels == LABELS
    assert config.extra["recipe"]["lr"] == RECIPE.lr
    assert config.extra["data"] == Manifest.read(whole / "split.csv").data_hash()
    assert config.extra["metrics"]["val_top1"] == max(row["val_top1"] for row in history)
    assert Manifest.read(whole / "split.csv").splits == ("train", "val")


# An epoch is two steps and one call to validate: the sixth step is the last of the third epoch.
@pytest.mark.parametrize(
    ("workers", "save_every", "fail_at"),
    [(2, 1, ("train", 6)), (0, 0, ("train", 6)), (0, 1, ("val", 2))],
)
def test_resumed_equals_uninterrupted_bit_for_bit(
    whole: Path, toy: Path, tmp_path: Path, workers: int, save_every: int, fail_at: tuple[str, int]
) -> None:
    recipe = RECIPE.replace({"workers": workers, "save_every": save_every})
    net = create()
    net.fail_at = fail_at
    with pytest.raises(KeyboardInterrupt):
        run(toy, tmp_path / "run", recipe, net)
    torch.manual_seed(123)  # whatever chance another process starts from
    resumed = run(toy, tmp_path / "run", recipe, create(seed=5), resume=True)
    for name in ("best", "last"):
        assert same(weights(whole / name), weights(getattr(resumed, name)))
    assert rows(tmp_path / "run") == rows(whole)


def test_other_seeds_give_other_weights(whole: Path, toy: Path, tmp_path: Path) -> None:
    other = run(toy, tmp_path / "run", RECIPE.replace({"seed": 1, "epochs": 1}))
    assert not same(weights(whole / "last"), weights(other.last))


_CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
import toy
from marey.data.manifest import Manifest
from marey.training.loop import train
toy.register()
recipe = toy.RECIPE.replace({"workers": 2, "save_every": 1})
train(toy.create(), Manifest.read(sys.argv[2]), recipe, out=sys.argv[3], resume=True)
"""


@pytest.mark.slow
def test_a_killed_process_resumes_bit_for_bit(whole: Path, toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    command = [sys.executable, "-c", _CHILD, str(Path(__file__).parent), str(toy), str(out)]
    with subprocess.Popen(command, start_new_session=True) as child:
        patience = time.monotonic() + 120
        while not (out / STATE).exists():
            assert time.monotonic() < patience
            assert child.poll() is None
            time.sleep(0.005)
        os.killpg(child.pid, signal.SIGKILL)
    assert not rows_done(out), "killed too late to show anything"
    subprocess.run(command, check=True, timeout=240)
    for name in ("best", "last"):
        assert same(weights(whole / name), weights(out / name))


def rows_done(out: Path) -> bool:
    return (out / "metrics.jsonl").exists() and len(rows(out)) == RECIPE.epochs


def test_a_finished_run_is_not_run_again(whole: Path, toy: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(whole, out)
    net = create()
    again = run(toy, out, net=net, resume=True)
    assert net.calls["train"] == 0
    assert again.metrics["val_top1"] == max(row["val_top1"] for row in rows(whole))
    assert again.warnings == ("the run was finished already",)


def test_a_folder_with_a_run_is_not_written_over(whole: Path, toy: Path) -> None:
    with pytest.raises(RecipeError, match="holds a run already"):
        run(toy, whole)


def test_resuming_another_run_is_refused(whole: Path, toy: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"has other batch = 4, lr = 0.01"):
        run(toy, whole, RECIPE.replace({"lr": "1", "batch": "2"}), resume=True)
    shutil.copytree(toy, tmp_path / "more")
    shutil.copy(toy / LABELS[0] / "0.mp4", tmp_path / "more" / LABELS[0] / "new.mp4")
    with pytest.raises(RecipeError, match="has other data"):
        run(tmp_path / "more", whole, resume=True)


def test_a_damaged_state_is_named(toy: Path, tmp_path: Path) -> None:
    (tmp_path / STATE).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(WeightsError, match=r"state.pt: is no training state"):
        run(toy, tmp_path, resume=True)


def test_time_can_be_learnt(learnt: Run) -> None:
    losses = [row["train_loss"] for row in rows(learnt.out)]
    assert losses[-1] < 0.5 * losses[0]
    assert learnt.best == learnt.last, "without validation the last is the best"
    assert not (learnt.out / "best").exists()


def test_early_stop(toy: Path, tmp_path: Path) -> None:
    # With a learning rate of nothing no epoch is better than the first.
    recipe = RECIPE.replace({"epochs": 50, "patience": 2, "lr": 0.0, "freeze_norms": True})
    run(toy, tmp_path / "run", recipe)
    assert len(rows(tmp_path / "run")) == 3


def test_frozen_parts_stay(toy: Path, tmp_path: Path) -> None:
    net = create()
    before = {key: value.clone() for key, value in net.state_dict().items()}
    recipe = RECIPE.replace({"freeze": 1, "epochs": 1, "freeze_norms": True})
    after = weights(run(toy, tmp_path / "run", recipe, net).last)
    changed = {key for key in after if not torch.equal(after[key], before[key])}
    assert changed
    assert not {key for key in changed if key.startswith("body.stem")}


def test_another_head_for_other_labels(toy: Path, tmp_path: Path) -> None:
    done = run(toy, tmp_path / "run", RECIPE.replace({"epochs": 1}), create(7))
    assert done.warnings == ("the head of 7 classes is replaced by one of 2",)
    assert load_checkpoint(done.best).labels == LABELS


def test_the_same_labels_keep_head_and_order(toy: Path, tmp_path: Path) -> None:
    backwards = LABELS[::-1]
    done = run(toy, tmp_path / "run", RECIPE.replace({"epochs": 1}), create(backwards))
    assert done.warnings == ()
    assert load_checkpoint(done.best).labels == backwards


def test_labels_with_sides_are_not_mirrored(toy: Path, tmp_path: Path) -> None:
    for label, new in zip(LABELS, ("turn_left", "turn right"), strict=True):
        shutil.copytree(toy / label, tmp_path / "clips" / new)
    recipe = RECIPE.replace({"epochs": 1, "flip": True})
    done = train_from(tmp_path / "clips", recipe, out=tmp_path / "run")
    assert done.warnings[-1] == "clips are not mirrored, because of the label 'turn right'"
    assert read_config(done.best).extra["recipe"]["flip"] is False


def test_unreadable_videos_are_left_out_and_told(toy: Path, tmp_path: Path) -> None:
    shutil.copytree(toy, tmp_path / "clips")
    (tmp_path / "clips" / LABELS[0] / "0.mp4").write_bytes(b"not a video")
    done = train_from(tmp_path / "clips", RECIPE.replace({"epochs": 1}), out=tmp_path / "run")
    untrained, warning = done.warnings
    assert untrained == "tiny started untrained, without weights"
    assert "samples left out" in warning
    assert "0.mp4: " in warning
    for path in (tmp_path / "clips").rglob("*.mp4"):
        path.write_bytes(b"not a video")
    with pytest.raises(DataError, match="none of 8 videos can be read; the first: "):
        train_from(tmp_path / "clips", RECIPE, out=tmp_path / "other")


def test_given_splits_are_used(toy: Path, tmp_path: Path) -> None:
    lines = [
        f"{toy / label / f'{k}.mp4'},{label},{split}"
        for label in LABELS
        for k, split in enumerate(["train", "train", "val", "test", "train", "train"])
    ]
    table = tmp_path / "clips.csv"
    table.write_text("video,label,split\n" + "\n".join(lines))
    run(table, tmp_path / "run", RECIPE.replace({"epochs": 1}))
    used = Manifest.read(tmp_path / "run" / "split.csv")
    assert (len(used.split("train")), len(used.split("val"))) == (8, 2)
    assert used.splits == ("train", "val")


def test_a_label_without_training_samples(toy: Path, tmp_path: Path) -> None:
    table = tmp_path / "clips.csv"
    a, b = (toy / label / "0.mp4" for label in LABELS)
    table.write_text(f"video,label,split\n{a},{LABELS[0]},train\n{b},{LABELS[1]},val\n")
    with pytest.raises(DataError, match="no training sample has the label 'retreat'"):
        run(table, tmp_path / "run")


def test_nan_is_named(toy: Path, tmp_path: Path) -> None:
    net = create()
    with torch.no_grad():
        net.head.linear.weight.fill_(float("nan"))
    with pytest.raises(RecipeError, match="loss became NaN in step 0"):
        run(toy, tmp_path / "run", net=net)


def test_missing_libraries_are_named(
    toy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "marey.training.extras.find_spec", lambda name: name != "accelerate" or None
    )
    with pytest.raises(
        MissingExtraError, match=r"need accelerate. Run: pip install 'marey\[train\]'"
    ):
        run(toy, tmp_path / "run")


def test_rules_in_the_models_name_get_the_recipes_options(toy: Path, tmp_path: Path) -> None:
    recipe = RECIPE.replace(
        {
            "model": "timm/test_resnet+tam",
            "pretrained": False,
            "size": 64,
            "frames": 3,
            "epochs": 1,
            "freeze": "early",
            "time.stages": "last",
            "time.init": "difference",
        }
    )
    done = train_from(toy, recipe, out=tmp_path / "run")
    assert done.warnings == (
        "timm/test_resnet+tam:stages=last:init=difference started untrained, without weights",
    )
    trained = load_checkpoint(done.last)
    assert trained.options["rule"] == "tam:stages=last:init=difference"
    assert (trained.options["frames"], trained.input.frames) == (3, 3)
    everywhere = recipe.replace({"time": {}})
    told = train_from(toy, everywhere, out=tmp_path / "other").warnings
    assert "3 of 4 new layers over time stand in frozen stages and do not learn" in told[-1]


def test_a_name_with_weights_is_not_untrained(toy: Path, tmp_path: Path) -> None:
    recipe = RECIPE.replace({"model": "efficientnet_lite0.in1k", "pretrained": False})
    with pytest.raises(RecipeError, match="names weights, but pretrained is false"):
        train_from(toy, recipe, out=tmp_path / "run")
