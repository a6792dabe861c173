"""The plots of bench/speed.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from marey.files import whole_file

_COLOURS = {"float32": "#4c72b0", "bfloat16": "#dd8452", "int8": "#55a868"}
_PEER, _OURS, _LIMIT = "#888888", "#1f5fa8", "#222222"


def networks(found: Mapping[str, Any], path: Path) -> None:
    """How many times its peer's speed each network has, in each precision."""
    rows = [row for row in found["rows"] if row["peer_ms"]]
    names = [row["name"] for row in rows]
    there = [p for p in _COLOURS if any(c["precision"] == p for r in rows for c in r["clips"][1:])]
    figure = Figure(figsize=(8, 0.8 + 0.28 * len(rows) * (len(there) + 0.5)), layout="constrained")
    axes = figure.subplots()
    height = 0.8 / max(1, len(there))
    for number, precision in enumerate(there):
        for place, row in enumerate(rows):
            for clip in row["clips"][1:]:
                if clip["precision"] == precision:
                    times, y = row["peer_ms"] / clip["ms"], place + (number + 0.5) * height - 0.4
                    axes.barh(y, times, height * 0.9, color=_COLOURS[precision])
                    axes.annotate(
                        f"{times:.1f}",
                        (times, y),
                        (4, 0),
                        va="center",
                        fontsize=8,
                        textcoords="offset points",
                    )
        axes.barh(0, 0, color=_COLOURS[precision], label=precision)
    axes.axvline(1, color=_PEER, linewidth=1.2, label="the peer, eager")
    axes.set_yticks(range(len(names)), names)
    axes.invert_yaxis()
    axes.set(xlabel="times the peer's speed, one clip")
    axes.margins(x=0.08)
    axes.legend(frameon=False, loc="upper right")
    _save(figure, path)


def ways(found: Mapping[str, Any], path: Path) -> None:
    """Frames a second of each way."""
    minute = found["minute"]
    rows = minute_rows(minute)
    frames = minute["way"]["frames"]
    figure = Figure(figsize=(8, 0.8 + 0.38 * len(rows)), layout="constrained")
    axes = figure.subplots()
    for place, (name, seconds) in enumerate(rows):
        colour = _LIMIT if not place else _PEER if "plain" in name else _OURS
        axes.barh(place, frames / seconds, 0.7, color=colour)
        axes.annotate(
            f"{frames / seconds:.0f}",
            (frames / seconds, place),
            (4, 0),
            va="center",
            fontsize=9,
            textcoords="offset points",
        )
    axes.axvline(frames / minute["way"]["decode"], color=_LIMIT, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [name.replace("`", "") for name, _ in rows])
    axes.invert_yaxis()
    axes.set(xlabel="frames a second, 720p H.264")
    axes.margins(x=0.08)
    _save(figure, path)


def minute_rows(minute: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Seconds for one video each."""
    way, seconds = minute["way"], minute["seconds"]
    several = minute["several"]
    return [
        ("decoding alone, by PyAV", way["decode"]),
        ("every frame to RGB", seconds["rgb"]),
        ("every frame scaled", seconds["scaled"]),
        ("the whole way", way["whole"]),
        (f"the whole way, {several} videos", seconds["several"] / several),
        ("the whole way, `references`", seconds["references"]),
        ("the whole way, `keys`", seconds["keys"]),
        ("the plain way", seconds["plain"]),
    ]


def memory(found: Mapping[str, Any], path: Path) -> None:
    """Resident memory over a long video."""
    figure = Figure(figsize=(8, 2.6), layout="constrained")
    axes = figure.subplots()
    seen = found["seen"]
    minutes = np.linspace(0, found["minutes"], len(seen))
    axes.plot(minutes, seen, color=_OURS, linewidth=1.6)
    axes.axhline(found["before"], color=_PEER, linewidth=1, linestyle=":", label="before it")
    axes.set(xlabel="minutes of video", ylabel="resident, MiB", ylim=(0, 1.15 * max(seen)))
    axes.legend(frameon=False, loc="lower right")
    _save(figure, path)


def growths(found: Mapping[str, Any], path: Path) -> None:
    """Seconds by length, resolution and overlap, beside decoding alone; and by batch."""
    figure = Figure(figsize=(9, 5.4), layout="constrained")
    for axes, (by, words) in zip(figure.subplots(2, 2).flat, _GROWTH.items(), strict=True):
        rows = found[by]
        places = [float(row[by]) if by == "length" else k for k, row in enumerate(rows)]
        style: dict[str, Any] = {"marker": "o", "markersize": 4, "linewidth": 1.8}
        if by == "batch":
            each = [1000 * row["seconds"] / row["clips"] for row in rows]
            axes.plot(places, each, color=_OURS, label="ms a clip", **style)
        else:
            seconds = [row["seconds"] for row in rows]
            decoding = [row["decoding"] for row in rows]
            axes.plot(places, seconds, color=_OURS, label="s, the whole way", **style)
            axes.plot(places, decoding, color=_LIMIT, label="s, decoding alone", **style)
        if by != "length":
            axes.set_xticks(places, [str(row[by]) for row in rows])
        axes.set(xlabel=words)
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.legend(frameon=False)
        _plain(axes)
    _save(figure, path)


_GROWTH = {
    "length": "minutes of 720p",
    "resolution": "pixels high, 16:9",
    "batch": "clips at once",
    "overlap": "windows between the starts of windows",
}


def _plain(axes: Axes) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)


def _save(figure: Figure, path: Path) -> None:
    for axes in figure.axes:
        _plain(axes)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=100, format="png")


PLOTS: Mapping[str, Callable[[Mapping[str, Any], Path], None]] = {
    "network": networks,
    "way": ways,
    "memory": memory,
    "growth": growths,
}
