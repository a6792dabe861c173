"""`bench/speed.py`: the page says what was measured and what was missed; costs are counted."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from marey.benchmark.footage import make_footage

BENCH = Path(__file__).parents[2] / "bench"

MACHINE = {
    "cpu": "Test CPU",
    "cores": 2,
    "instructions": ["avx2"],
    "computes": ["FP32"],
    "system": "Linux x86_64",
    "versions": {"torch": "2.14.1"},
}
WAY = {
    "video": "a.mp4",
    "width": 1280,
    "height": 720,
    "codec": "h264",
    "frames": 1500,
    "clips": 20,
    "runtime": "openvino cpu",
    "precision": "float32",
    "decode": 3.0,
    "whole": 4.0,
    "clip": 0.1,
    "memory": {"early": 700.0, "late": 701.0},
    "warnings": [],
}


def network(name: str, peer: float, exact: float, error: float, share: float) -> dict[str, Any]:
    clip = {"runtime": "openvino cpu", "precision": "float32", "ms": exact}
    eager = {"runtime": "torch cpu, eager", "precision": "float32", "ms": peer}
    return {
        "name": name,
        "library": "torchvision",
        "peer_ms": peer,
        "shape": [16, 112, 112],
        "macs": 1,
        "limit": 60.0,
        "clips": [
            eager | {"error": None, "share": None},
            clip | {"error": error, "share": share},
        ],
        "refused": {"bf16": "no bfloat16 here"},
    }


def growth(by: str, values: list[Any]) -> list[dict[str, Any]]:
    each = {"decoded": 750, "clips": 10, "seconds": 2.0, "decoding": 1.5}
    return [{by: value} | each for value in values]


FOUND = {
    "network": {
        "rows": [network("r3d_18", 280, 200, 1e-6, 0.9), network("s3d", 400, 100, 2e-6, 0.7)]
    },
    "way": {
        "whole": WAY,
        "bit_rate": 3.0,
        "picks": 40,
        "sparse": 0.5,
        "minute": {
            "way": WAY,
            "seconds": dict.fromkeys(("references", "keys", "rgb", "scaled"), 2.5)
            | {"several": 12.0, "plain": 16.0},
            "eager": "pytorchvideo",
            "several": 3,
        },
    },
    "start": {
        name: {"imported": 0.5, "ready": 2.0, "labelled": 3.5}
        for name in ("no cache", "warm cache", ".onnx", ".xml")
    },
    "memory": {
        "minutes": 10.0,
        "seconds": 30.0,
        "before": 400.0,
        "seen": [500.0, 510.0, 505.0],
        "early": 510.0,
        "late": 511.0,
        "held": [4.2, 4.3],
        "most": 8,
        "clip_mib": 2.2,
    },
    "accuracy": {
        "model": "motions6",
        "clips": 10,
        "rows": [
            {"runtime": "torch cpu", "precision": "float32", "top1": 0.9, "others": 0},
            {"runtime": "openvino cpu", "precision": "float32", "top1": 0.9, "others": 0},
        ],
    },
    "growth": {
        "length": growth("length", ["0.5", "1"]),
        "resolution": growth("resolution", ["360", "720"]),
        "batch": [
            {"batch": 1, "clips": 8, "seconds": 0.2},
            {"batch": 2, "clips": 8, "seconds": 0.3},
        ],
        "overlap": growth("overlap", ["1", "1/2"]),
    },
}


@pytest.fixture(autouse=True)
def scripts(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The scripts of `bench/` import each other by name."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(str(BENCH))
    yield
    for name in set(sys.modules) - before:
        if name.startswith("speed"):
            del sys.modules[name]


@pytest.fixture
def results() -> dict[str, Any]:
    about = {"machine": MACHINE, "command": "python bench/speed.py", "seconds": 1.0}
    return {part: about | {"found": deepcopy(found)} for part, found in FOUND.items()}


def aims(results: dict[str, Any]) -> dict[str, Any]:
    from speed_aims import aims

    return {aim.words: aim for aim in aims(results)}


def test_aims_missed_say_by_how_much_and_why(results: dict[str, Any]) -> None:
    found = aims(results)
    ratio = found["each network at least 1.5x its peer in float32"]
    assert ratio.met is False
    assert "1.4x (`r3d_18`) to 4.0x (`s3d`)" in ratio.measured
    # 1.4 is 7 % less than 1.5; at 90 % of the machine, so all of it were 1.56.
    assert "`r3d_18` 1.40x, 7% short" in ratio.why
    assert "90% of this machine's float32 rate, at all of which it would be 1.6x" in ratio.why
    assert "s3d" not in ratio.why
    way = found["the whole way at 85 % of decoding alone, or better"]
    assert (way.measured, way.met) == ("75%", False)
    assert "10 points short" in way.why
    assert "One after the other would be 60%" in way.why
    plain = found["the whole way 5x the plain way"]
    assert (plain.measured, plain.met) == ("4.0x", False)
    assert "20% short; decoding alone, the limit, is 5.3x" in plain.why
    start = found["the first label of a process under 3 s, with a warm cache"]
    assert (start.measured, start.met) == ("3.5 s", False)
    assert "0.5 s more: 0.5 s until Python has imported, 1.5 s until" in start.why


def test_aims_met_need_no_reason(results: dict[str, Any]) -> None:
    results["network"]["found"]["rows"][0]["peer_ms"] = 600
    results["way"]["found"]["whole"]["whole"] = 3.1
    results["way"]["found"]["minute"]["seconds"]["plain"] = 30
    results["start"]["found"]["warm cache"]["labelled"] = 2.9
    found = aims(results)
    assert all(aim.met for aim in found.values())
    assert not any(aim.why for aim in found.values())


def test_memory_that_grows_is_a_miss(results: dict[str, Any]) -> None:
    results["memory"]["found"]["held"] = [4.2, 8.4]
    aim = aims(results)["no more than 8 clips of frames held, however long the video"]
    assert aim.met is False
    assert "4.2 clips in the first half, 8.4 in the second" in aim.why


def test_other_answers_are_a_miss_where_fewer_are_right(results: dict[str, Any]) -> None:
    results["accuracy"]["found"]["rows"][1] |= {"top1": 0.8, "others": 1}
    aim = aims(results)["unchanged accuracy of `motions6`"]
    assert (aim.met, aim.why) == (False, "other labels in float32: 1 clips")


def test_errors_above_their_bound_are_a_miss(results: dict[str, Any]) -> None:
    results["network"]["found"]["rows"][1]["clips"][1]["error"] = 2e-4
    aim = aims(results)["its error in float32 under 1e-4"]
    assert (aim.met, aim.why) == (False, "2.0 times that")


def test_the_page_and_its_plots_are_made_from_what_was_kept(
    results: dict[str, Any], tmp_path: Path
) -> None:
    from speed_page import write

    (tmp_path / "results").mkdir()
    path, output = tmp_path / "results" / "speed.json", tmp_path / "speed.md"
    path.write_text(json.dumps(results))
    other = deepcopy(results["network"])
    other["machine"] = MACHINE | {"cpu": "Faster CPU"}
    for row in other["found"]["rows"]:
        row["clips"].append(row["clips"][1] | {"precision": "bfloat16", "ms": 50, "error": 4e-3})
    (tmp_path / "results" / "speed-fast.json").write_text(json.dumps({"network": other}))
    write(path, output)
    page = output.read_text(encoding="utf-8")
    assert "(results/speed-fast.md)" in page
    assert "2 cores of Faster CPU (avx2)" in page  # its aims are among these
    assert "each network at least 3x its peer in bfloat16" in page
    assert "Not in bf16: no bfloat16 here (all)" in page
    plots = re.findall(r"!\[[^]]*\]\(([^)]+)\)", page)
    assert len(plots) == 4
    for plot in plots:
        assert (tmp_path / plot).read_bytes().startswith(b"\x89PNG")
    tables = re.findall(r"(?:^\|.*\n)+", page, re.MULTILINE)
    for table in tables:
        widths = {line.count("|") for line in table.splitlines()}
        assert len(widths) == 1, table
    assert "| `s3d` | 16 x 112 x 112 | 400 | 400 | 50 | 8.0 |" not in page
    fast = (tmp_path / "results" / "speed-fast.md").read_text(encoding="utf-8")
    assert "| 50 | 8.0 |" in fast
    assert "## Aims" not in fast


def test_parts_that_are_not_measured_stay(results: dict[str, Any], tmp_path: Path) -> None:
    from speed import keep

    path = tmp_path / "speed.json"
    keep("start", results["start"], path)
    keep("way", results["way"], path)
    keep("start", results["start"] | {"command": "again"}, path)
    kept = json.loads(path.read_text())
    assert list(kept) == ["start", "way"]
    assert (kept["start"]["command"], kept["way"]) == ("again", results["way"])


def test_every_part_is_there() -> None:
    from speed import CHILDREN, PARTS, load

    assert all(callable(load(name)) for name in CHILDREN.values())
    assert all(callable(load(f"speed_{part}.run")) for part in PARTS)


def test_a_page_of_some_parts_has_only_those(results: dict[str, Any]) -> None:
    from speed_page import page

    text = page({"start": results["start"]}, others={})
    assert re.findall("^## (.*)$", text, re.MULTILINE) == [
        "Aims",
        "The first label",
        "On your machine",
    ]


def quiet(stage: str) -> None:
    """What a part tells of its stages, to nobody."""


def test_cost_grows_with_length_and_overlap_as_it_should(tiny: str, tmp_path: Path) -> None:
    from speed_growth import STEPS, child

    videos = {f"{s}": str(make_footage(tmp_path / f"{s}.mp4", s, (36, 64))) for s in (1.6, 3.2)}
    short, long = child(quiet, "length", tiny, videos, 1)
    assert (short["length"], short["decoded"], short["clips"]) == ("1.6", 40, 10)
    assert (long["length"], long["decoded"], long["clips"]) == ("3.2", 80, 20)
    rows = child(quiet, "overlap", tiny, {"": videos["3.2"]}, 1)
    assert [row["decoded"] for row in rows] == [80] * len(STEPS)
    # Windows of four frames in eighty, four, two and one apart.
    assert [row["clips"] for row in rows] == [20, 39, 77]
    assert all(row["seconds"] > 0 and row["decoding"] > 0 for row in rows)


def test_every_batch_looks_at_the_same_clips(tiny: str) -> None:
    from speed_growth import BATCHES, child

    rows = child(quiet, "batch", tiny, {}, 1)
    assert [(row["batch"], row["clips"]) for row in rows] == [(b, max(BATCHES)) for b in BATCHES]


def test_the_plain_way_looks_at_as_many_clips(tiny: str, video: Path) -> None:
    from speed_way import plain, read, spread

    from marey.models._create import create_model

    net = create_model(tiny)
    assert plain(str(video), net, net.input) == 10
    assert read(str(video), None) == 40
    assert read(str(video), 32, spread) == 40


def test_few_clips_are_held_however_slow_the_network(tiny: str, tmp_path: Path) -> None:
    from speed_memory import held

    from marey.models._checkpoint import save_checkpoint
    from marey.models._create import create_model

    net = create_model(tiny)
    net.input = replace(net.input, frames=12, size=(128, 128), resize=128)  # large beside all else
    save_checkpoint(net, tmp_path / "net")
    video = make_footage(tmp_path / "made.mp4", 6, (128, 192))
    found = held(quiet, str(tmp_path / "net"), str(video))
    first, second = found["held"]
    assert found["clip_mib"] == 12 * 128 * 192 * 3 / 2**20
    assert 1 < first <= found["most"]
    assert 1 < second <= found["most"]
