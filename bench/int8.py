"""What int8 costs and brings: accuracy on motions6, and which networks quantise.

    OMP_NUM_THREADS=1 python bench/int8.py MEDIA --train     # once: 10 minutes
    python bench/int8.py MEDIA

MEDIA is the folder of footage that MAREY_MEDIA names. The accuracy is that of a network on the fold
that it was not trained on: the one that ships has seen every clip. It is a run of
`bench/motions6.py` (`order`, fold 0), made if it is not there. Other networks are calibrated on
street videos (`fights`), those without weights with weights filled by a formula: whether they
quantise, and how fast they are then, not how good they are. Writes `docs/results/int8.md`.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import motions6
import numpy as np

from marey.benchmark.machine import this_machine
from marey.benchmark.model import fill_net
from marey.benchmark.turns import in_turns
from marey.data.manifest import Manifest
from marey.errors import MareyError
from marey.export import export
from marey.files import whole_file
from marey.models._create import create_model, load_checkpoint
from marey.quantise import KEPT, Quantised
from marey.runtime import Runtime, compile
from marey.training.evaluate import Evaluation, evaluate

PAGE = Path(__file__).parents[1] / "docs" / "results" / "int8.md"

# Small clips: whether a graph quantises does not depend on them.
NETWORKS = {
    "efficientnet_lite0.in1k": (8, 224),
    "r3d_18": (8, 112),
    "r2plus1d_18": (8, 112),
    "s3d": (16, 112),
    "csn_r101": (8, 112),
    "x3d_xs": (4, 160),
    "movinet_a0": (8, 128),
}
FEW = 16  # clips that calibrate and judge them
REPEATS = 9


def accuracy(media: Path, run: Path, folder: Path) -> str:
    """The part of the page on motions6."""
    net = load_checkpoint(run / "last")
    table = run / "split.csv"
    held_out = Manifest.read(table).split("val")
    export(net, folder / "f32.xml")
    found = export(net, folder / "int8.xml", precision="int8", calibrate=table).quantised
    assert found is not None
    runtimes: dict[str, Runtime] = {
        name: compile(folder / f"{name}.xml") for name in ("f32", "int8")
    }
    results = {
        name: evaluate(runtime, held_out, views=(1, 1), bar=False)
        for name, runtime in runtimes.items()
    }
    times = milliseconds(runtimes)
    rows = [
        f"| {runtimes[name].card().precision} | {right(result)} | {times[name]:.1f} "
        f"| {megabytes(folder, name):.1f} |\n"
        for name, result in results.items()
    ]
    return (
        "## Accuracy\n\n"
        "`motions6` as it ships has seen every clip, so this is another: the same recipe, trained "
        f"on two folds of three and tested on the {len(held_out)} clips of the third, one view "
        f"each. int8 is calibrated on {found.calibrated} clips of the training folds and judged by "
        f"{found.compared} others of them ({judged(found)}).\n\n"
        "| numbers | top-1, clips not trained on | ms a clip | MB |\n| --- | --- | --: | --: |\n"
        f"{''.join(rows)}\n"
        f"{others(results)} of {len(held_out)} clips get another label in int8; "
        f"it is {times['f32'] / times['int8']:.2f} times as fast.\n"
    )


def right(result: Evaluation) -> str:
    hits = round(result.metrics.top1 * result.samples)
    return f"{100 * result.metrics.top1:.1f} % ({hits} of {result.samples})"


def others(results: dict[str, Evaluation]) -> int:
    """How many clips the two do not agree on."""
    labels = [[one.predicted for one in result.predictions] for result in results.values()]
    return sum(a != b for a, b in zip(*labels, strict=True))


def judged(found: Quantised) -> str:
    return (
        f"difference {found.difference:.2f}, same best label {found.agreement:.0%}, "
        f"certainty kept {found.kept:.0%}"
    )


def milliseconds(runtimes: dict[str, Runtime]) -> dict[str, float]:
    """The median time of one clip through each, in turns."""
    prepare = next(iter(runtimes.values())).input
    shape = (1, prepare.frames, *prepare.size, 3)
    frames = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    runs = {name: lambda runtime=runtime: runtime(frames) for name, runtime in runtimes.items()}
    return {name: 1000 * seconds for name, seconds in in_turns(runs, REPEATS).items()}


def megabytes(folder: Path, name: str) -> float:
    return sum((folder / f"{name}{suffix}").stat().st_size for suffix in (".xml", ".bin")) / 1e6


def network(name: str, footage: Path, folder: Path) -> str:
    """One network's row of the table."""
    net = create_model(name)
    frames, size = NETWORKS[name]
    net.input = replace(net.input, frames=frames, size=(size, size), resize=size)
    if "." not in name:
        fill_net(net)
    head = f"| `{name}` | {frames} x {size} x {size} |"
    export(net, folder / "f32.xml")
    try:
        made = export(net, folder / "int8.xml", precision="int8", calibrate=footage, clips=FEW)
    except MareyError as error:
        return f"{head} refused: {error.what} | | | | | |\n"
    assert made.quantised is not None
    times = milliseconds({one: compile(folder / f"{one}.xml") for one in ("f32", "int8")})
    sizes = [megabytes(folder, one) for one in ("f32", "int8")]
    cells: list[Any] = [
        f"{made.quantised.difference:.3f}",
        f"{made.quantised.kept:.0%}",
        *(f"{times[one]:.0f}" for one in ("f32", "int8")),
        f"{times['f32'] / times['int8']:.2f}",
        " → ".join(f"{one:.0f}" for one in sizes),
    ]
    return f"{head} {' | '.join(cells)} |\n"


