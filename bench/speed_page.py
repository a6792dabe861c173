"""The page of bench/speed.py, from results that were kept: `docs/speed.md` and its plots."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import speed_plots
from speed_aims import Aim, Results, aims, machine_name
from speed_plots import minute_rows

from marey.benchmark.footage import FPS
from marey.benchmark.result import Way
from marey.files import whole_file
from marey.outputs.bench import table

PRECISIONS = ("float32", "bfloat16", "int8")


def write(path: Path, output: Path) -> None:
    """The page of the results at `path`, with plots beside them.

    Results of other machines, `speed-NAME.json` beside them, get pages of their own there.
    """
    results = json.loads(path.read_text(encoding="utf-8"))
    others = {}
    for other in sorted(path.parent.glob(f"{path.stem}-*.json")):
        others[other.with_suffix(".md")] = found = json.loads(other.read_text(encoding="utf-8"))
        _save(page(found), other.with_suffix(".md"))
    plots = {}
    for part, draw in speed_plots.PLOTS.items():
        if part in results:
            plot = path.with_name(f"{path.stem}-{part}.png")
            draw(results[part]["found"], plot)
            plots[part] = os.path.relpath(plot, output.parent)
    links = {os.path.relpath(place, output.parent): found for place, found in others.items()}
    _save(page(results, others=links, plots=plots), output)


def _save(text: str, path: Path) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def page(
    results: Results,
    *,
    others: Mapping[str, Results] | None = None,
    plots: Mapping[str, str] | None = None,
) -> str:
    """The page; `others` are results of other machines by the links to their pages."""
    parts = ["# Speed\n", *head(results)]
    if others is not None:
        parts += [f"On another machine: [{link}]({link}).\n" for link in others]
        parts.append("What int8 costs in accuracy: [results/int8.md](results/int8.md).\n")
        parts += ["## Aims\n", aim_table(aims(results, others.values()))]
    for part, (title, section) in SECTIONS.items():
        if part in results:
            parts += [f"## {title}\n", *section(results[part]["found"])]
            if plots and part in plots:
                parts.append(f"![{title}]({plots[part]})\n")
    if others is not None:
        parts.append(YOURS)
    return "\n".join(parts)


YOURS = """\
## On your machine

