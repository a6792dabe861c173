"""A detector of one's own: annotated videos and a network in, a temporal head on its features out.

Features are made once and kept, a file a video, in a folder that `marey features` may have filled.
"""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from marey.data.annotations import AnnotatedVideo, Annotations, left_out
from marey.data.formats import listed
from marey.errors import DataError, MareyError
from marey.files import cache_folder, make_folder
from marey.models._checkpoint import CONFIG, STATE
from marey.models._create import create_model
from marey.models._registry import default_weights, is_folder
from marey.models._temporal_head import Features
from marey.outputs.feature_folder import FeatureFolder
from marey.runtime import Runtime
from marey.runtime.temporal import NETWORK, TemporalRuntime
from marey.tasks.features import seer
from marey.tasks.many import features_all
from marey.training.bar import Bar
from marey.training.end_to_end import train_end_to_end
from marey.training.event_metrics import EventMetrics
from marey.training.loop import Run
from marey.training.state import is_begun, whole_folder
from marey.training.temporal_loop import evaluate_temporal, split_videos, train_temporal
from marey.training.temporal_recipe import TemporalRecipe
from marey.types import ModelCard, VideoFeatures
from marey.video.read import open_video
from marey.video.windows import usual_stride

HEAD = "head"
"""The folder in a run's own for the head alone, where the network learns afterwards."""


@dataclasses.dataclass(frozen=True, slots=True)
class DetectorEvaluation:
    """How well a detector's events agree with `events` marked ones in so many `videos`."""

    model: ModelCard
    split: str | None
    videos: int
    events: int
    data_hash: str
    metrics: EventMetrics
    warnings: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return dataclasses.asdict(self)


def train_detector(
    model: str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    recipe: TemporalRecipe | None = None,
    *,
    out: str | os.PathLike[str],
    window: float | None = None,
    stride: float | None = None,
    cache: str | os.PathLike[str] | None = None,
    skip: bool = False,
    resume: bool = False,
    bar: bool = True,
) -> Run:
    """Train a temporal head on the features that `model` makes of annotated videos.

    `model` is a name or a checkpoint folder, of which a copy is kept in `out` and beside each head;
    `annotations` what `Annotations.read` takes. `window` and `stride` are those of
    `marey.features`; by default a quarter of the network's clip on the first video, for all. The
    features are kept in `cache` (None: in marey's own). `out` gets what `train_temporal` writes;
    where the recipe has `network_epochs`, that is in `out/head`, and `out` gets what
    `train_end_to_end` makes of it, with a network of its own.

    Raises DataError with every line that cannot be used, or every video that cannot be read, before
    training; with `skip`, those videos are left out and told.
    """
    recipe = recipe or TemporalRecipe()
    out = Path(out)
    first = out / HEAD if recipe.network_epochs else out
    for folder in {first, out}:
        is_begun(folder, resume=resume)  # said before the features are made
    marked = split_videos(Annotations.read(annotations, skip=skip), recipe)
    runtime = seer(model)
    stride = stride or _usual_stride(runtime, marked.videos[0])
    features, marked, told = _features(marked, runtime, window, stride, cache, skip=skip, bar=bar)
    make_folder(first)
    kept = _copy(Path(model), first) if is_folder(model) else None
    made_by = {"model": kept.name if kept else runtime.card().name}
    how: dict[str, Any] = {"resume": resume, "bar": bar}
    run = train_temporal(
        features,
        marked,
        recipe,
        made_by={**made_by, "window": window, "stride": stride},
        out=first,
        beside=kept,
        **how,
    )
    told = [*runtime.warnings, *told, *run.warnings]
    if recipe.network_epochs:
        net = create_model(default_weights(kept or model))
        by_name = {one.video: one for one in features}
        run = train_end_to_end(run, net, by_name, marked, recipe, out=out, **how)
        told += run.warnings
    return dataclasses.replace(run, warnings=tuple(told))


