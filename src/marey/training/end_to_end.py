"""Network and head learn together: from frames to events, where a head alone learns on features.

A step looks at stretches of a few dozen features. What the network computes for them is not kept
but done again on the way back, a clip at a time (Chen et al. 2016, arXiv 1604.06174), so that
memory is that of one clip and of the features. The network is as it is in use: norms keep their
statistics, nothing is dropped. So gradients are those of the whole stretch at once.
"""

from __future__ import annotations

import copy
import dataclasses
import os
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from marey.data.annotations import Annotations
from marey.data.augment import Augment
from marey.errors import MareyError, RecipeError
from marey.models._checkpoint import save_checkpoint
from marey.models._embedding import Averaged, Embedding
from marey.models._net import Net, freeze, param_groups
from marey.models._temporal_head import Features, TemporalHead, detector
from marey.nn.clip import normalise
from marey.nn.temporal import TemporalDetector
from marey.runtime.temporal import NETWORK
from marey.runtime.torch import TorchRuntime, channels_last
from marey.tasks.many import features_all
from marey.training.end_to_end_data import Asked, Seen, look
from marey.training.loop import Run, keep_sides
from marey.training.state import whole_folder
from marey.training.temporal_data import Place, Stretch
from marey.training.temporal_loop import carry_out, data_hash
from marey.training.temporal_recipe import TemporalRecipe
from marey.training.temporal_trainer import TemporalTrainer, decayed
from marey.types import Event


def train_end_to_end(
    start: Run,
    net: Net,
    features: Mapping[str, Features],
    annotations: Annotations,
    recipe: TemporalRecipe,
    *,
    out: str | os.PathLike[str],
    resume: bool = False,
    bar: bool = True,
) -> Run:
    """Train on from the head that `start` found best, together with `net`, the network under it.

    `features` are those that `net` makes of the videos, by name, and `annotations` have splits.
    `out` gets what `train_temporal` writes: `best` is the head of `start` until one is better.
    """
    head = TemporalHead.load(start.best)
    warnings: list[str] = []
    recipe = keep_sides(recipe, annotations.labels, warnings)
    freeze(net, net.early() if recipe.freeze == "early" else recipe.freeze)
    identity = {
        "recipe": recipe.of_both(),
        "data": data_hash(annotations, features),
        "labels": list(annotations.labels),
        "made_by": dict(head.config.made_by),
    }

    def trainer(out: Path) -> EndToEndTrainer:
        return EndToEndTrainer(start, head, net, features, annotations, recipe, out, identity)

    return carry_out(trainer, annotations, identity, out, warnings, resume=resume, bar=bar)


class EndToEnd(nn.Module):
    """A network and the head on its features."""

    def __init__(self, network: Net, head: TemporalDetector) -> None:
        super().__init__()
        self.network, self.head = network, head
        self.by_frame = not network.mixes_time

    def train(self, mode: bool = True) -> EndToEnd:
        """The head trains; the network is as it is in use."""
        super().train(mode)
        self.network.eval()
        return self

    def features(self, seen: Seen) -> Tensor:
        """The features of a stretch, C L, through which gradients reach the network."""
        # Frames alone are taken as many at a time as make a clip.
        many = self.network.input.frames if self.by_frame else 1
        clips = seen.clips.split(many)  # type: ignore[no-untyped-call]
        made = [checkpoint(self._look, some, use_reentrant=False) for some in clips]
        return torch.cat(made).T @ seen.weights.T.to(made[0].device)

    def _look(self, clips: Tensor) -> Tensor:
        """uint8 N T H W 3 → N C, as `Embedding` has it."""
        net = self.network
        device = next(net.parameters()).device
        x = net.body(normalise(clips.to(device), net.input))
        found: Tensor = Averaged(net.head)(x)
        return found


