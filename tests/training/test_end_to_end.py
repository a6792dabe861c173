"""Network and head learn together: the same gradients in less memory, a network that moves."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import toy
from event_videos import SETTINGS, WINDOW, make_annotated, make_network, make_video, some_events
from safetensors.torch import load_file
from torch import Tensor, nn

import marey
from marey.errors import RecipeError
from marey.models._create import load_checkpoint
from marey.models._embedding import Embedding
from marey.models._net import Net
from marey.models._temporal_head import TemporalHead
from marey.nn.clip import normalise
from marey.nn.heads import Mean
from marey.nn.temporal import TemporalDetector, points
from marey.nn.temporal_loss import Targets, assign, temporal_loss
from marey.runtime.torch import TorchRuntime
from marey.tasks.features import features
from marey.training import temporal_trainer
from marey.training.detector import evaluate_detector, train_detector
from marey.training.end_to_end import EndToEnd
from marey.training.end_to_end_data import Asked, Seen, look
from marey.training.loop import Run
from marey.training.temporal_recipe import TemporalRecipe
from marey.video.clips import clips
from marey.video.prepare import centre_crop
from marey.video.read import open_video
from marey.video.windows import pick, windows

RECIPE = TemporalRecipe(**SETTINGS).replace(  # type: ignore[arg-type]
    {"epochs": 3, "network_epochs": 2, "network_lr": 1e-3, "network_length": 32}
)
STRIDE = 0.25


class Still(Net):
    """Looks at each frame by itself."""

    mixes_time = False

    def __init__(self) -> None:
        layers = [nn.Conv3d(3, 8, (1, 3, 3), stride=(1, 2, 2)), nn.BatchNorm3d(8), nn.ReLU()]
        body = nn.Sequential()
        body.add_module("stem", nn.Sequential(*layers))
        super().__init__(body, Mean(8, 2))
        self.architecture = self.name = "still"
        self.options, self.input = {}, toy.PREPARE


def still() -> Net:
    torch.manual_seed(0)
    return Still().eval()


NETS: dict[str, Callable[[], Net]] = {"mixing": toy.create, "still": still}


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_video(tmp_path_factory.mktemp("videos") / "a.mp4", some_events(3))


def seen_in(video: Path, net: Net, start: int, length: int, window: float | None = None) -> Seen:
    """What a step looks at, the centres of the pictures."""
    seen = look(video, start, length, Asked(net.input, window, STRIDE, not net.mixes_time))
    flat = centre_crop(seen.clips.flatten(0, 1).numpy(), net.input.size)
    cut = torch.from_numpy(np.ascontiguousarray(flat)).unflatten(0, seen.clips.shape[:2])
    return seen._replace(clips=cut)


def plainly(video: Path, net: Net, start: int, length: int) -> Tensor:
    """The same features, C L, by one pass of the whole network over all clips."""
    with open_video(video) as reader:
        spans = list(windows(reader.video.duration or 0, WINDOW, STRIDE))[start : start + length]
        plan = [(span, pick(span, net.input, reader.video.fps)) for span in spans]
        found = list(clips(reader, plan, size=net.input.resize))
    frames = np.stack([centre_crop(clip.frames, net.input.size) for clip in found])
    return Embedding(net)(normalise(torch.from_numpy(frames), net.input)).T  # type: ignore[no-any-return]


def loss_of(values: Tensor, head: TemporalDetector) -> Tensor:
    spans, labels = torch.tensor([[3.0, 9.0], [11.0, 18.0]]), torch.tensor([0, 1])
    targets = assign(points(values.shape[1], head.levels), spans, labels, 2)
    return temporal_loss(head(values[None]), Targets(*(part[None] for part in targets)), 4.0)


@pytest.mark.parametrize("kind", NETS)
def test_gradients_are_those_of_the_whole_stretch_at_once(kind: str, video: Path) -> None:
    net = NETS[kind]()
    head = TemporalDetector(net.head.linear.in_features, 2, width=8, levels=3, dropout=0)
    both = EndToEnd(net, head).train()
    plain_net, plain_head = copy.deepcopy(net).eval(), copy.deepcopy(head).train()
    loss = loss_of(both.features(seen_in(video, net, 7, 20)), head)
    plain = loss_of(plainly(video, plain_net, 7, 20), plain_head)
    assert loss.item() == pytest.approx(plain.item(), rel=1e-5)
    loss.backward()  # type: ignore[no-untyped-call]
    plain.backward()  # type: ignore[no-untyped-call]
    compared = 0
    for one, other in ((net, plain_net), (head, plain_head)):
        for (name, a), b in zip(one.named_parameters(), other.parameters(), strict=True):
            if name.startswith("head.linear"):
                assert a.grad is None is b.grad
                continue
            assert a.grad is not None
            assert b.grad is not None
            assert b.grad.abs().max() > 0, name
            torch.testing.assert_close(
                a.grad, b.grad, rtol=1e-3, atol=1e-5 * float(b.grad.abs().max())
            )
            compared += 1
    assert compared > 10


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("window", [None, 0.5, 2.5])
def test_a_step_sees_the_features_that_the_verb_gives(
    kind: str, window: float | None, video: Path
) -> None:
    net = NETS[kind]()
    whole = features(video, TorchRuntime(Embedding(net)), window=window, stride=STRIDE).values
    both = EndToEnd(net, TemporalDetector(whole.shape[1], 2))
    for start in (0, 13, len(whole) - 16):
        made = both.features(seen_in(video, net, start, 16, window)).T.detach()
        np.testing.assert_allclose(made, whole[start : start + 16], rtol=1e-4, atol=1e-5)
    assert np.abs(np.diff(whole, axis=0)).max() > 0.01, "or any place would do"


def test_memory_does_not_grow_with_the_stretch(video: Path) -> None:
    """What is kept for the way back: of a stretch at once all maps, by clips the pixels only."""
    net = toy.create()
    both = EndToEnd(net, TemporalDetector(16, 2))
    held = [0]

    def count(x: Tensor) -> Tensor:
        held[-1] += x.numel() * x.element_size()
        return x

    with torch.autograd.graph.saved_tensors_hooks(count, lambda x: x):
        both.features(seen_in(video, net, 0, 30))
        held.append(0)
        plainly(video, net, 0, 30)
    assert 10 * held[0] < held[1]


@dataclass
class Made:
    network: Path
    table: Path
    cache: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    home = tmp_path_factory.mktemp("end-to-end")
    return Made(make_network(home / "net"), make_annotated(home, 4), home / "cache")


def train(made: Made, out: Path, recipe: TemporalRecipe = RECIPE, **how: Any) -> Run:
    return train_detector(
        made.network, made.table, recipe, out=out, cache=made.cache, bar=False, **how
    )


@pytest.fixture(scope="module")
def whole(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that nothing interrupts; the network's stem stays as it is."""
    return train(made, tmp_path_factory.mktemp("whole"), RECIPE.replace({"freeze": 1}))


