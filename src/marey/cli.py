"""The command line: one function a verb, no logic.

Results go to stdout, a table on a terminal and JSON lines in a pipe; progress and warnings go to
stderr. Exit 0: all done; 1: some input failed, the rest is done and written; 2: wrong usage.
"""

from __future__ import annotations

import os
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import typer

from marey import __version__
from marey._cli_networks import app as networks
from marey._cli_track import app as tracking
from marey._cli_training import app as training
from marey._options import (
    Background,
    Decode,
    Gap,
    Leave,
    ModelName,
    Precision,
    Runtime,
    Shortest,
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
    thresholds_from,
    until_signalled,
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
        typer.Option("--output", "-o", help="Write .json .jsonl .csv .parquet .mp4 or .html."),
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
            help="Write .json .jsonl .csv .parquet .vtt .activitynet.json .mp4 or .html.",
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
    shared: Annotated[
        bool | None,
        typer.Option(
            "--shared/--apart",
            help="Windows share their frames (default: where that changes no score).",
            show_default=False,
        ),
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
        shared=shared,
        gamma=gamma,
        decode=decode,
    )
    failures = Failures()
    results = Results(output, failures.expand(videos), events)
    with waiting(f"making {model} ready"):
        net = made_ready(
            model, runtime=runtime, precision=precision, threads=threads, shared=shared
        )
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


app.add_typer(tracking)
app.add_typer(networks)
app.add_typer(training)


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
