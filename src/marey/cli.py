"""The command line: one function a verb, no logic.

Results go to stdout, a table on a terminal and JSON lines in a pipe; progress and warnings go to
stderr. Exit 0: all done; 1: some input failed, the rest is done and written; 2: wrong usage.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from marey import __version__
from marey._options import (
    Background,
    Cache,
    Data,
    Decode,
    Gap,
    Leave,
    ModelName,
    Precision,
    Runtime,
    Shortest,
    Skip,
    Stride,
    Threads,
    Threshold,
    Thresholds,
    Verbose,
    Videos,
    Window,
)
from marey._results import FeatureResults, Results, find_all
from marey.console import (
    Failures,
    Screen,
    complain,
    emit,
    needed,
    only_for,
    settings_from,
    thresholds_from,
    until_signalled,
    views_from,
    waiting,
    warn,
)
from marey.errors import MareyError

app = typer.Typer(
    name="marey",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback(invoke_without_command=True)
def marey(
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
) -> None:
    """Convolutional video understanding: a video in, labels on a time line out."""
    if version:
        typer.echo(__version__)


@app.command()
def classify(
    videos: Videos,
    model: ModelName = "efficientnet_lite0.in1k",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Write .json .jsonl .csv .parquet .mp4."),
    ] = None,
    window: Window = None,
    step: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds between windows (default: a window).")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Labels a window.")] = 5,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    decode: Decode = "all",
    threads: Threads = None,
    verbose: Verbose = False,
) -> None:
    """Label videos: scores for every window with its times, and for the whole video."""
    from marey.outputs.table import timeline
    from marey.runtime import compile
    from marey.tasks.many import classify_all

    failures = Failures()
    results = Results(output, failures.expand(videos), timeline)
    with waiting(f"making {model} ready"):
        net = compile(model, runtime=runtime, precision=precision, threads=threads)
    run = partial(classify_all, window=window, step=step, top=top, decode=decode)
    find_all(results, failures, run, model, net, threads=threads, verbose=verbose)
    raise typer.Exit(failures.exit_code)


@app.command()
def detect(
    videos: Videos,
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            help="As for classify, or a trained detector; by default, shots are found.",
        ),
    ] = "transnetv2",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            help="Write .json .jsonl .csv .parquet .vtt .activitynet.json or .mp4.",
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            max=1,
            help="Score that an event reaches (default: 0.5, or a trained detector's own).",
        ),
    ] = None,
    thresholds: Thresholds = None,
    leave: Leave = None,
    smooth: Annotated[
        float, typer.Option(min=0, help="Seconds around a window to average scores over.")
    ] = 0.0,
    gap: Gap = 0.0,
    shortest: Shortest = 0.0,
    background: Background = None,
    window: Window = None,
    step: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds between windows (default: half of one).")
    ] = None,
    gamma: Annotated[
        float, typer.Option(min=0.05, max=5, help="For shots in the dark: 0.4 brightens.")
    ] = 1.0,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    decode: Decode = "all",
    threads: Threads = None,
    verbose: Verbose = False,
) -> None:
    """Find events in videos of any length, with their starts and ends; without a model, shots."""
    from marey.outputs.table import events
    from marey.tasks.detect import made_ready
    from marey.tasks.many import detect_all

    run = partial(
        detect_all,
        threshold=threshold,
        thresholds=thresholds_from(thresholds),
        leave=leave,
        smooth=smooth,
        gap=gap,
        shortest=shortest,
        background=background or None,
        window=window,
        step=step,
        gamma=gamma,
        decode=decode,
    )
    failures = Failures()
    results = Results(output, failures.expand(videos), events)
    with waiting(f"making {model} ready"):
        net = made_ready(model, runtime=runtime, precision=precision, threads=threads)
    find_all(results, failures, run, model, net, threads=threads, verbose=verbose)
    raise typer.Exit(failures.exit_code)


@app.command()
def features(
    videos: Videos,
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            help="Write .npz or .parquet, or a folder with a .npz a video.",
            show_default=False,
        ),
    ],
    model: ModelName = "efficientnet_lite0.in1k",
    window: Window = None,
    stride: Stride = None,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    decode: Decode = "all",
    threads: Threads = None,
    verbose: Verbose = False,
) -> None:
    """Write what a network sees in videos: a vector a window, as detectors are trained on."""
    from marey.runtime import compile
    from marey.tasks.many import features_all

    failures = Failures()
    results = FeatureResults(output, failures.expand(videos))
    with waiting(f"making {model} ready"):
        net = compile(model, runtime=runtime, precision=precision, threads=threads, features=True)
    run = partial(features_all, window=window, stride=stride, decode=decode)
    find_all(results, failures, run, model, net, threads=threads, verbose=verbose)
    raise typer.Exit(failures.exit_code)


@app.command()
def watch(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Camera (0, /dev/video0), rtsp:// or http(s):// address, or file.",
            show_default=False,
        ),
    ],
    model: ModelName = "efficientnet_lite0.in1k",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="Add events to a .jsonl or .csv as they end."),
    ] = None,
    policy: Annotated[
        Literal["latest", "all", "drop"] | None,
        typer.Option(help="When too much comes (default: latest; with --fast all)."),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast/--realtime", help="Files as fast as it goes, or as played.")
    ] = False,
    windows: Annotated[
        bool, typer.Option("--windows", help="By windows, where it could be frame by frame.")
    ] = False,
    step: Annotated[
        float | None,
        typer.Option(min=0.01, help="Seconds between answers (default: 1/4 of a clip)."),
    ] = None,
    average: Annotated[
        float | None, typer.Option(min=0, help="Seconds back over which answers are averaged.")
    ] = None,
    threshold: Threshold = 0.5,
    thresholds: Thresholds = None,
    leave: Leave = None,
    gap: Gap = 0.0,
    shortest: Shortest = 0.0,
    background: Background = None,
    save_clips: Annotated[
        Path | None, typer.Option(help="Folder for the video around each event.")
    ] = None,
    before: Annotated[float, typer.Option(min=0, help="Seconds of it before the event.")] = 5.0,
    after: Annotated[float, typer.Option(min=0, help="Seconds of it after the event.")] = 5.0,
    seconds: Annotated[float | None, typer.Option(min=0, help="End after so many seconds.")] = None,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to look for a stream that went away.")
    ] = 300.0,
    top: Annotated[int, typer.Option(min=1, help="Labels a moment.")] = 3,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
) -> None:
    """Watch cameras, streams and files live: what is seen, and events as they happen."""
    from marey.outputs.live import EventFile
    from marey.runtime.live import compile_live
    from marey.tasks.watch import SaveClips
    from marey.tasks.watch import watch as run

    failures = Failures()
    opened = EventFile(output) if output else nullcontext()
    with waiting(f"making {model} ready"):
        net = compile_live(model, windows=windows, runtime=runtime, precision=precision)
    warn(model, net.warnings)
    with (
        opened as file,
        until_signalled() as stop,
        Screen(quiet=output is not None) as screen,
        failures.catch(),
    ):
        for moment in run(
            sources,
            net,
            policy=policy,
            fast=fast,
            step=step,
            average=average,
            top=top,
            threshold=threshold,
            thresholds=thresholds_from(thresholds),
            leave=leave,
            gap=gap,
            shortest=shortest,
            background=background or None,
            clips=SaveClips(save_clips, before, after) if save_clips else None,
            seconds=seconds,
            patience=patience,
            tell=lambda source, words: complain(f"{source}: {words}"),
            stop=stop,
        ):
            row = moment.to_dict()
            if file:
                file.add(row["source"], row["events"])
            screen.show(row)
    raise typer.Exit(failures.exit_code)


@app.command()
def check(videos: Videos) -> None:
    """Decode videos whole: can they be read, what is in them, what would be lost."""
    from marey.outputs.table import properties
    from marey.tasks.check import check as run

    failures = Failures()
    for path in failures.expand(videos):
        with failures.catch():
            row = run(path).to_dict()
            emit(row, partial(properties, row))
    raise typer.Exit(failures.exit_code)


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
    model: ModelName,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    views: Annotated[
        str | None, typer.Option(help="Clips in time x crops in space, as 10x3 (default: model's).")
    ] = None,
    cache: Cache = None,
    skip: Skip = False,
) -> None:
    """Measure a network on labelled clips, by the multi-view protocol, or a detector on videos."""
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


def main() -> None:
    """The entry point: errors that a person can mend are one line and exit 1."""
    try:
        app()
    except MareyError as error:
        complain(f"error: {error}")
        sys.exit(1)
    except BrokenPipeError:
        # The reader of the pipe has seen enough (`marey classify … | head`); Python would complain
        # again when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


if __name__ == "__main__":
    main()