def same(one: Path, other: Path) -> bool:
    a, b = (load_file(folder / "model.safetensors") for folder in (one, other))
    return a.keys() == b.keys() and all(torch.equal(a[key], b[key]) for key in a)


def test_the_network_moves_and_the_head_names_the_new_one(whole: Run, made: Made) -> None:
    before = load_file(made.network / "model.safetensors")
    after = load_file(whole.last / "network" / "model.safetensors")
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {"body.mix.0.weight", "body.mix.0.bias"}
    config = TemporalHead.load(whole.last).config
    assert config.made_by == {"model": "network", "window": None, "stride": WINDOW / 4}
    assert config.network == Embedding(load_checkpoint(whole.last / "network")).network
    head = TemporalHead.load(whole.out / "head" / "last")
    assert head.config.network == Embedding(load_checkpoint(made.network)).network
    assert config.network != head.config.network
    assert same(whole.out / "head" / "last" / "network", made.network)
    assert not same(whole.last, whole.out / "head" / "last")


def test_the_verbs_take_it_as_any_head(whole: Run, made: Made, video: Path) -> None:
    report = marey.detect(video, str(whole.last), threshold=0.01)
    assert report.events
    assert report.model.network == TemporalHead.load(whole.last).config.network
    found = evaluate_detector(whole.last, made.table, split="val", cache=made.cache, bar=False)
    rows = (whole.out / "metrics.jsonl").read_text().splitlines()
    assert len(rows) == 2
    last = TemporalHead.load(whole.last).config.extra["metrics"]
    assert found.metrics.loose == pytest.approx(last["val_map"], abs=0.01)


@pytest.mark.parametrize("place", ["head", "step", "validation"])
def test_a_killed_run_goes_on(
    place: str, whole: Run, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed while the head learns, in the midst of the second epoch together, at its end."""
    alone = 2 * RECIPE.epochs  # steps; together there are three in an epoch
    name, last = {
        "head": ("measure_events", 1),
        "step": ("temporal_loss", alone + 4),
        "validation": ("measure_events", RECIPE.epochs + 1),
    }[place]
    real, calls = getattr(temporal_trainer, name), iter(range(1000))

    def failing(*given: Any) -> Any:
        if next(calls) == last:
            raise KeyboardInterrupt
        return real(*given)

    recipe = RECIPE.replace({"freeze": 1, "save_every": 1})
    with monkeypatch.context() as patch:
        patch.setattr(temporal_trainer, name, failing)
        with pytest.raises(KeyboardInterrupt):
            train(made, tmp_path, recipe)
    with pytest.raises(RecipeError, match="holds a run already"):
        train(made, tmp_path, recipe)
    resumed = train(made, tmp_path, recipe, resume=True)
    for name in ("best", "last"):
        assert same(tmp_path / name, whole.out / name)
        assert same(tmp_path / name / "network", whole.out / name / "network")
    assert resumed.metrics == whole.metrics
    assert (tmp_path / "metrics.jsonl").read_text() == (whole.out / "metrics.jsonl").read_text()
    assert "finished already" in train(made, tmp_path, recipe, resume=True).warnings[-1]


def test_another_run_is_refused(whole: Run, made: Made) -> None:
    with pytest.raises(RecipeError, match=r"other network_lr = 0.001"):
        train(made, whole.out, RECIPE.replace({"freeze": 1, "network_lr": 0.1}), resume=True)
    with pytest.raises(RecipeError, match=r"it has other .*network_epochs = 2"):
        train(made, whole.out, RECIPE.replace({"network_epochs": 0}), resume=True)


def test_what_does_not_help_leaves_the_head_as_the_best(made: Made, tmp_path: Path) -> None:
    run = train(made, tmp_path, RECIPE.replace({"network_lr": 0}))
    assert same(run.best, tmp_path / "head" / "best")
    assert same(run.best / "network", made.network)
    assert run.metrics["epoch"] <= RECIPE.epochs
    assert len((tmp_path / "metrics.jsonl").read_text().splitlines()) == 2


def test_what_cannot_be_is_refused(made: Made, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"freeze leaves nothing.*Freeze fewer of its 3 stages"):
        train(made, tmp_path, RECIPE.replace({"freeze": 2, "epochs": 1}))
    with pytest.raises(RecipeError, match="Give the smaller part first"):
        RECIPE.replace({"crop": [0.9, 0.5]})
