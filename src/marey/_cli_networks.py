"""The verbs about networks: list, show, train, measure, export, time them."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from marey._options import (
    Cache,
    Data,
    ModelName,
    Skip,
    Stride,
    Threads,
    Window,
)
from marey.console import (
    Failures,
    emit,
    needed,
    only_for,
    settings_from,
    views_from,
    waiting,
    warn,
)
from marey.errors import MareyError

app = typer.Typer()


@app.command()
def models(
    pattern: Annotated[str, typer.Argument(help="Names to list, such as 'r2plus1d*'.")] = "*",
    weights: Annotated[bool, typer.Option("--weights", help="Only those with weights.")] = False,
) -> None:
    """List the networks and their weights."""
    from marey.models._info import model_info
    from marey.models._registry import is_folder, list_models
    from marey.outputs.table import listing

    names = [pattern] if is_folder(pattern) else list_models(pattern, weights=weights)
    rows = [asdict(model_info(name)) for name in names]
    for row in rows:
        del row["labels"]  # a thousand of them are for `marey show`
    if not rows:
        raise MareyError(f"no model matches {pattern!r}", do="`marey models` lists all of them.")
    emit(rows, partial(listing, rows))


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="Model name.", show_default=False)],
) -> None:
    """Show a network: input, size, cost, source, licence, labels, and its stages."""
    from marey.models._info import model_flow, model_info
    from marey.outputs.table import network

    row = asdict(model_info(model))
    row["stages"] = [asdict(stage) for stage in model_flow(model)]
    emit(row, partial(network, row))


@app.command()
def train(
    data: Data,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe, a TOML file.", show_default=False)
    ] = None,
    task: Annotated[
        Literal["classify", "detect"],
        typer.Option(help="What to learn: labels of clips, or events in videos."),
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
    skip: Skip = False,
) -> None:
    """Train a network on your own clips, or a detector of events in videos."""
    from marey.outputs.table import properties

    settings = settings_from(changes)
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
    else:
        from marey.training.loop import train_from
        from marey.training.recipe import Recipe

        only_for("--task detect", window=window, stride=stride, cache=cache, skip=skip)
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
        str | None, typer.Option("--model", "-m", help="As for classify, or a trained detector.")
    ] = None,
    task: Annotated[
        Literal["actions", "track"] | None,
        typer.Option(help="DATA is the truth: AVA's for --actions, MOT's for --tracks."),
    ] = None,
    actions: Annotated[
        Path | None, typer.Option(help="For task actions: boxes with scores, AVA's CSV.")
    ] = None,
    excluded: Annotated[
        Path | None, typer.Option(help="For task actions: AVA's CSV of times not to judge.")
    ] = None,
    classes: Annotated[
        Path | None, typer.Option(help="For task actions: a .pbtxt of them (default: AVA's 60).")
    ] = None,
    tracks: Annotated[
        Path | None, typer.Option(help="For task track: a report, .json, or MOT's text.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    views: Annotated[
        str | None, typer.Option(help="Clips in time x crops in space, as 10x3 (default: model's).")
    ] = None,
    cache: Cache = None,
    skip: Skip = False,
) -> None:
    """Measure a network on labelled clips, a detector of events, boxes with actions, or tracks."""
    from marey.outputs.table import accuracy, acting, agreement, tracking
    from marey.runtime.temporal import is_head

    if task is not None:
        other = {"model": model, "split": split, "views": views, "cache": cache, "skip": skip}
        only_for("networks", **other)
    if task != "actions":
        only_for("--task actions", actions=actions, excluded=excluded, classes=classes)
    if task != "track":
        only_for("--task track", tracks=tracks)
    if task == "actions":
        from marey.training.action_metrics import evaluate_actions

        ours = needed(actions, "--actions")
        judged = evaluate_actions(ours, data, excluded=excluded, actions=classes)
        warn(ours, judged.warnings)
        row = judged.to_dict()
        emit(row, partial(acting, row))
        return
    if task == "track":
        from marey.training.track_metrics import evaluate_tracks

        measured = evaluate_tracks(needed(tracks, "--tracks"), data)
        warn(data, measured.warnings)
        row = measured.to_dict()
        emit(row, partial(tracking, row))
        return
    model = needed(model, "--model")
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


@app.command()
def export(
    model: ModelName,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Write .onnx, .xml or .pt2.", show_default=False)
    ],
    precision: Annotated[str, typer.Option(help="In what: f32, or int8 in .xml.")] = "f32",
    calibrate: Annotated[
        Path | None, typer.Option(help="For int8: folder of videos, or CSV of labelled spans.")
    ] = None,
    clips: Annotated[int, typer.Option(min=1, help="Clips of it to look at, at most.")] = 64,
    time: Annotated[str, typer.Option(help="Frames a clip may have: fixed or any.")] = "fixed",
    stream: Annotated[
        bool, typer.Option("--stream", help="A step of one frame, with a state, for marey watch.")
    ] = False,
) -> None:
    """Write a network to a file that runs elsewhere, checked by running it."""
    from marey.export import export as run
    from marey.outputs.table import properties

    with waiting(f"writing {output}"):
        done = run(
            model,
            output,
            precision=precision,
            calibrate=calibrate,
            clips=clips,
            time=time,
            stream=stream,
        )
    warn(model, done.warnings)
    row: dict[str, object] = {"path": str(done.path), "difference": done.difference}
    if done.least_frames is not None:
        row["least_frames"] = done.least_frames
    if done.quantised is not None:
        row["int8"] = asdict(done.quantised)
    emit(row, partial(properties, row))


@app.command()
def bench(
    model: ModelName,
    videos: Annotated[
        list[Path] | None, typer.Argument(help="Videos, or folders of them (default: one is made).")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write .json or .md.")
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="In what: auto, f32 or bf16 (default: each there is).")
    ] = None,
    threads: Threads = None,
    minutes: Annotated[
        float, typer.Option(min=0.1, max=60, help="Length of the video that is made.")
    ] = 1.0,
) -> None:
    """Measure a network on this machine: a clip, the first label, whole videos."""
    from marey.benchmark.run import bench as run
    from marey.outputs import bench as tables
    from marey.outputs import check_output
    from marey.video.read import open_video

    failures = Failures()
    if output is not None:
        check_output(output, suffixes=tables.SUFFIXES)
    paths = []
    for path in failures.expand(videos or []):
        with failures.catch():
            open_video(path).close()
            paths.append(path)
    if paths or not failures.count:
        with waiting(f"measuring {model}"):
            found = run(model, paths, precision=precision, threads=threads, minutes=minutes)
        row = found.to_dict()
        if output is None:
            emit(row, partial(tables.drawn, row))
        else:
            tables.write(row, output)
    raise typer.Exit(failures.exit_code)
