"""The result of `marey bench` as tables, for a terminal and for a page."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Group
from rich.table import Table

from marey.files import whole_file
from marey.outputs import check_output

SUFFIXES = (".json", ".md")


@dataclass(frozen=True, slots=True)
class Grid:
    """A table: the first column is words, the others are numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def grids(row: Mapping[str, Any]) -> list[Grid]:
    """What was measured, of what `Bench.to_dict` gives: machine, clip, start, videos."""
    return [_machine(row), _clip(row), _start(row["start"]), _ways(row["ways"])]


def drawn(row: Mapping[str, Any]) -> Group:
    """The tables for a terminal."""
    return Group(*map(_table, grids(row)))


def write(row: Mapping[str, Any], path: str | os.PathLike[str]) -> None:
    """Write the result whole or not at all, as JSON or as a page; `OutputError`."""
    path = check_output(path, suffixes=SUFFIXES)
    page = path.suffix == ".md"
    text = markdown(row) if page else json.dumps(row, ensure_ascii=False, indent=2) + "\n"
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def markdown(row: Mapping[str, Any]) -> str:
    """The tables as a page."""
    parts = [f"# {row['model']}\n"]
    for grid in grids(row):
        parts.append(f"\n## {grid.title}\n\n" + table(grid.columns, grid.rows))
    return "".join(parts)


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table in Markdown, words left, numbers right."""
    lines = [columns, ["---", *["--:"] * (len(columns) - 1)], *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _machine(row: Mapping[str, Any]) -> Grid:
    machine = row["machine"]
    limit = row["network"]["limit"]
    rows = [
        ("system", machine["system"]),
        ("processor", f"{machine['cpu']}, {machine['cores']} cores"),
        ("instructions", " ".join(machine["instructions"]) or "-"),
        ("computes", " ".join(machine["computes"]) or "-"),
        ("at most", f"{limit:.0f} GFLOP/s in float32" if limit else "-"),
        ("versions", ", ".join(f"{name} {text}" for name, text in machine["versions"].items())),
    ]
    return Grid("Machine", ("", ""), tuple(rows))


def _clip(row: Mapping[str, Any]) -> Grid:
    network = row["network"]
    first = network["clips"][0]["ms"]
    rows = [
        (
            f"{clip['runtime']}, {clip['precision']}",
            f"{clip['ms']:.1f}",
            f"{first / clip['ms']:.2f}",
            "-" if clip["error"] is None else f"{clip['error']:.1e}",
            "-" if clip["share"] is None else f"{clip['share']:.0%}",
        )
        for clip in network["clips"]
    ]
    rows += [(f"{name}: {why}", "-", "-", "-", "-") for name, why in network["refused"].items()]
    shape = " x ".join(map(str, network["shape"]))
    columns = ("", "ms", "x", "error", "of the machine")
    return Grid(f"One clip, T x H x W {shape}", columns, tuple(rows))


def _start(start: Mapping[str, float]) -> Grid:
    rows = (
        ("imported", f"{start['imported']:.2f} s"),
        ("network ready", f"{start['ready']:.2f} s"),
        ("first label, warm cache", f"{start['labelled']:.2f} s"),
    )
    return Grid("From the start of a process", ("", ""), rows)


def _ways(ways: list[Mapping[str, Any]]) -> Grid:
    rows = []
    for way in ways:
        memory = way["memory"]
        rows.append(
            (
                f"{way['video']}, {way['width']}x{way['height']} {way['codec']}",
                f"{way['frames']:,}",
                f"{way['decode_frames_per_s']:.0f}",
                f"{way['frames_per_s']:.0f}",
                f"{way['ratio']:.0%}",
                f"{way['ratio_in_sequence']:.0%}",
                f"{way['clips_per_s']:.1f}",
                "-" if memory is None else f"{max(memory.values()):.0f}",
            )
        )
    columns = ("", "frames", "decoded/s", "labelled/s", "ratio", "in sequence", "clips/s", "MiB")
    return Grid("Whole videos", columns, tuple(rows))


def _table(grid: Grid) -> Table:
    drawn = Table(title=f"\n{grid.title}", title_justify="left", box=None, pad_edge=False)
    drawn.show_header = any(grid.columns)
    for number, name in enumerate(grid.columns):
        drawn.add_column(name, justify="right" if number and drawn.show_header else "left")
    for row in grid.rows:
        drawn.add_row(*row)
    return drawn
