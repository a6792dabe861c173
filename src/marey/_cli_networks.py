"""The verbs about networks: list, show, export, time them."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from marey._options import (
    ModelName,
    Threads,
)
from marey.console import (
    Failures,
    emit,
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
