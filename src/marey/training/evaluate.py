"""How good a network is on labelled samples, by the multi-view protocol of the field."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from marey.data.cache import Cache
from marey.data.dataset import fixed_views
from marey.data.formats import Sample
from marey.data.manifest import Manifest
from marey.data.source import open_source
from marey.data.survey import Lost, lost_words, refuse_all_lost
from marey.errors import DataError, MareyError, VideoError
from marey.runtime import Runtime, compile
from marey.tasks.classify import softmax
from marey.training.bar import Bar
from marey.training.extras import require_train_extra
from marey.training.metrics import Metrics, measure
from marey.types import Image, Input, ModelCard

if TYPE_CHECKING:
    from marey.models._net import Net

Seen = tuple[int, Image | Lost | MareyError]


@dataclass(frozen=True, slots=True)
class Prediction:
    """What the network said of one sample: the label it gave the best score, and that score."""

    video: str
    start: float | None
    end: float | None
    label: str
    predicted: str
    score: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The result of an evaluation, with the protocol that it depends on.

    `labels` names the rows and columns of `metrics.confusion`. Samples that could not be read are
    in `unreadable` and count for nothing else.
    """

    model: ModelCard
    protocol: str
    split: str | None
    samples: int
    data_hash: str
    labels: tuple[str, ...]
    metrics: Metrics
    predictions: tuple[Prediction, ...]
    unreadable: tuple[Lost, ...]
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; per-class accuracy goes by label."""
        metrics = asdict(self.metrics)
        metrics["per_class"] = dict(zip(self.labels, self.metrics.per_class, strict=True))
        metrics["confusion"] = self.metrics.confusion.tolist()
        lost = [{"video": str(one.video), "reason": one.reason} for one in self.unreadable]
        return asdict(self) | {
            "model": asdict(self.model),
            "metrics": metrics,
            "unreadable": lost,
        }


def evaluate(
    model: str | os.PathLike[str] | Net | Runtime,
    data: Manifest | str | os.PathLike[str],
    *,
    split: str | None = None,
    views: tuple[int, int] | None = None,
    batch: int = 1,
    workers: int = 2,
    cache: Cache | None = None,
    bar: bool = True,
) -> Evaluation:
    """Score every sample of `data` and compare with its label.

    Each sample is seen in `views` (clips in time x crops in space; by default as the network's
    input says), and their probabilities are averaged. `split` takes those samples only. `batch`
    clips go through the network at once. With `bar`, a progress bar shows where stderr is a
    terminal.

    Raises DataError where the data hold labels that the network does not know, or no sample can be
    read. A video that cannot be read is listed in the result, not counted in it.
    """
    require_train_extra()
    manifest = data if isinstance(data, Manifest) else Manifest.read(data)
    manifest = manifest if split is None else manifest.split(split)
    runtime = (
        compile(model, precision="f32")
        if isinstance(model, str | os.PathLike | torch.nn.Module)
        else model
    )
    labels = _agreed_labels(runtime, manifest)
    manifest = replace(manifest, labels=labels)
    views = views or runtime.input.views
    lost: list[Lost] = []
    scores: dict[int, NDArray[np.float32]] = {}
    with Bar("evaluate", len(manifest), show=bar) as progress:
        loaded = _loaded(_Views(manifest, runtime.input, views, cache), workers, lost)
        for index, p in _scored(loaded, runtime, batch):
            scores[index] = p
            progress.move(to=len(scores) + len(lost))
    refuse_all_lost(len(scores), lost, manifest)
    p = np.stack(list(scores.values()))
    return Evaluation(
        model=runtime.card(),
        protocol=protocol(views, runtime.input),
        split=split,
        samples=len(scores),
        data_hash=manifest.data_hash(),
        labels=labels,
        metrics=measure(
            torch.from_numpy(p), torch.tensor([manifest.targets[index] for index in scores])
        ),
        predictions=tuple(
            _prediction(manifest.samples[k], row, labels) for k, row in scores.items()
        ),
        unreadable=tuple(lost),
        warnings=(*runtime.warnings, *lost_words(tuple(lost), len(manifest))),
    )


def protocol(views: tuple[int, int], prepare: Input) -> str:
    """The words that must stand beside an accuracy: "10x3 views of 8 frames at 112x112"."""
    (clips, across), (height, width) = views, prepare.size
    return f"{clips}x{across} views of {prepare.frames} frames at {height}x{width}"


def _agreed_labels(runtime: Runtime, manifest: Manifest) -> tuple[str, ...]:
    """The network's labels; DataError unless it has some, and knows all of the data's."""
    if runtime.labels is None:
        raise DataError(
            f"the classes of {runtime.card().name} have no names to compare with",
            where=manifest.root,
            do="Give a network with labels, such as a checkpoint that `marey train` wrote.",
        )
    unknown = sorted({sample.label for sample in manifest.samples} - set(runtime.labels))
    if unknown:
        raise DataError(
            f"{len(unknown)} labels that {runtime.card().name} does not know: "
            + ", ".join(map(repr, unknown[:5])),
            where=manifest.root,
            do=f"It knows {', '.join(map(repr, runtime.labels[:5]))} … ; `marey show` lists all.",
        )
    return runtime.labels


class _Views(Dataset[Seen]):
    """The views of each sample, V T H W 3, with its number; or why there are none."""

    def __init__(
        self, manifest: Manifest, prepare: Input, shape: tuple[int, int], cache: Cache | None
    ) -> None:
        self.samples, self.targets = manifest.samples, manifest.targets
        self.prepare, self.shape, self.cache = prepare, shape, cache

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Seen:
        sample = self.samples[index]
        try:
            source = open_source(sample, self.targets[index], self.prepare, self.cache)
            return index, fixed_views(source, self.prepare, self.shape)
        except VideoError as error:
            return index, Lost(sample.video, str(error))
        except MareyError as error:
            return index, error


def _loaded(data: _Views, workers: int, lost: list[Lost]) -> Iterator[tuple[int, Image]]:
    """The samples that can be read, in order; the others are added to `lost`."""
    for index, seen in DataLoader(data, None, num_workers=workers, collate_fn=_as_it_is):
        if isinstance(seen, Lost):
            lost.append(seen)
        elif isinstance(seen, MareyError):
            raise seen
        else:
            yield index, seen


def _as_it_is(seen: Any) -> Any:
    return seen


def _scored(
    loaded: Iterator[tuple[int, Image]], runtime: Runtime, batch: int
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Each sample with its probabilities, K, averaged over its views."""
    for index, seen in loaded:
        logits = [runtime(seen[k : k + batch]) for k in range(0, len(seen), batch)]
        yield index, softmax(np.concatenate(logits)).mean(0)


def _prediction(sample: Sample, p: NDArray[np.float32], labels: tuple[str, ...]) -> Prediction:
    best = int(p.argmax())
    return Prediction(
        str(sample.video), sample.start, sample.end, sample.label, labels[best], float(p[best])
    )
