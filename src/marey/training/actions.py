"""Who does what, learnt from marked boxes and measured on them: networks that judge boxes in clips.

The marks are lines as AVA has them (`marey.data.ava`), of videos in a folder.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import DataLoader

from marey.boxes import inside
from marey.data.ava import ActionBoxes, AvaFiles, write_boxes
from marey.data.formats import listed
from marey.data.key_frames import KeyClip, MarkedActions, scored, told_of_ends
from marey.data.told_tracks import STEP, marked_by_tracks
from marey.errors import DataError, MareyError, ModelError
from marey.files import make_folder
from marey.models._checkpoint import read_config
from marey.models._registry import is_folder, takes_boxes
from marey.outputs.text import read_reports
from marey.runtime import FILES
from marey.runtime.detector import Detector, make_detector
from marey.runtime.roi import RoiRuntime, compile_actions
from marey.tasks.classify import sigmoid
from marey.training.action_metrics import ActionEvaluation, measure_actions
from marey.training.action_trainer import ActionTrainer, KeyViews
from marey.training.bar import Bar
from marey.training.extras import require_train_extra
from marey.training.loop import Run, carry_out, identity_of, made_to_learn, starting_net
from marey.training.recipe import Recipe
from marey.training.state import is_begun
from marey.types import Input, Report

SURE = 0.5
"""Score of a person that a detector has found, from which on somebody is there."""

AnyPath = str | os.PathLike[str]


def train_actions(
    model: AnyPath,
    data: AnyPath,
    recipe: Recipe | None = None,
    *,
    out: AnyPath,
    videos: AnyPath | None = None,
    classes: AnyPath | Mapping[int, str] | None = None,
    validation: AnyPath | None = None,
    tracks: AnyPath | Sequence[Report] | None = None,
    step: float = STEP,
    skip: bool = False,
    resume: bool = False,
    bar: bool = True,
) -> Run:
    """Train `model`, a network that judges boxes, on the key frames that `data` marks.

    `data`, `videos` (its folder), `classes` and `skip` are those of `MarkedActions.read`; or with
    `tracks`, reports of `marey.track` (or their `.json`), `data` is a table of what ids do, and it
    and `step` are those of `marked_by_tracks`.

    `validation` is a file that `MarkedActions.read` reads; without it one of `recipe.folds` folds
    of the videos validates, and none where that is 0. Other actions than those that the network
    knows get a new last layer. `out` gets what `marey.train` writes; best is by frame mAP (AVA's:
    IoU 0.5), then by the loss.

    Deterministic on a CPU; `resume` goes on where the run in `out` stopped. Raises DataError with
    every line that cannot be used before anything is learnt.
    """
    require_train_extra()
    recipe = replace(recipe or Recipe(), model=os.fspath(model))
    if not takes_boxes(recipe.model):
        raise _no_boxes(recipe.model)
    out = make_folder(out)
    is_begun(out, resume=resume)  # said before videos are looked for
    if tracks is None:
        marked = MarkedActions.read(data, folder=videos, classes=classes, skip=skip)
    else:
        if isinstance(tracks, str | os.PathLike):
            tracks = read_reports(Path(tracks))
        marked = marked_by_tracks(data, tracks, folder=videos, step=step)
    train, val = _sides(marked, recipe, validation, videos, skip)
    net, told = starting_net(recipe, marked.labels)
    recipe, warnings = made_to_learn(net, recipe, marked.labels)
    net.multilabel = True
    warnings = [*told, *marked.warnings, *warnings, *_told(train, net.input)]
    if validation is not None and val is not None:
        warnings += _told_of_validation(train, val)
    hashes = " ".join(side.data_hash() for side in (train, val) if side)
    # What a cache holds are the same frames.
    identity = identity_of(net, recipe.replace({"cache": ""}), hashes)
    if marked.judged is marked.actions:  # of its own, by which `evaluate` knows them
        identity["actions"] = [list(action) for action in sorted(marked.actions.items())]

    def trainer() -> ActionTrainer:
        return ActionTrainer(net, recipe, train, val, out, identity)

    how = {"validated": val is not None, "resume": resume, "bar": bar}
    return carry_out(trainer, identity, out, warnings, **how)


def evaluate_action_network(
    model: AnyPath,
    data: AnyPath,
    *,
    videos: AnyPath | None = None,
    classes: AnyPath | None = None,
    excluded: AnyPath | None = None,
    detector: str | None = None,
    skip: bool = False,
    out: AnyPath | None = None,
    bar: bool = True,
) -> ActionEvaluation:
    """AVA's frame mAP of a network that judges the marked boxes of `data`, or a detector's people.

    `data`, `videos` and `skip` are those of `MarkedActions.read`, and so is `classes`, where None
    means the actions that the network was trained on by `train_actions`, else AVA's; `excluded` is
    that of `evaluate_actions`. `out` gets all boxes with the scores of all actions, lines as AVA
    has them. Computed in float32, of whole pictures, as in use.

    Raises DataError with every line that cannot be used, or where the network does not know an
    action; ModelError if it takes no boxes; VideoError for what cannot be decoded.
    """
    require_train_extra()
    if Path(model).suffix in FILES or not takes_boxes(model):
        raise _no_boxes(model)
    files = AvaFiles()
    left_out = files.excluded(Path(excluded)) if excluded else frozenset()
    files.check()
    wanted = classes or _own_actions(model)
    marked = MarkedActions.read(data, folder=videos, classes=wanted, skip=skip)
    runtime = compile_actions(model, precision="f32")
    assert isinstance(runtime, RoiRuntime)
    labels = runtime.labels or ()
    unknown = [name for name in marked.judged.values() if name not in labels]
    if unknown:
        raise DataError(
            f"holds actions that the network does not know: {listed(unknown)}",
            where=data,
            do=f"It knows {listed(labels)}. Say by --classes which count.",
        )
    known = [name for name in marked.labels if name in labels]
    clips = [clip for clip in marked.clips(known) if clip.frame not in left_out]
    finder = None if detector is None else make_detector(detector)
    found = _found(clips, runtime, finder, known, marked.numbers(known), bar=bar)
    if out is not None:
        write_boxes(found, out, marked.actions if marked.named else {}, found=True)
    measured = measure_actions(found, marked.boxes, marked.judged, left_out)
    told = [*runtime.warnings, *(finder.warnings if finder else ()), *marked.warnings]
    told += told_of_ends(clips, runtime.input)
    return replace(measured, warnings=(*told, *measured.warnings))


def _found(
    clips: Sequence[KeyClip],
    runtime: RoiRuntime,
    detector: Detector | None,
    labels: Sequence[str],
    numbers: Sequence[int],
    *,
    bar: bool,
) -> ActionBoxes:
    """The scores of `labels`, called by `numbers`, of who is in each clip."""
    columns = [(runtime.labels or ()).index(name) for name in labels]
    seen, scores = [], []
    with Bar("evaluate", len(clips), show=bar) as progress:
        for clip, (frames, boxes) in zip(clips, _views(clips, runtime), strict=True):
            if detector is not None:
                clip, boxes = _people(clip, runtime, detector, frames.shape[1:3])
            seen.append(clip)
            if len(boxes):
                rows = np.pad(boxes, ((0, 0), (1, 0)))
                scores.append(sigmoid(runtime.judge(frames[None], rows))[:, columns])
            else:
                scores.append(np.zeros((0, len(columns)), np.float32))
            progress.move()
    return scored(seen, scores, numbers)


def _views(
    clips: Sequence[KeyClip], runtime: RoiRuntime
) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.float32]]]:
    """Frames, T H W 3, and boxes in them, of each clip; decoded beside the network."""
    views = KeyViews(clips, runtime.input)
    for view in DataLoader(views, None, num_workers=2, collate_fn=_as_it_is):
        if isinstance(view, MareyError):
            raise view
        yield view.frames.numpy(), view.boxes.numpy()


def _as_it_is(view: Any) -> Any:
    return view


def _people(
    clip: KeyClip, runtime: RoiRuntime, detector: Detector, size: tuple[int, int]
) -> tuple[KeyClip, NDArray[np.float32]]:
    """The clip with the people that a detector finds in its key frame, and where, at that size."""
    picture = clip.picture(runtime.input)
    (found,) = detector(picture[None])
    person = np.array([label == "person" for label in found.labels], bool)
    boxes = found.boxes[person & (found.scores >= SURE)].astype(np.float64)
    height, width = picture.shape[:2]
    boxes = inside(boxes / np.tile((width, height), 2), 1, 1)
    boxes = boxes[(boxes[:, :2] < boxes[:, 2:]).all(1)]
    clip = replace(clip, boxes=boxes)
    return clip, (boxes * np.tile(size[::-1], 2)).astype(np.float32)


def _sides(
    marked: MarkedActions,
    recipe: Recipe,
    validation: AnyPath | None,
    videos: AnyPath | None,
    skip: bool,
) -> tuple[MarkedActions, MarkedActions | None]:
    """What is learnt from, and what validates."""
    if validation is not None:
        val = MarkedActions.read(validation, folder=videos, classes=marked.actions, skip=skip)
        train = marked
    elif recipe.folds == 0:
        return marked, None
    else:
        train, val = marked.divided(recipe.folds, recipe.fold, recipe.seed)
    if not np.isin(val.boxes.actions, list(val.judged)).any():
        raise DataError(
            "no box that validates has one of the actions",
            where=val.path,
            do="Choose other videos for validation, or another fold.",
        )
    return train, val


def _told(train: MarkedActions, prepare: Input) -> list[str]:
    """What a person should know of what is learnt from."""
    taught = set(train.boxes.actions.tolist())
    absent = [name for number, name in sorted(train.actions.items()) if number not in taught]
    told = [f"actions that no line teaches: {listed(absent)}"] if absent else []
    return [*told, *told_of_ends(train.clips(train.labels), prepare)]


def _told_of_validation(train: MarkedActions, val: MarkedActions) -> list[str]:
    """What a person should know of a file of its own that validates."""
    told = [f"{val.path.name}: {warning}" for warning in val.warnings]
    paths = [{video.path for video in side.videos.values()} for side in (train, val)]
    both = len(paths[0] & paths[1])
    return told + ([f"videos that are learnt from and validate, too: {both}"] if both else [])


def _own_actions(model: AnyPath) -> dict[int, str] | None:
    """The actions by number that `train_actions` taught the network; None for AVA's."""
    if not is_folder(model):
        return None
    pairs = read_config(Path(model)).extra.get("actions")
    return None if pairs is None else {int(number): str(name) for number, name in pairs}


def _no_boxes(model: AnyPath) -> ModelError:
    return ModelError(
        "judges clips, not boxes in them",
        where=model,
        do="Take slow_r50_detection or slowfast_r50_detection; or train this one on clips of "
        "single people (`marey train clips/`), as `marey track --actions` takes it, too.",
    )
