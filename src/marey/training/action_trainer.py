"""Networks that judge boxes in clips, taught by key frames; the loop is that of `Trainer`.

A step sees some key frames, each with whoever is in it; every box has a score for every action, and
the loss is the mean of their binary cross-entropies.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.data import Dataset
from torchvision.ops import box_area, clip_boxes_to_image

from marey.data.augment import Augment
from marey.data.key_frames import KeyClip, MarkedActions, scored
from marey.errors import MareyError
from marey.models._net import Net
from marey.nn.clip import normalise
from marey.training import plots
from marey.training.action_metrics import ActionEvaluation, measure_actions
from marey.training.recipe import Recipe
from marey.training.record import Record
from marey.training.trainer import Batch, Trainer
from marey.types import Input

KEPT = 0.25
"""Of a box's area must be in what is cut out of the picture, for it to be learnt from."""


class ActionBatch(NamedTuple):
    """Clips and who is in them: N T H W 3 uint8, and boxes B 5.

    A box is the number of its clip and x1 y1 x2 y2 in its pixels. `targets` are what they do, B K,
    0 and 1 in float32.
    """

    clips: Tensor
    boxes: Tensor
    targets: Tensor


class View(NamedTuple):
    """The whole picture of a clip, T H W 3 uint8, boxes B 4 in its pixels, and its number."""

    frames: Tensor
    boxes: Tensor
    number: int


class TrainKeys(Dataset[Any]):
    """Clips and boxes changed alike at random, and what those do, by the key (epoch, sample)."""

    def __init__(
        self,
        clips: Sequence[KeyClip],
        prepare: Input,
        augment: Augment,
        *,
        seed: int,
        cache: Path | None = None,
    ) -> None:
        self.clips, self.prepare, self.cache = clips, prepare, cache
        self.augment, self.seed = augment, seed

    def __getitem__(self, key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor] | MareyError:
        epoch, index = key
        clip, size = self.clips[index], self.prepare.size
        try:
            frames, boxes = map(torch.from_numpy, clip.look(self.prepare, self.cache))
        except MareyError as error:
            return error
        rng = Random(f"{self.seed}/{epoch}/{index}")
        frames, moved = self.augment.with_boxes(frames, boxes, size, rng)
        inside = clip_boxes_to_image(moved, size)
        kept = box_area(inside) >= KEPT * box_area(moved)
        return frames, inside[kept], torch.from_numpy(clip.targets).float()[kept]


class KeyViews(Dataset[Any]):
    """Whole pictures, as networks judge them in use, by number."""

    def __init__(self, clips: Sequence[KeyClip], prepare: Input, cache: Path | None = None) -> None:
        self.clips, self.prepare, self.cache = clips, prepare, cache

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> View | MareyError:
        try:
            frames, boxes = map(torch.from_numpy, self.clips[index].look(self.prepare, self.cache))
        except MareyError as error:
            return error
        return View(frames, boxes, index)


def together(items: list[Any]) -> ActionBatch | MareyError:
    """A batch; or the first error in it."""
    if error := _first_error(items):
        return error
    clips, boxes, targets = zip(*items, strict=True)
    numbered = [F.pad(part, (1, 0), value=k) for k, part in enumerate(boxes)]
    return ActionBatch(torch.stack(clips), torch.cat(numbered), torch.cat(targets))


def apart(items: list[Any]) -> list[View] | MareyError:
    """Pictures of any shape, as they are; or the first error in them."""
    return _first_error(items) or items


def _first_error(items: list[Any]) -> MareyError | None:
    return next((item for item in items if isinstance(item, MareyError)), None)


@dataclass(frozen=True, slots=True)
class Validation:
    """The mean loss of a box and action, and the frame mAP."""

    loss: float
    actions: ActionEvaluation

    def row(self) -> dict[str, Any]:
        """What a row of `metrics.jsonl` has of it."""
        return {"val_loss": self.loss, "val_map": self.actions.mean_ap}


class ActionTrainer(Trainer[KeyClip]):
    """Learns what the boxes in `train` do; `val` measures it."""

    def __init__(
        self,
        net: Net,
        recipe: Recipe,
        train: MarkedActions,
        val: MarkedActions | None,
        out: Path,
        identity: dict[str, Any],
    ) -> None:
        assert net.labels is not None
        self.val, self.numbers = val, train.numbers(net.labels)
        sides = {"train": train.clips(net.labels), "val": val.clips(net.labels) if val else ()}
        self.val_clips = sides["val"]
        record = ActionRecord(out, train, val, net.name)
        super().__init__(net, recipe, sides, out, record, identity)

    def _samples(self, sources: Sequence[KeyClip], augment: Augment) -> Dataset[Any]:
        how: dict[str, Any] = {"seed": self.recipe.seed, "cache": self._cache}
        return TrainKeys(sources, self.net.input, augment, **how)

    def _views(self, sources: Sequence[KeyClip]) -> Dataset[Any]:
        return KeyViews(sources, self.net.input, self._cache)

    @property
    def _cache(self) -> Path | None:
        return None if self.recipe.cache is None else Path(self.recipe.cache)

    _collate = staticmethod(together)
    _collate_views = staticmethod(apart)

    def _loss(self, batch: Batch) -> Tensor:
        clips, boxes, targets = batch
        with self._autocast():
            logits = self.model(normalise(clips, self.net.input), boxes)
        # As timm's: a little of the certainty is shared out among the classes.
        smoothing, classes = self.recipe.label_smoothing, targets.shape[1]
        targets = targets * (1 - smoothing) + smoothing / classes
        total = F.binary_cross_entropy_with_logits(logits.float(), targets, reduction="sum")
        count: int = max(1, targets.numel())  # all boxes may have been cut off
        return total / count

    def _measured(self, net: Net, batches: Iterable[Batch]) -> Validation:
        assert self.val is not None
        found: dict[int, Tensor] = {}
        for batch in batches:
            rows = []
            for view in cast(list[View], batch):
                with self._autocast():
                    logits = net(normalise(view.frames[None], net.input), [view.boxes])
                rows.append((view.number, logits.float().cpu()))
            found.update(self.accelerator.gather_for_metrics(rows, use_gather_object=True))
        logits = [found[number] for number in range(len(self.val_clips))]
        targets = torch.from_numpy(np.concatenate([clip.targets for clip in self.val_clips]))
        loss = F.binary_cross_entropy_with_logits(torch.cat(logits), targets.float())
        scores = [rows.sigmoid().numpy() for rows in logits]
        boxes = scored(self.val_clips, scores, self.numbers)
        actions = measure_actions(boxes, self.val.boxes, self.val.judged)
        return Validation(float(loss), actions)


class ActionRecord(Record):
    """Of key frames: `train.csv`, `val.csv`, and the precisions of the best epoch by action."""

    score = "val_map"

    def __init__(
        self, out: Path, train: MarkedActions, val: MarkedActions | None, name: str
    ) -> None:
        self.files: Mapping[str, MarkedActions] = {"train": train} | ({"val": val} if val else {})
        counts = [f"{len(set(side.boxes.frames))} {kind}" for kind, side in self.files.items()]
        super().__init__(out, name, f"key frames: {', '.join(counts)}")

    def sides(self) -> None:
        for name, side in self.files.items():
            side.write(self.out / f"{name}.csv")

    def best(self, metrics: Validation) -> None:
        rows = [(one.label, one.ap) for one in metrics.actions.actions if one.ap is not None]
        title = f"{self.name}: frame mAP {100 * metrics.actions.mean_ap:.1f} % of validation"
        plots.precisions(rows, self.out / "actions.png", title)
