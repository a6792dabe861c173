"""The verbs that teach and measure."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from marey._options import Cache, Classes, Data, Skip, Stride, VideoFolder, Window
from marey.console import emit, needed, only_for, settings_from, views_from, warn

app = typer.Typer()


@app.command()
def train(
    data: Data,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe, a TOML file.", show_default=False)
    ] = None,
    task: Annotated[
        Literal["classify", "detect", "actions"],
        typer.Option(help="What to learn: labels of clips, events in videos, or who does what."),
    ] = "classify",
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="Network to begin with (default: the recipe's)."),
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path(
        "runs/train"
    ),
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over the recipe's.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
    window: Window = None,
    stride: Stride = None,
    cache: Cache = None,
    videos: VideoFolder = None,
    classes: Classes = None,
    validation: Annotated[
        Path | None, typer.Option(help="For task actions: lines to validate on (default: a fold).")
    ] = None,
    tracks: Annotated[
        Path | None,
        typer.Option(
            help="For task actions: reports of marey track, .json, of whose ids DATA tells."
        ),
    ] = None,
    skip: Skip = False,
) -> None:
    """Train a network on your own clips, a detector of events in videos, or who does what."""
    from marey.outputs.table import properties

    settings = settings_from(changes)
    if task != "detect":
        only_for("--task detect", window=window, cache=cache)
        if tracks is None:
            only_for("--task detect, or actions with --tracks", stride=stride)
    if task != "actions":
        own = {"videos": videos, "classes": classes, "validation": validation, "tracks": tracks}
        only_for("--task actions", **own)
    if tracks is not None:
        only_for("lines as AVA has them, without --tracks", classes=classes, skip=skip)
    if task == "detect":
        from marey.training.detector import train_detector
        from marey.training.temporal_recipe import TemporalRecipe

        keys = TemporalRecipe() if recipe is None else TemporalRecipe.read(recipe)
        run = train_detector(
            needed(model, "--model"),
            data,
            keys.replace(settings),
            out=output,
            window=window,
            stride=stride,
            cache=cache,
            skip=skip,
            resume=resume,
        )
    elif task == "actions":
        from marey.data.told_tracks import STEP
        from marey.training.actions import train_actions
        from marey.training.recipe import Recipe

        boxes = (Recipe() if recipe is None else Recipe.read(recipe)).replace(settings)
        run = train_actions(
            (model or boxes.model) if recipe else needed(model, "--model"),
            data,
            boxes,
            out=output,
            videos=videos,
            classes=classes,
            validation=validation,
            tracks=tracks,
            step=STEP if stride is None else stride,
            skip=skip,
            resume=resume,
        )
    else:
        from marey.training.loop import train_from
        from marey.training.recipe import Recipe

        only_for("--task detect or actions", skip=skip)
        if model is not None:
            settings["model"] = model
        clips = Recipe.read(needed(recipe, "--recipe")).replace(settings)
        run = train_from(data, clips, out=output, resume=resume)
    warn(output, run.warnings)
    row = {"best": str(run.best), "last": str(run.last), "metrics": dict(run.metrics)}
    emit(row, partial(properties, row))


@app.command()
def evaluate(
    data: Data,
    model: Annotated[
        str | None,
        typer.Option("--model", "-m", help="As for classify, a trained detector, or for boxes."),
    ] = None,
    task: Annotated[
        Literal["actions", "track"] | None,
        typer.Option(help="DATA is the truth: AVA's lines for actions, MOT's text for track."),
    ] = None,
    actions: Annotated[
        Path | None, typer.Option(help="For task actions: boxes with scores, AVA's CSV.")
    ] = None,
    excluded: Annotated[
        Path | None, typer.Option(help="For task actions: AVA's CSV of times not to judge.")
    ] = None,
    classes: Classes = None,
    videos: VideoFolder = None,
    detector: Annotated[
        str | None, typer.Option(help="For task actions with -m: whose boxes (default: DATA's).")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="For task actions with -m: AVA's CSV of all scores."),
    ] = None,
    tracks: Annotated[
        Path | None,
        typer.Option(help="For task track: a report, .json, or MOT's text; for actions: reports."),
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    views: Annotated[
        str | None, typer.Option(help="Clips in time x crops in space, as 10x3 (default: model's).")
    ] = None,
    cache: Cache = None,
    skip: Skip = False,
) -> None:
    """Measure a network on labelled clips, a detector of events, boxes with actions, or tracks."""
    if task is not None:
        only_for("networks", split=split, views=views, cache=cache)
    if task != "actions":
        own = {"actions": actions, "excluded": excluded, "classes": classes, "videos": videos}
        only_for("--task actions", **own, detector=detector, output=output)
    if task is None:
        only_for("--task track or actions", tracks=tracks)
    if task == "actions" and tracks is not None:
        other = {"model": model, "actions": actions, "excluded": excluded, "videos": videos}
        only_for("frames, not for tubes", **other, detector=detector, output=output, skip=skip)
        _evaluate_tubes(data, tracks, classes)
    elif task == "actions":
        of_network = {"videos": videos, "detector": detector, "skip": skip, "out": output}
        _evaluate_actions(data, model, actions, excluded, classes, of_network)
    elif task == "track":
        only_for("networks", model=model, skip=skip)
        _evaluate_tracks(data, needed(tracks, "--tracks"))
    else:
        _evaluate_network(data, needed(model, "--model"), split, views, cache, skip)


def _evaluate_actions(
    data: Path,
    model: str | None,
    actions: Path | None,
    excluded: Path | None,
    classes: Path | None,
    of_network: dict[str, Any],
) -> None:
    from marey.outputs.table import acting

    if model is not None:
        from marey.training.actions import evaluate_action_network

        only_for("boxes that are there; -m finds them", actions=actions)
        judged = evaluate_action_network(
            model, data, excluded=excluded, classes=classes, **of_network
        )
        warn(data, judged.warnings)
    else:
        from marey.training.action_metrics import evaluate_actions

        options = {"output" if key == "out" else key: said for key, said in of_network.items()}
        only_for("a network (-m)", **options)
        ours = needed(actions, "--actions, --tracks or --model")
        judged = evaluate_actions(ours, data, excluded=excluded, actions=classes)
        warn(ours, judged.warnings)
    row = judged.to_dict()
    emit(row, partial(acting, row))


def _evaluate_tubes(data: Path, reports: Path, classes: Path | None) -> None:
    from marey.outputs.table import tubes
    from marey.training.tube_metrics import evaluate_tubes

    judged = evaluate_tubes(reports, data, actions=classes)
    warn(reports, judged.warnings)
    row = judged.to_dict()
    emit(row, partial(tubes, row))


def _evaluate_tracks(data: Path, tracks: Path) -> None:
    from marey.outputs.table import tracking
    from marey.training.track_metrics import evaluate_tracks

    measured = evaluate_tracks(tracks, data)
    warn(data, measured.warnings)
    row = measured.to_dict()
    emit(row, partial(tracking, row))


def _evaluate_network(
    data: Path, model: str, split: str | None, views: str | None, cache: Path | None, skip: bool
) -> None:
    from marey.outputs.table import accuracy, agreement
    from marey.runtime.temporal import is_head

    if is_head(model):
        from marey.training.detector import evaluate_detector

        only_for("labelled clips", views=views)
        found = evaluate_detector(model, data, split=split, cache=cache, skip=skip)
        warn(data, found.warnings)
        row = found.to_dict()
        emit(row, partial(agreement, row))
        return
    from marey.training.evaluate import evaluate as run

    only_for("detectors", cache=cache, skip=skip)
    result = run(model, data, split=split, views=views_from(views))
    warn(data, result.warnings)
    row = result.to_dict()
    emit(row, partial(accuracy, row))
    raise typer.Exit(1 if result.unreadable else 0)
