"""What was aimed at, beside what was measured; where an aim is missed, by how much, and why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from marey.benchmark.result import Way

Results = Mapping[str, Mapping[str, Any]]
"""Parts of bench/speed.py that were measured on one machine, by name."""


@dataclass(frozen=True, slots=True)
class Aim:
    """`met` is None where it was not measured; `why` explains a miss."""

    words: str
    measured: str
    met: bool | None
    why: str = ""


def aims(results: Results, others: Iterable[Results] = ()) -> list[Aim]:
    """Those of one machine, and of `others` those that take a processor that this one is not."""
    found = []
    for one in (results, *others):
        if "network" in one:
            found += list(_networks(one["network"]))
    for part, make in (
        ("way", _way),
        ("start", _start),
        ("memory", _memory),
        ("accuracy", _accuracy),
    ):
        if part in results:
            found += make(results[part]["found"])
    return found


def machine_name(machine: Mapping[str, Any]) -> str:
    """2 cores of AMD EPYC (avx2)."""
    sets = " ".join(machine["instructions"])
    return f"{machine['cores']} cores of {machine['cpu']} ({sets})"


@dataclass(frozen=True, slots=True)
class _Beside:
    """A network in one precision beside its peer."""

    name: str
    ratio: float
    error: float
    share: float

    def missing(self, aim: float) -> str:
        return (
            f"`{self.name}` {self.ratio:.2f}x, {1 - self.ratio / aim:.0%} short: it runs at "
            f"{self.share:.0%} of this machine's float32 rate, at all of which it would be "
            f"{self.ratio / self.share:.1f}x"
        )


def _networks(measured: Mapping[str, Any]) -> Iterator[Aim]:
    where, rows = machine_name(measured["machine"]), measured["found"]["rows"]
    default = beside(rows, "bfloat16")
    if default:
        yield _ratio("each network at least 3x its peer in bfloat16", 3, default, where)
        yield _error("its error in bfloat16 under 1 %", 0.01, default, where)
        fast = [one.name for one in default if one.ratio >= 5]
        what = f"{len(fast)} of {len(default)}, {where}"
        yield Aim("six networks 5x their peers or more", what, len(fast) >= 6)
    exact = beside(rows, "float32")
    if exact:
        yield _ratio("each network at least 1.5x its peer in float32", 1.5, exact, where)
        yield _error("its error in float32 under 1e-4", 1e-4, exact, where)


def beside(rows: Iterable[Mapping[str, Any]], precision: str) -> list[_Beside]:
    """The networks that have a peer and were compiled in `precision`."""
    return [
        _Beside(row["name"], row["peer_ms"] / clip["ms"], clip["error"], clip["share"])
        for row in rows
        if row["peer_ms"]
        for clip in row["clips"][1:]
        if clip["precision"] == precision
    ]


def _ratio(words: str, aim: float, every: list[_Beside], where: str) -> Aim:
    low, high = (pick(every, key=lambda one: one.ratio) for pick in (min, max))
    measured = (
        f"{len(every)} networks, {low.ratio:.1f}x (`{low.name}`) to {high.ratio:.1f}x "
        f"(`{high.name}`), {where}"
    )
    missed = [one.missing(aim) for one in every if one.ratio < aim]
    return Aim(words, measured, not missed, "; ".join(missed))


def _error(words: str, aim: float, every: list[_Beside], where: str) -> Aim:
    worst = max(every, key=lambda one: one.error)
    measured = f"at most {worst.error:.1e} (`{worst.name}`), {where}"
    why = f"{worst.error / aim:.1f} times that"
    return Aim(words, measured, worst.error < aim, "" if worst.error < aim else why)


def _way(found: Mapping[str, Any]) -> Iterator[Aim]:
    way = Way.from_dict(found["whole"])
    alone = way.clips * way.clip
    met = way.ratio >= 0.85
    why = (
        f"{100 * (0.85 - way.ratio):.0f} points short: the same cores decode for "
        f"{way.decode:.1f} s and run the network for {alone:.1f} s, each alone; both in "
        f"{way.whole:.1f} s. One after the other would be {way.in_sequence:.0%}"
    )
    words = "the whole way at 85 % of decoding alone, or better"
    yield Aim(words, f"{way.ratio:.0%}", met, "" if met else why)
    minute, seconds = Way.from_dict(found["minute"]["way"]), found["minute"]["seconds"]
    times = seconds["plain"] / minute.whole
    most = seconds["plain"] / minute.decode
    why = f"{1 - times / 5:.0%} short; decoding alone, the limit, is {most:.1f}x"
    yield Aim(
        "the whole way 5x the plain way", f"{times:.1f}x", times >= 5, "" if times >= 5 else why
    )


def _start(found: Mapping[str, Any]) -> Iterator[Aim]:
    warm = found["warm cache"]
    met = warm["labelled"] < 3
    why = (
        f"{warm['labelled'] - 3:.1f} s more: {warm['imported']:.1f} s until Python has imported, "
        f"{warm['ready'] - warm['imported']:.1f} s until the network is ready, "
        f"{warm['labelled'] - warm['ready']:.1f} s until the first label"
    )
    words = "the first label of a process under 3 s, with a warm cache"
    yield Aim(words, f"{warm['labelled']:.1f} s", met, "" if met else why)


def _memory(found: Mapping[str, Any]) -> Iterator[Aim]:
    first, second = found["held"]
    grown = found["late"] - found["early"]
    measured = (
        f"at most {max(first, second):.1f} clips of {found['clip_mib']:.1f} MiB; over "
        f"{found['minutes']:g} minutes the process grows by {max(0, grown):.0f} MiB after the "
        "first tenth"
    )
    met = max(first, second) <= found["most"] and grown <= 0.05 * found["early"]
    why = f"{first:.1f} clips in the first half, {second:.1f} in the second; {grown:.0f} MiB more"
    words = f"no more than {found['most']} clips of frames held, however long the video"
    yield Aim(words, measured, met, "" if met else why)


def _accuracy(found: Mapping[str, Any]) -> Iterator[Aim]:
    eager, *others = found["rows"]
    changed = [row for row in others if row["top1"] != eager["top1"]]
    each = ", ".join(f"{row['precision']} {row['top1']:.1%}" for row in others)
    why = ", ".join(f"{row['precision']}: {row['others']} clips" for row in changed)
    yield Aim(
        f"unchanged accuracy of `{found['model']}`",
        f"eager {eager['top1']:.1%}, compiled {each}, of {found['clips']} clips",
        not changed,
        why and f"other labels in {why}",
    )