`marey bench -m MODEL [VIDEO…]`, or `marey.bench` from Python, measures a network where it is to
run, by name (without weights nothing is downloaded), checkpoint or exported file: one clip, eager
and compiled in each precision there is, with its error and its share of the machine's float32
rate; seconds from the start of a process to the first label; and each video, or a made one of
`--minutes`: frames a second of decoding alone (*decoded*) and of the whole way (*labelled*), their
*ratio*, what that would be *in sequence*, decoding first and the network after, and the memory
held at most. `-o` writes it as `.json` or `.md`.
"""


def head(results: Results) -> Iterable[str]:
    """Which command made which part, on which machine."""
    made: dict[str, list[str]] = {}
    notes = {measured["note"] for measured in results.values() if "note" in measured}
    for part, measured in results.items():
        versions = measured["machine"]["versions"]
        with_what = ", ".join(f"{name} {version}" for name, version in versions.items())
        how = f"`{measured['command']}` on {machine_name(measured['machine'])}, {with_what}"
        made.setdefault(how, []).append(part)
    every = len(made) == 1
    yield "".join(f"{how}{'' if every else ': ' + ', '.join(p)}.\n" for how, p in made.items())
    minutes = sum(measured["seconds"] or 0 for measured in results.values()) / 60
    took = f" Measuring took {minutes:.0f} minutes." if minutes else ""
    yield f"Figures are medians; what is compared ran in turns, in one process.{took}\n"
    yield from (f"{note}\n" for note in notes)


def aim_table(found: Iterable[Aim]) -> str:
    words = {True: "yes", False: "**no**", None: "-"}
    rows = [
        (aim.words, aim.measured, words[aim.met] + (f": {aim.why}" if aim.why else ""))
        for aim in found
    ]
    lines = [("aim", "measured", "met"), ("---", "---", "---"), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def networks(found: Mapping[str, Any]) -> Iterable[str]:
    rows = found["rows"]
    there = [name for name in PRECISIONS if any(_compiled(row, name) for row in rows)]
    yield (
        "One clip. The peer is torchvision's or pytorchvideo's own code, eager, in float32, from a "
        "clip that is normalised already, as is ours eager; compiled ones take uint8 frames. *x*: "
        "the peer's time over ours. *Share*: of the rate of a large float32 matrix product or "
        "convolution in the same process, whichever is faster. *Error*: of the logits on frames of "
        "a video, against ours eager, relative to the largest; weights are filled by a formula.\n"
    )
    columns = ["network", "T x H x W", "peer ms", "eager ms"]
    columns += [text for name in there for text in (f"{name} ms", "x", "share", "error")]
    yield table(columns, [_network(row, there) for row in rows])
    refused: dict[str, list[str]] = {}
    for row in rows:
        for precision, why in row["refused"].items():
            refused.setdefault(f"{precision}: {why}", []).append(row["name"])
    for why, names in refused.items():
        yield f"Not in {why} ({'all' if len(names) == len(rows) else ', '.join(names)}).\n"


def _compiled(row: Mapping[str, Any], precision: str) -> Mapping[str, Any] | None:
    clips: list[Mapping[str, Any]] = row["clips"][1:]
    return next((clip for clip in clips if clip["precision"] == precision), None)


def _network(row: Mapping[str, Any], precisions: Iterable[str]) -> tuple[str, ...]:
    peer = row["peer_ms"]
    cells = [f"`{row['name']}`", " x ".join(map(str, row["shape"]))]
    cells += [f"{peer:.0f}" if peer else "-", f"{row['clips'][0]['ms']:.0f}"]
    for precision in precisions:
        clip = _compiled(row, precision)
        if clip is None:
            cells += ["-"] * 4
            continue
        times = f"{peer / clip['ms']:.1f}" if peer else "-"
        cells += [f"{clip['ms']:.0f}", times, f"{clip['share']:.0%}", f"{clip['error']:.1e}"]
    return tuple(cells)


def ways(found: Mapping[str, Any]) -> Iterable[str]:
    whole, minute = Way.from_dict(found["whole"]), found["minute"]
    yield (
        f"`marey classify -m x3d_s` ({whole.precision}) on {whole.frames / FRAMES:g} minutes of "
        f"made {whole.height}p H.264, {found['bit_rate']:.1f} Mbit/s, a key frame every 2 s: "
        f"{whole.clips} clips, {whole.clips / whole.whole:.1f} a second.\n"
    )
    rows = [("decoding alone, by PyAV", whole.decode), ("the whole way", whole.whole)]
    one_by_one = whole.decode + whole.clips * whole.clip
    rows.append(("decoding, then the network, each as measured alone", one_by_one))
    rows.append((f"{found['picks']} picks, spread evenly and sought, scaled", found["sparse"]))
    yield table(RATES, _rates(rows, whole.frames, whole.decode))
    short, seconds = Way.from_dict(minute["way"]), minute["seconds"]
    minutes = f"{short.frames / FRAMES:g}"
    first = "minute" if minutes == "1" else f"{minutes} minutes"
    yield f"On the first {first} of it, all in turns in one process:\n"
    yield table(RATES, _rates(minute_rows(minute), short.frames, short.decode))
    yield (
        "The plain way: PyAV decodes every frame to an RGB array, PIL scales it, NumPy makes it "
        f"float and normalises it, {minute['eager']}'s x3d_s runs eager on every window. The whole "
        f"way is {seconds['plain'] / short.whole:.1f}x as fast. `references` and `keys` pass over "
        f"frames (`marey classify --decode`). The rate of {minute['several']} videos is of all of "
        f"them together.\n"
    )


FRAMES = 60 * FPS  # a minute
RATES = ("", "s", "frames/s", "of decoding alone")


def _rates(rows: Iterable[tuple[str, float]], frames: int, decode: float) -> list[tuple[str, ...]]:
    return [
        (name, f"{seconds:.2f}", f"{frames / seconds:.0f}", f"{decode / seconds:.0%}")
        for name, seconds in rows
    ]


def starts(found: Mapping[str, Any]) -> Iterable[str]:
    yield (
        "Seconds from the start of a process until the scores of the first window of a 720p video "
        "are there. Without a cache the network is converted and compared with itself; from a file "
        "that `marey export` wrote it runs without torch.\n"
    )
    stages = ("imported", "ready", "labelled")
    rows = [(name, *(f"{row[stage]:.2f}" for stage in stages)) for name, row in found.items()]
    yield table(("", "imported", "network ready", "first label"), rows)


def memory(found: Mapping[str, Any]) -> Iterable[str]:
    yield (
        f"Over {found['minutes']:g} minutes of video the process holds {found['before']:.0f} MiB "
        f"before it, at most {found['early']:.0f} MiB in the first tenth and {found['late']:.0f} "
        f"MiB later.\n\nOf frames Python holds {found['most']} clips at most: the next one, twice "
        "while it is put together; two ahead of the network; the one that it looks at "
        "and the one before, and what was cut from either. With a network so slow that "
        f"decoding runs as far ahead as it may, {found['held'][0]:.1f} clips of "
        f"{found['clip_mib']:.1f} MiB were counted in the first half of a video, and "
        f"{found['held'][1]:.1f} in the second. The decoder's own frames and the network are the "
        "rest.\n"
    )


def growths(found: Mapping[str, Any]) -> Iterable[str]:
    yield "Of `x3d_s`; frames decoded and clips are counted.\n"
    for by, words in GROWTH.items():
        rows = [_growth(by, row) for row in found[by]]
        yield f"### By {words}\n"
        yield table(BATCH if by == "batch" else (by, *COUNTED), rows)


GROWTH = {
    "length": "length, in minutes of 720p",
    "resolution": "resolution",
    "batch": "batch",
    "overlap": "overlap: windows begin so many windows apart",
}
COUNTED = ("decoded", "clips", "s", "frames/s", "of decoding alone")
BATCH = ("batch", "clips", "s", "ms a clip")


def _growth(by: str, row: Mapping[str, Any]) -> tuple[str, ...]:
    seconds = row["seconds"]
    head = (str(row[by]), *((f"{row['decoded']:,}",) if by != "batch" else ()))
    counted = (*head, f"{row['clips']:,}", f"{seconds:.2f}")
    if by == "batch":
        return (*counted, f"{1000 * seconds / row['clips']:.1f}")
    return (*counted, f"{row['decoded'] / seconds:.0f}", f"{row['decoding'] / seconds:.0%}")


def accuracies(found: Mapping[str, Any]) -> Iterable[str]:
    yield (
        f"`{found['model']}` on the {found['clips']} clips that it was trained on, one view each: "
        "top-1, and how many clips get another label than from the eager network.\n"
    )
    rows = [
        (f"{row['runtime']}, {row['precision']}", f"{row['top1']:.2%}", str(row["others"]))
        for row in found["rows"]
    ]
    yield table(("", "top-1", "other labels"), rows)


Section = Callable[[Mapping[str, Any]], Iterable[str]]
SECTIONS: Mapping[str, tuple[str, Section]] = {
    "network": ("Networks beside their peers", networks),
    "way": ("The whole way", ways),
    "start": ("The first label", starts),
    "memory": ("Memory", memory),
    "growth": ("How the cost grows", growths),
    "accuracy": ("Answers", accuracies),
}
