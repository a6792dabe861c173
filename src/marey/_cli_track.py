"""The verbs that follow things through videos."""

from __future__ import annotations

from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from marey._options import ModelName, Precision, Runtime, Threads, Verbose, Videos
from marey._results import Results, find_all
from marey.console import Failures, waiting

app = typer.Typer()

Detector = Annotated[
    str, typer.Option(help="Name, or a file of boxes: .txt (MOT), .json (COCO) or .csv.")
]
Tracker = Annotated[
    str, typer.Option(help="cbiou, bytetrack, sort, ocsort or botsort; none: no ids.")
]
Every = Annotated[int, typer.Option(min=1, help="The detector looks at every so many frames.")]
Sure = Annotated[float, typer.Option(min=0.001, max=1, help="Score of a detection that counts.")]
Actions = Annotated[
    str | None, typer.Option(help="Network that says what each of them does: clips, or AVA's.")
]
ActionThreshold = Annotated[
    float, typer.Option(min=0.001, max=1, help="Score that an action reaches.")
]


@app.command()
def track(
    videos: Videos,
    detector: Detector = "pedestrian_ssdlite",
    tracker: Tracker = "cbiou",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write .json .jsonl .csv .parquet .vtt .txt .mp4 or .html."
        ),
    ] = None,
    every: Every = 1,
    batch: Annotated[int, typer.Option(min=1, help="Frames that it looks at together.")] = 1,
    threshold: Sure = 0.5,
    labels: Annotated[
        str | None, typer.Option(help="Only these, as person,car (default: all).")
    ] = None,
    patience: Annotated[
        float, typer.Option(min=0.05, help="Seconds out of sight after which it is another one.")
    ] = 1.0,
    smooth: Annotated[
        float, typer.Option(min=0, help="Seconds around a moment over which boxes are smoothed.")
    ] = 0.5,
    cuts: Annotated[
        Path | None,
        typer.Option(help="Report of marey detect, .json, at whose cuts all tracks end."),
    ] = None,
    shots: Annotated[
        bool, typer.Option("--shots", help="Find cuts in the same pass: all tracks end at them.")
    ] = False,
    actions: Actions = None,
    action_threshold: ActionThreshold = 0.5,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    verbose: Verbose = False,
) -> None:
    """Find things and follow them: boxes with ids and times in every frame."""
    from marey.data.box_files import is_box_file
    from marey.outputs.table import overview, tracks
    from marey.tasks._trackers import check_tracker
    from marey.tasks.detect import SHOTS
    from marey.tasks.many import cuts_of, track_all
    from marey.tasks.track import made_ready

    failures = Failures()
    paths = failures.expand(videos)
    if is_box_file(detector) and len(paths) > 1:
        raise typer.BadParameter("a file of boxes is of one video", param_hint="--detector")
    results = Results(output, paths, overview if shots or actions else tracks)
    check_tracker(tracker)
    run = partial(
        track_all,
        tracker=tracker,
        every=every,
        batch=batch,
        threshold=threshold,
        labels=[label.strip() for label in labels.split(",")] if labels else None,
        patience=patience,
        smooth=smooth,
        cuts=cuts_of(cuts) if cuts else None,
        shots=SHOTS if shots else None,
        actions=actions,
        action_threshold=action_threshold,
    )
    with waiting(f"making {detector} ready"):
        net = made_ready(detector, runtime=runtime, precision=precision, threads=threads)
    find_all(results, failures, run, detector, net, threads=threads, verbose=verbose)
    raise typer.Exit(failures.exit_code)


@app.command()
def analyze(
    videos: Videos,
    model: ModelName = "efficientnet_lite0.in1k",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="Write .html, a page of one video; or as track and detect do."
        ),
    ] = None,
    embed: Annotated[
        bool, typer.Option("--embed", help="Put the video into the page, up to 20 MiB.")
    ] = False,
    detector: Detector = "pedestrian_ssdlite",
    tracker: Tracker = "cbiou",
    every: Every = 2,
    threshold: Sure = 0.5,
    actions: Actions = None,
    action_threshold: ActionThreshold = 0.5,
    runtime: Runtime = "auto",
    precision: Precision = "auto",
    threads: Threads = None,
    verbose: Verbose = False,
) -> None:
    """All of it in one pass: what is seen, shots, people and what they do; -o gives a page."""
    from marey.outputs.table import overview
    from marey.tasks.analyze import Analyst
    from marey.tasks.many import analyze_all

    failures = Failures()
    if embed and (output is None or output.suffix != ".html"):
        raise typer.BadParameter("is for -o FILE.html", param_hint="--embed")
    results = Results(output, failures.expand(videos), overview, embed=embed)
    with waiting("making networks ready"):
        how = {"runtime": runtime, "precision": precision}
        analyst = Analyst(
            model, detector=detector, tracker=tracker, actions=actions, threads=threads, **how
        )
    run = partial(analyze_all, every=every, threshold=threshold, action_threshold=action_threshold)
    about: dict[str, Any] = {"detector": detector, "tracker": tracker, "actions": actions}
    # How far a part's logits were from its own is measured anew each time.
    cards = (replace(net.card(), difference=None) for net in analyst.asked.nets)
    about["parts"] = [asdict(card) for card in cards]
    find_all(results, failures, run, model, analyst, threads=threads, verbose=verbose, **about)
    raise typer.Exit(failures.exit_code)