def machine() -> str:
    found = this_machine()
    names = ("avx2", "avx512f", "avx_vnni", "avx512_vnni", "amx_int8")
    there = [name for name in names if name in found.instructions]
    dot = {"avx_vnni", "avx512_vnni", "amx_int8"} & set(there)
    without = "" if dot else ", without VNNI or AMX, the instructions that int8 is made for"
    return f"{found.cores} cores of {found.cpu} ({', '.join(there)}{without}), " + ", ".join(
        f"{name} {found.versions[name]}" for name in ("torch", "openvino")
    )


def page(motions: str, rows: list[str]) -> str:
    return (
        "# int8\n\n"
        f"`python bench/int8.py $MAREY_MEDIA` on {machine()}. Times are medians of {REPEATS}, "
        "float32 and int8 in turns, files run by OpenVINO on all cores.\n\n"
        f"{motions}\n## Which networks quantise\n\n"
        f"Calibrated on {FEW - FEW // 4} clips of street videos, judged by {FEW // 4} others. "
        "Where no tag is named the weights are filled by a formula. *difference*: the largest of "
        "any logit, relative to the largest; *kept*: the part of the certainty that its best "
        f"labels keep (below {KEPT:.0%} a file is refused).\n\n"
        "| network | T x H x W | difference | kept | f32 ms | int8 ms | x | MB |\n"
        f"| --- | --- | --: | --: | --: | --: | --: | --- |\n{''.join(rows)}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("media", type=Path)
    parser.add_argument("--out", type=Path, default=Path("runs/folds"))
    parser.add_argument("--train", action="store_true", help="train the network, and no more")
    options = parser.parse_args()
    run = options.out / "order-0"
    motions6.run(options.media / "motions6", "order", 0, run)
    if options.train:
        return
    with tempfile.TemporaryDirectory() as folder:
        motions = accuracy(options.media, run, Path(folder))
        print(motions, flush=True)
        rows = []
        for name in NETWORKS:
            rows.append(network(name, options.media / "fights", Path(folder)))
            print(rows[-1], end="", flush=True)
    with whole_file(PAGE) as path:
        path.write_text(page(motions, rows), encoding="utf-8")


if __name__ == "__main__":
    main()
