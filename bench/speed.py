"""How fast marey is on this machine, beside its peers and beside what the machine can do.

    python bench/speed.py [--only PART…] [-o docs/speed.md]

* `network`: one clip through nine networks, beside torchvision's and pytorchvideo's own code, each
  network in a process of its own.
* `way`: ten minutes of 720p H.264 to labels, beside decoding alone; one minute of it beside the
  plain way to write it.
* `start`: from the start of a process to its first label.
* `memory`: what is held meanwhile.
* `growth`: the cost by length, resolution, batch and overlap.
* `accuracy`: do the compiled networks answer as the eager one, where MAREY_MEDIA has the footage.

What is compared runs in turns; figures are medians. Results are kept in `--results`, a part each
with its machine: parts not measured now stay as they are, and the page is made of all of them.
`--only` without a name just makes the page. pytorchvideo is abandoned and no dependency; its peers
are there where it can be imported (see bench/zoo.py).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from importlib import import_module
from pathlib import Path
from typing import Any

from speed_stage import Stage

from marey.benchmark.fresh import serve
from marey.benchmark.machine import this_machine
from marey.files import whole_file

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "speed.json"

PARTS = ("network", "way", "start", "memory", "growth", "accuracy")
"""`run` of the module `speed_PART` measures each."""

CHILDREN = {
    "network": "speed_network.child",
    "way": "speed_way.way",
    "minute": "speed_way.minute",
    "export": "speed_start.write",
    "memory": "speed_memory.child",
    "held": "speed_memory.held",
    "growth": "speed_growth.child",
    "accuracy": "speed_accuracy.child",
}
"""What runs in a process of its own, which loads no more than it needs."""


def load(name: str) -> Callable[..., Any]:
    module, _, function = name.partition(".")
    found: Callable[..., Any] = getattr(import_module(module), function)
    return found


def measure(stage: Stage, part: str, command: str) -> dict[str, Any] | None:
    """One part, with the machine, the command and the seconds it took; None where it cannot be."""
    began = time.perf_counter()
    found = load(f"speed_{part}.run")(stage)
    if found is None:
        return None
    about = {"machine": asdict(this_machine()), "command": command}
    return about | {"seconds": time.perf_counter() - began, "found": found}


def keep(part: str, measured: Mapping[str, Any], path: Path) -> None:
    """Put a part among the results that are there."""
    kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    with whole_file(path) as temporary:
        text = json.dumps(kept | {part: measured}, indent=1)
        temporary.write_text(text + "\n", encoding="utf-8")


def main() -> None:
    if sys.argv[1:2] == ["--ask"]:
        part, question = sys.argv[2:]
        serve({part: load(CHILDREN[part])}, part, question)
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--only", nargs="*", choices=PARTS, default=list(PARTS))
    parser.add_argument("--names", nargs="+", default=(), help="networks beside their peers")
    parser.add_argument("--minutes", type=float, default=10, help="of the long video")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--output", "-o", type=Path)
    options = parser.parse_args()
    command = f"python bench/{Path(__file__).name} {' '.join(sys.argv[1:])}".strip()
    with tempfile.TemporaryDirectory(prefix="marey-") as folder:
        stage = Stage(Path(folder), options.minutes, options.repeats, tuple(options.names))
        for part in options.only:
            if measured := measure(stage, part, command):
                keep(part, measured, options.results)
    if options.output:
        from speed_page import write

        write(options.results, options.output)


if __name__ == "__main__":
    main()