def evaluate_detector(
    model: str | os.PathLike[str],
    annotations: str | os.PathLike[str],
    *,
    split: str | None = None,
    cache: str | os.PathLike[str] | None = None,
    skip: bool = False,
    bar: bool = True,
) -> DetectorEvaluation:
    """Measure a head that `train_detector` wrote, by ActivityNet's protocol (`EventMetrics`).

    `split` takes those videos only; `cache` and `skip` are those of `train_detector`.
    """
    detector = TemporalRuntime(model)
    marked = Annotations.read(annotations, skip=skip)
    marked = marked if split is None else marked.split(split)
    network, window, stride = detector.network, detector.window, detector.stride
    features, marked, told = _features(marked, network, window, stride, cache, skip=skip, bar=bar)
    return DetectorEvaluation(
        model=detector.card(),
        split=split,
        videos=len(marked),
        events=sum(len(video.events) for video in marked.videos),
        data_hash=marked.data_hash(),
        metrics=evaluate_temporal(detector.head, features, marked),
        warnings=(*detector.warnings, *marked.warnings, *told),
    )


def _usual_stride(runtime: Runtime, first: AnnotatedVideo) -> float:
    """One for all videos, as a head needs; where the network counts frames, by the first one's."""
    with open_video(first.path, threads=1) as reader:
        return usual_stride(runtime.input, reader.video.fps)


def _features(
    marked: Annotations,
    runtime: Runtime,
    window: float | None,
    stride: float,
    cache: str | os.PathLike[str] | None,
    *,
    skip: bool,
    bar: bool,
) -> tuple[list[Features], Annotations, list[str]]:
    """The features of all videos, those videos, and what a person should know of them."""
    how: dict[str, Any] = {"window": window, "stride": stride, "decode": "all"}
    folder = FeatureFolder(cache or cache_folder() / "features", runtime.card(), how)
    made: dict[str, VideoFeatures] = {}
    lost: dict[str, str] = {}
    with Bar("features", len(marked), show=bar) as shown:
        for video in marked.videos:
            if (found := folder.find(video.path)) is not None:
                made[video.name] = found
                shown.move()
        todo = [video for video in marked.videos if video.name not in made]
        paths = [video.path for video in todo]
        for video, done in zip(todo, features_all(paths, runtime, **how), strict=True):
            if isinstance(done.found, MareyError):
                lost[video.name] = str(done.found)
            else:
                folder.write(video.path, done.found)
                made[video.name] = done.found
            shown.move(note=video.name)
    if lost and not (skip and made):
        raise _unreadable(lost, marked)
    told = [*folder.warnings(), *left_out(lost, len(marked)), *_odd(made, runtime.warnings)]
    kept = marked.with_videos(video for video in marked.videos if video.name in made)
    return [Features.of(found, name) for name, found in made.items()], kept, told


def _unreadable(lost: Mapping[str, str], marked: Annotations) -> DataError:
    reasons = [f"{name}: {reason.rstrip('.')}" for name, reason in lost.items()]
    told = "\n  ".join(reasons)
    return DataError(
        f"{len(lost)} of {len(marked)} videos cannot be read:\n  {told}",
        where=marked.root,
        do="Mend them, or leave them out (--skip); the features of the others are kept.",
    )


def _odd(made: Mapping[str, VideoFeatures], known: tuple[str, ...]) -> list[str]:
    """What was lost in videos that could be read; `known` is told of the network."""
    words = []
    for name, found in made.items():
        if own := [warning for warning in found.warnings if warning not in known]:
            words.append(f"{name} ({'; '.join(own)})")
    return [f"{len(words)} videos are used but odd: {listed(words)}"] if words else []


def _copy(network: Path, out: Path) -> Path:
    """A checkpoint folder copied into the run: the one that is named may move or be deleted."""
    with whole_folder(out / NETWORK) as fresh:
        make_folder(fresh)
        for name in (CONFIG, STATE):
            shutil.copy2(network / name, fresh / name)
    return out / NETWORK
