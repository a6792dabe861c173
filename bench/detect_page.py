"""The page `docs/results/detect.md` and its picture, from the results of `bench/detect.py`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from marey.benchmark.machine import this_machine
from marey.data.annotations import Annotations
from marey.files import whole_file
from marey.training.event_metrics import TIOUS

TEMPLATE = Path(__file__).with_name("detect.md")
PAGE = Path(__file__).parents[1] / "docs" / "results" / "detect.md"
PICTURE = PAGE.with_suffix(".png")
SHOWN = (0.3, 0.5, 0.7)

Result = dict[str, Any]


def write(results: Sequence[Result], train: Annotations, test: Annotations) -> None:
    """Fill in the page, and draw the first test video."""
    machine = this_machine()
    text = TEMPLATE.read_text(encoding="utf-8").format(
        machine=f"{machine.cores} cores of {machine.cpu}",
        train=told(train),
        test=told(test),
        rows="".join(map(line, results)),
        labels="".join(by_label(results, label) for label in test.labels),
        heading=" | ".join(result["way"] for result in results),
        rule="---|" * len(results),
    )
    with whole_file(PAGE) as path:
        path.write_text(text, encoding="utf-8")
    draw(results, test)


def told(annotations: Annotations) -> str:
    seconds = sum(video.span.end - video.span.start for video in annotations.videos)
    inside = sum(event.end - event.start for v in annotations.videos for event in v.events)
    events = sum(len(video.events) for video in annotations.videos)
    return (
        f"{len(annotations)} videos of {seconds / len(annotations):.0f} s on average, "
        f"{events} events, {100 * inside / seconds:.0f} % of the time"
    )


def line(result: Result) -> str:
    """A way's row of the table."""
    metrics = result["metrics"]
    shown = " | ".join(f"{100 * metrics['mean_ap'][TIOUS.index(tiou)]:.1f}" for tiou in SHOWN)
    return (
        f"| `{result['way']}` | {result['about']} | {shown} | **{100 * metrics['loose']:.1f}** | "
        f"{100 * metrics['strict']:.1f} | {100 * result['f1']:.1f} |\n"
    )


def by_label(results: Sequence[Result], label: str) -> str:
    cells = []
    for result in results:
        (row,) = [row for row in result["metrics"]["labels"] if row["label"] == label]
        cells.append(f"{100 * row['ap'][TIOUS.index(0.5)]:.0f}")
    return f"| {label} | {' | '.join(cells)} |\n"


def draw(results: Sequence[Result], test: Annotations) -> None:
    """The events of the first test video: the truth, and what each way tells a person."""
    from matplotlib.figure import Figure

    video = test.videos[0]
    colours = dict(zip(test.labels, _COLOURS, strict=False))
    figure = Figure(figsize=(10, 1 + 0.6 * (1 + len(results))), layout="constrained")
    axes = figure.subplots()
    truth = [(event.label, event.start, event.end, 1.0) for event in video.events]
    rows = [("truth", truth)] + [(result["way"], result["shown"]) for result in results]
    for place, (name, events) in enumerate(reversed(rows)):
        axes.text(-0.3, place, name, ha="right", va="center")
        for label, start, end, _ in events:
            axes.barh(
                place, end - start, 0.7, start, color=colours.get(label, "#999999"), alpha=0.8
            )
            if end - start > 1:
                axes.text((start + end) / 2, place, label, ha="center", va="center", fontsize=8)
    axes.set(xlim=(0, video.span.end), yticks=[], xlabel="seconds")
    axes.spines[["top", "left", "right"]].set_visible(False)
    axes.set_title(
        f"{video.name}: the events that are there, and those that each way tells of", loc="left"
    )
    with whole_file(PICTURE) as path:
        figure.savefig(path, dpi=110)


_COLOURS = ("#4c72b0", "#dd8452", "#55a868", "#c44e52", "#8172b3", "#937860", "#da8bc3")