class EndToEndTrainer(TemporalTrainer):
    """As its base, with a network that changes: what is validated are its features as it is."""

    def __init__(
        self,
        start: Run,
        head: TemporalHead,
        net: Net,
        features: Mapping[str, Features],
        annotations: Annotations,
        recipe: TemporalRecipe,
        out: Path,
        identity: Mapping[str, Any],
    ) -> None:
        self._start, self._head_before, self._network = start, head, net
        made_by = head.config.made_by
        self.asked = Asked(net.input, made_by["window"], head.config.stride, not net.mixes_time)
        self.augment = Augment(recipe.crop, recipe.flip, recipe.colour)
        config = dataclasses.replace(head.config, made_by={**made_by, "model": NETWORK})
        super().__init__(features, annotations, config, recipe, recipe.together, out, identity)
        if "val" in annotations.splits and not (out / "best").exists():
            with whole_folder(out / "best") as folder:
                shutil.copytree(start.best, folder)

    def _made(self) -> nn.Module:
        learnt = [*self._network.body.parameters(), *_of(self._network.head.frame)]
        if not any(parameter.requires_grad for parameter in learnt):
            raise RecipeError(
                "freeze leaves nothing of the network to learn",
                where=self._network.name,
                do=f"Freeze fewer of its {len(self._network.stages())} stages.",
            )
        channels_last(self._network)
        net = EndToEnd(self._network, detector(self.config, self.recipe.dropout))
        net.head.load_state_dict(self._head_before.net.state_dict())
        return net

    def _groups(self) -> list[dict[str, Any]]:
        net, decay = _whole(self.net), self.recipe.weight_decay
        of_network = param_groups(net.network, self.phase.lr, weight_decay=decay)
        return [*of_network, *decayed(net.head, decay)]

    def _detector(self, net: nn.Module) -> TemporalDetector:
        return _whole(net).head

    def _stretches(self, places: Sequence[Place]) -> list[Stretch]:
        stretches = super()._stretches(places)
        return [
            stretch._replace(values=_whole(self.net).features(self._seen(place)))
            for place, stretch in zip(places, stretches, strict=True)
        ]

    def _seen(self, place: Place) -> Seen:
        """What the network looks at, all pictures of it changed alike."""
        video, epoch = self.videos[place.example], self.progress.epoch
        rng = Random(f"{self.recipe.seed}/{epoch}/{video.name}/{place.start}")
        seen = look(video.path, place.start, place.length, self.asked)
        frames = seen.clips.flatten(0, 1)
        changed = self.augment(frames, self.asked.input.size, rng)
        return seen._replace(clips=changed.reshape(*seen.clips.shape[:2], *changed.shape[1:]))

    @property
    def best(self) -> Mapping[str, Any] | None:
        """The row of the best epoch so far; before one is better, that of the head alone."""
        return super().best or (self._start.metrics if "val" in self.annotations.splits else None)

    @property
    def learnt(self) -> Net:
        """The network that the run is for: the averaged one, if there is one."""
        return _whole(self.net if self.ema is None else self.ema.module).network

    def _found(self, split: str) -> dict[str, tuple[Event, ...]]:
        """As of the base, in the features of the network as it is now."""
        videos = self.annotations.split(split).videos
        seer = TorchRuntime(Embedding(copy.deepcopy(self.learnt)), precision="f32")
        how: dict[str, Any] = {"window": self.asked.window, "stride": self.asked.stride}
        paths = [video.path for video in videos]
        for video, done in zip(videos, features_all(paths, seer, **how), strict=True):
            if isinstance(done.found, MareyError):
                raise done.found
            self.features[video.name] = Features.of(done.found, video.name)
        self.config = dataclasses.replace(self.config, network=seer.card().network or "")
        return super()._found(split)

    def _save_network(self, folder: Path) -> None:
        save_checkpoint(self.learnt, folder / NETWORK, extra=self.identity)


def _whole(net: nn.Module) -> EndToEnd:
    assert isinstance(net, EndToEnd)
    return net


def _of(module: nn.Module | None) -> list[nn.Parameter]:
    return [] if module is None else list(module.parameters())
