"""How fast detectors are, compiled, beside the libraries' own calls. Writes detectors.md.

    python bench/detectors.py [NAME…] [--repeats 5] [--out runs/detectors]

NAMEs are those of `--detector`, by default all that run both ways; the page is of all. Weights are
filled by a formula, also what is said of boxes is of such. What is in `--out` is not done again.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from textwrap import fill as wrapped
from typing import Any

import torch
from torchvision.models import detection

from marey.benchmark.machine import this_machine
from marey.benchmark.turns import in_turns
from marey.files import whole_file
from marey.models._weights import Weights
from marey.runtime import _detr, _torchvision
from marey.runtime._torch_detector import TorchDetector
from marey.runtime.openvino import RefusedError, example
from marey.testing.fill import fill

PAGE = Path(__file__).parents[1] / "docs" / "results" / "detectors.md"
SIZE = (480, 640)

Row = dict[str, Any]


def filled(net: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The state of `net`, by the formula."""
    return {
        key: torch.from_numpy(fill(key, tuple(value.shape), str(value.dtype))).to(value.dtype)
        for key, value in net.state_dict().items()
    }


def publish(name: str, folder: Path) -> None:
    """Filled weights where those of `name` are looked for."""
    table: dict[str, Weights]
    if name in _detr.WEIGHTS:
        table, path, net = _detr.WEIGHTS, folder / name / "model.safetensors", _detr.made(name)
        net.load_state_dict(filled(net))
        net.save_pretrained(path.parent)
    else:
        table, path = _torchvision.WEIGHTS, folder / f"{name}.pth"
        net = getattr(detection, name)(weights=None, weights_backbone=None)
        state = filled(net)  # norms count nothing in published files
        torch.save({k: v for k, v in state.items() if not k.endswith("batches_tracked")}, path)
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    table[name] = replace(table[name], source=path.as_uri(), sha256=found)


def made(name: str, runtime: str) -> TorchDetector:
    if name in _detr.WEIGHTS:
        return _detr.DetrDetector(name, runtime=runtime)
    return _torchvision.TorchvisionDetector(name, runtime=runtime)


@torch.inference_mode()
def measure(name: str, repeats: int) -> Row:
    """A frame of soft spots, and the fixed part by itself for the picture that the network sees."""
    load = os.getloadavg()[0]
    both = {runtime: made(name, runtime) for runtime in ("torch", "openvino")}
    frames = example(torch.uint8, (1, 1, *SIZE, 3))[0].numpy()
    seen: list[torch.Tensor] = []
    plain = both["torch"]
    plain._fixed.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    found = {runtime: detector(frames)[0] for runtime, detector in both.items()}
    runs = {runtime: partial(detector, frames) for runtime, detector in both.items()}
    parts = {f"{key}, fixed": partial(one.compute, seen[0]) for key, one in both.items()}
    return {
        "seen": list(seen[0].shape[2:]),
        "seconds": in_turns({**runs, **parts}, repeats),
        "difference": both["openvino"].card().difference,
        "boxes": [len(one) for one in found.values()],
        "load": load,
    }


def table(rows: Mapping[str, Row]) -> list[str]:
    lines = [
        "| detector | sees | torch | compiled | x | fixed: torch ms | compiled ms | x | difference "
        "| boxes |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for name, row in rows.items():
        if "refused" in row:
            cells = [f"`{name}.coco`", "", "", "in torch", "", "", "", "", row["refused"], ""]
            lines.append(f"| {' | '.join(cells)} |")
            continue
        plain, ours, fixed, graph = (
            row["seconds"][key] for key in ("torch", "openvino", "torch, fixed", "openvino, fixed")
        )
        height, width = row["seen"]
        lines.append(
            f"| `{name}.coco` | {width}x{height} | {1 / plain:.2f} | {1 / ours:.2f} "
            f"| **{plain / ours:.1f}** | {1000 * fixed:.0f} | {1000 * graph:.0f} "
            f"| {fixed / graph:.1f} | {row['difference']:.1e} | {row['boxes'][1]} |"
        )
    return lines


def page(rows: Mapping[str, Row]) -> str:
    machine = this_machine()
    loads = [row["load"] for row in rows.values() if "load" in row]
    lines = [
        "# Detectors",
        "",
        f"`python bench/detectors.py` on {machine.cores} cores of {machine.cpu}, at a load average "
        f"of {min(loads):.1f} to {max(loads):.1f} before each.",
        "",
        f"Frames a second of {SIZE[1]}x{SIZE[0]}, one at a time, without decoding: the library's "
        "own call in torch, and compiled; in turns, medians, float32. *Sees*: the picture that "
        "comes to the network. *Fixed*: the part that is a graph, by itself. *Difference*: of "
        "that part's answers from torch's on a made picture, in parts of the largest (D-FINE, "
        "RT-DETR: of scores and boxes, both in [0, 1]). *Boxes*: what was found.",
        "",
        "Weights are filled by a formula. The time of the fixed part does not depend on them; that "
        "of what follows does, as more boxes that pass the network's own threshold are more to "
        "suppress. Where a graph of filled weights differs from torch by more than may be, it is "
        "not used, and the detector runs in torch: many of its queries are nearly equal, and "
        "rounding decides which come in. What published weights do was not seen.",
        "",
        *table(rows),
    ]
    return "\n".join(line if line[:1] in "|#" else wrapped(line, 118) for line in lines) + "\n"


def measured(names: Sequence[str], out: Path, repeats: int) -> dict[str, Row]:
    """A row a detector, from `out` if it is there."""
    rows = {}
    for name in names:
        path = out / f"{name}.json"
        if not path.exists():
            publish(name, out)
            try:
                row = measure(name, repeats)
            except RefusedError as error:
                row = {"refused": error.what}
            print(name, json.dumps(row), flush=True)
            with whole_file(path) as temporary:
                temporary.write_text(json.dumps(row, indent=1) + "\n", encoding="utf-8")
        rows[name] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def main() -> None:
    known = [*_torchvision.WEIGHTS, *_detr.WEIGHTS]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", metavar="NAME", default=known)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path("runs/detectors"))
    options = parser.parse_args()
    names = [name.removesuffix(".coco") for name in options.names]
    if unknown := sorted(set(names) - set(known)):
        parser.error(f"no such detector: {', '.join(unknown)}; there are {', '.join(known)}")
    out: Path = options.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    rows = measured(names, out, options.repeats)
    print("\n".join(table(rows)))
    if names == known:
        with whole_file(PAGE) as temporary:
            temporary.write_text(page(rows), encoding="utf-8")


if __name__ == "__main__":
    main()
