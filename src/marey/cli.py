"""The command line: one function a verb, no logic.

Results go to stdout, a table on a terminal and JSON lines in a pipe; progress and warnings go to
stderr. Exit 0: all done; 1: some input failed, the rest is done and written; 2: wrong usage.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from marey import __version__
from marey.console import Bars, Failures, complain, emit, settings_from, views_from, waiting, warn
from marey.errors import MareyError

app = typer.Typer(
    name="marey",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Videos = Annotated[
    list[Path], typer.Argument(help="Video files, or folders of them.", show_default=False)
]
ModelName = Annotated[
    str, typer.Option("--model", "-m", help="Model name, unique tag, or checkpoint folder.")
]


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
        Path | None, typer.Option("--output", "-o", help="Write .json .jsonl .csv or .mp4.")
    ] = None,
    window: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds a window (default: the model's clip).")
    ] = None,
    step: Annotated[
        float | None, typer.Option(min=0.01, help="Seconds between windows (default: a window).")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Labels a window.")] = 5,
    runtime: Annotated[str, typer.Option(help="What computes: auto, openvino or torch.")] = "auto",
    precision: Annotated[str, typer.Option(help="In what: auto, f32 or bf16.")] = "auto",
) -> None:
    """Label videos: scores for every window with its times, and for the whole video."""
    from marey.outputs import check_output, write
    from marey.outputs.table import timeline
    from marey.runtime import compile
    from marey.tasks.classify import classify as run

    failures = Failures()
    paths = failures.expand(videos)
    if output is not None:
        check_output(output, len(paths))
    with waiting(f"making {model} ready"):
        net = compile(model, runtime=runtime, precision=precision)
    warn(model, net.warnings)  # also in every report; told here once
    reports = []
    with Bars(len(paths)) as bars:
        for path in paths:
            with failures.catch(), bars.video(path) as progress:
                report = run(path, net, window=window, step=step, top=top, progress=progress)
                warn(path, report.warnings[len(net.warnings) :])
                if output is None:
                    emit(report.to_dict(), partial(timeline, report))
                else:
                    reports.append(report)
    if output is not None and reports:
        warn(output, write(reports if len(paths) > 1 else reports[0], output))
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
    from marey.models._registry import list_models
    from marey.outputs.table import listing

    rows = [asdict(model_info(name)) for name in list_models(pattern, weights=weights)]
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
    data: Annotated[
        Path, typer.Argument(help="Folder with a folder a class, or CSV.", show_default=False)
    ],
    recipe: Annotated[Path, typer.Option(help="Recipe, a TOML file.", show_default=False)],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path(
        "runs/train"
    ),
    changes: Annotated[
        list[str] | None, typer.Option("--set", help="key=value over the recipe's.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on where the run stopped.")] = False,
) -> None:
    """Train a network on your own clips."""
    from marey.outputs.table import properties
    from marey.training.loop import train_from
    from marey.training.recipe import Recipe

    settings = settings_from(changes)
    run = train_from(data, Recipe.read(recipe).replace(settings), out=output, resume=resume)
    warn(output, run.warnings)
    row = {"best": str(run.best), "last": str(run.last), "metrics": dict(run.metrics)}
    emit(row, partial(properties, row))


@app.command()
def evaluate(
    data: Annotated[
        Path, typer.Argument(help="Folder with a folder a class, or CSV.", show_default=False)
    ],
    model: ModelName,
    split: Annotated[str | None, typer.Option(help="Only this split.")] = None,
    views: Annotated[
        str | None, typer.Option(help="Clips in time x crops in space, as 10x3 (default: model's).")
    ] = None,
) -> None:
    """Measure a network on labelled clips, by the multi-view protocol."""
    from marey.outputs.table import accuracy
    from marey.training.evaluate import evaluate as run

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
) -> None:
    """Write a network to a file that runs elsewhere, checked by running it."""
    from marey.export import export as run
    from marey.outputs.table import properties

    with waiting(f"writing {output}"):
        done = run(model, output)
    warn(model, done.warnings)
    row = {"path": str(done.path), "difference": done.difference}
    emit(row, partial(properties, row))


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
