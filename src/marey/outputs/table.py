"""Reports as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import groupby
from typing import Any

from rich.console import Group
from rich.table import Table

from marey.types import Ranked, Report, Score


def clock(seconds: float) -> str:
    """0:07.5, 12:00.0, 1:02:03.4."""
    tenths = round(seconds * 10)
    minutes, rest = divmod(tenths, 600)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{head}:{rest // 10:02}.{rest % 10}"


def timeline(report: Report, *, top: int = 3) -> Table:
    """A row a stretch: windows that follow each other with the same best label are one stretch."""
    table = Table(title=report.video.path, title_justify="left", caption_justify="left")
    table.caption = f"{report.model.name} · {len(report.windows)} windows"
    table.add_column("time", no_wrap=True)
    table.add_column("label")
    table.add_column("score", justify="right")
    table.add_column("then", style="dim")
    for stretch in stretches(report.windows):
        table.add_row(clock(stretch.start) + " – " + clock(stretch.end), *_cells(stretch.top, top))
    table.add_section()
    table.add_row("whole video", *_cells(report.top, top), style="bold")
    return table


def stretches(windows: Iterable[Ranked]) -> list[Ranked]:
    """Neighbouring windows with the same best label as one, with the scores of its best window."""
    merged = []
    for _, group in groupby(windows, key=lambda window: window.top[0].label):
        rows = list(group)
        best = max(rows, key=lambda row: row.top[0].score)
        merged.append(Ranked(rows[0].start, rows[-1].end, best.top))
    return merged


def events(report: Report, *, width: int = 30) -> Table:
    """A row an event, with its place in the video."""
    table = Table(title=report.video.path, title_justify="left", caption_justify="left")
    count = len(report.events)
    table.caption = f"{report.model.name} · {count} event" + "s" * (count != 1)
    table.add_column("time", no_wrap=True)
    table.add_column("label")
    table.add_column("score", justify="right")
    start = report.video.start
    end = max([report.video.end or start, *(event.end for event in report.events)])
    table.add_column(f"{clock(start)} – {clock(end)}", no_wrap=True, style="cyan")
    for event in report.events:
        times = clock(event.start) + " – " + clock(event.end)
        where = _bar(event.start, event.end, start, end, width)
        table.add_row(times, event.label, f"{event.score:.2f}", where)
    return table


def tracks(report: Report, *, width: int = 30) -> Table:
    """A row a track, with when it is in the picture, and how sure its boxes are on the whole."""
    table = Table(title=report.video.path, title_justify="left", caption_justify="left")
    count = len(report.tracks)
    by = f", {report.tracking.tracker}" if report.tracking else ""
    table.caption = f"{report.model.name}{by} · {count} track" + "s" * (count != 1)
    start = report.video.start
    end = max([report.video.end or start, *(float(track.times[-1]) for track in report.tracks)])
    table.add_column("id", justify="right")
    table.add_column("label")
    table.add_column("time", no_wrap=True)
    table.add_column("boxes", justify="right")
    table.add_column("score", justify="right")
    table.add_column(f"{clock(start)} – {clock(end)}", no_wrap=True, style="cyan")
    for track in report.tracks:
        first, last = float(track.times[0]), float(track.times[-1])
        table.add_row(
            "-" if track.id is None else str(track.id),
            track.label,
            f"{clock(first)} – {clock(last)}",
            str(len(track.times)),
            f"{track.scores.mean():.2f}",
            _bar(first, last, start, end, width),
        )
    return table


def overview(report: Report) -> Group:
    """All that a report holds: a table of labels, one of events, one of tracks."""
    shown = [timeline(report)] if report.windows else []
    shown += [events(report)] if report.events else []
    return Group(*shown, *([tracks(report)] if report.tracks else []))


def _bar(first: float, last: float, start: float, end: float, width: int) -> str:
    """Where a span lies between `start` and `end`, as a line of so many characters."""
    place = width / max(end - start, 1e-9)
    left = min(int((first - start) * place), width - 1)
    right = max(left + 1, min(round((last - start) * place), width))
    return "·" * left + "█" * (right - left) + "·" * (width - right)


def _cells(top: tuple[Score, ...], count: int) -> tuple[str, str, str]:
    best, *others = top[:count]
    rest = ", ".join(f"{score.label} {score.score:.2f}" for score in others)
    return best.label, f"{best.score:.2f}", rest


def properties(row: Mapping[str, Any]) -> Table:
    """One thing, a line a property; what is nested is indented."""
    table = Table(show_header=False, box=None, pad_edge=False)
    table.add_column(style="bold", no_wrap=True)
    table.add_column()
    for key, value in _flat(row):
        table.add_row(key, value)
    return table


def _flat(row: Mapping[str, Any], indent: str = "") -> Iterator[tuple[str, str]]:
    for key, value in row.items():
        if isinstance(value, Mapping):
            yield indent + key, ""
            yield from _flat(value, indent + "  ")
        elif isinstance(value, list | tuple) and value and isinstance(value[0], Mapping):
            for item in value:
                yield indent + key, ""
                yield from _flat(item, indent + "  ")
        else:
            yield indent + key, _cell(value)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


_NUMBERS = ("params", "GMACs", "top-1")


def listing(rows: Iterable[Mapping[str, Any]]) -> Table:
    """A row a network: what it eats, what it costs, which weights it has."""
    table = Table(padding=(0, 1, 0, 0), box=None, pad_edge=False)
    for name in ("model", "family", "clip", "params", "GMACs", "weights", "top-1"):
        table.add_column(name, no_wrap=True, justify="right" if name in _NUMBERS else "left")
    table.add_column("protocol")
    table.add_column("licence")
    for row in rows:
        clip = "x".join(map(str, row["shape"]))
        cost = (f"{row['params'] / 1e6:.2f} M", f"{row['macs'] / 1e9:.2f}")
        first, *others = row["weights"] or [None]
        table.add_row(row["name"], row["family"], clip, *cost, *_weights(first))
        for weights in others:
            table.add_row("", "", "", "", "", *_weights(weights))
    return table


def _weights(row: Mapping[str, Any] | None) -> tuple[str, ...]:
    if row is None:
        return "-", "-", "-", "-"
    top1 = "-" if row["top1"] is None else f"{row['top1']:.1f} %"
    return row["name"].partition(".")[2], top1, row["protocol"] or "-", row["licence"]


def network(row: Mapping[str, Any]) -> Group:
    """All that is known of a network: its properties, and how a clip flows through it."""
    known = {key: value for key, value in row.items() if key != "stages"}
    return Group(properties(known), "", flow(row["stages"]))


def flow(rows: Iterable[Mapping[str, Any]]) -> Table:
    """How a clip flows through a network, a row a stage and pathway."""
    table = Table(box=None, pad_edge=False)
    for name in ("stage", "C x T x H x W", "every", "sees", "params", "GMACs"):
        table.add_column(name, no_wrap=True, justify="left" if name == "stage" else "right")
    for row in rows:
        cost = (f"{row['params']:,}", f"{row['macs'] / 1e9:.3f}")
        for number, shape in enumerate(row["shapes"]):
            time = ("", "")
            if row["stride"]:
                stride, sees = row["stride"][number], row["sees"][number]
                time = (_frames(stride) if stride > 1 else "frame", _frames(sees))
            table.add_row(
                "" if number else row["name"],
                " x ".join(map(str, shape)),
                *time,
                *(("", "") if number else cost),
            )
    return table


def _frames(count: float) -> str:
    return f"{count:g} frame" + ("s" if count != 1 else "")


def accuracy(row: Mapping[str, Any]) -> Table:
    """An evaluation: accuracy by class, and what was taken for what."""
    metrics, labels = row["metrics"], row["labels"]
    table = Table(title=f"{row['model']['name']}: {row['samples']} samples, {row['protocol']}")
    table.add_column("label")
    table.add_column("accuracy", justify="right")
    table.add_column("taken for", style="dim")
    for label, counts in zip(labels, metrics["confusion"], strict=True):
        wrong = [
            (n, other) for n, other in zip(counts, labels, strict=True) if n and other != label
        ]
        confused = ", ".join(f"{other} {n}" for n, other in sorted(wrong, reverse=True))
        table.add_row(label, _percent(metrics["per_class"][label]), confused)
    table.add_section()
    table.add_row("top-1", _percent(metrics["top1"]), style="bold")
    if metrics["top5"] is not None:
        table.add_row("top-5", _percent(metrics["top5"]))
    return table


_OVERLAPS = (0.3, 0.4, 0.5, 0.6, 0.7)


def agreement(row: Mapping[str, Any]) -> Table:
    """An evaluation of a detector: average precision by label and overlap in time, and means."""
    metrics = row["metrics"]
    table = Table(title=f"{row['model']['name']}: {row['events']} events in {row['videos']} videos")
    loose, strict = _percent(metrics["loose"]), _percent(metrics["strict"])
    table.caption = f"mAP {loose} over tIoU 0.3 to 0.7, {strict} over 0.5 to 0.95"
    table.add_column("label")
    table.add_column("events", justify="right")
    places = [metrics["tious"].index(overlap) for overlap in _OVERLAPS]
    for overlap in _OVERLAPS:
        table.add_column(f"AP at {overlap}", justify="right")
    for one in metrics["labels"]:
        precision = ("-" if one["ap"] is None else _percent(one["ap"][k]) for k in places)
        table.add_row(one["label"], str(one["events"]), *precision)
    table.add_section()
    means = (_percent(metrics["mean_ap"][k]) for k in places)
    table.add_row("mean", str(row["events"]), *means, style="bold")
    return table


def _worse(one: Mapping[str, Any]) -> float:
    return 1.0 if one["ap"] is None else -float(one["ap"])


def acting(row: Mapping[str, Any]) -> Table:
    """An evaluation of boxes with actions: average precision by action, best first, and mean."""
    table = Table(title=f"frame mAP at IoU 0.5 in {row['frames']} key frames")
    table.add_column("action")
    for count in ("marked", "found"):
        table.add_column(count, justify="right")
    table.add_column("AP", justify="right")
    for one in sorted(row["actions"], key=_worse):
        if one["marked"] or one["found"]:
            counts = str(one["marked"]), str(one["found"])
            table.add_row(one["label"], *counts, _percent(one["ap"]))
    table.add_section()
    totals = (str(sum(one[key] for one in row["actions"])) for key in ("marked", "found"))
    table.add_row("mean", *totals, _percent(row["mean_ap"]), style="bold")
    return table


_IOUS = (0.2, 0.5, 0.75)


def tubes(row: Mapping[str, Any]) -> Table:
    """An evaluation of tubes: average precision by action and overlap, best first, and means."""
    count = row["videos"]
    table = Table(title=f"video mAP in {count} video" + "s" * (count != 1))
    table.caption = f"video mAP {_percent(row['strict'])} over IoU 0.5 to 0.95"
    table.add_column("action")
    places = [row["ious"].index(iou) for iou in _IOUS]
    for name in ("marked", "found", *(f"AP at {iou}" for iou in _IOUS)):
        table.add_column(name, justify="right")
    for one in sorted(row["labels"], key=lambda one: [-ap for ap in one["ap"] or [-1.0]]):
        parts = ("-" if one["ap"] is None else _percent(one["ap"][k]) for k in places)
        table.add_row(one["label"], str(one["events"]), str(one["detections"]), *parts)
    table.add_section()
    counts = (str(sum(one[key] for one in row["labels"])) for key in ("events", "detections"))
    means = (_percent(row["mean_ap"][k]) for k in places)
    table.add_row("mean", *counts, *means, style="bold")
    return table


def tracking(row: Mapping[str, Any]) -> Table:
    """An evaluation of tracks: the field's three numbers, and what they are made of."""
    found = row["metrics"]
    table = Table(title=f"{found['marked']} boxes in frames {row['first']} to {row['last']}")
    for name in ("HOTA", "MOTA", "IDF1", "recall", "precision", "switches", "ids"):
        table.add_column(name, justify="right")
    parts = (found[name] for name in ("hota", "mota", "idf1", "recall", "precision"))
    ids = f"{found['ids']} of {found['marked_ids']}"
    table.add_row(*map(_percent, parts), str(found["switches"]), ids)
    return table


def _percent(part: float | None) -> str:
    return "-" if part is None else f"{100 * part:.1f} %"
