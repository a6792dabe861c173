"""Every network at its own clip: latency, parameters, MACs, peak memory, and its peer beside it.

    python bench/zoo.py [PATTERN…] [--repeats 5] [--threads 2] [-o FILE.md]

The peer is the same network as torchvision's or pytorchvideo's own code makes it, eager, on the
same clip: ours and theirs run in turns in one process of their own for each network, and the ratio
is of the medians. pytorchvideo is abandoned and no dependency; its peers are there where it can be
imported:

    pip install --no-deps pytorchvideo fvcore iopath parameterized portalocker yacs termcolor

Peak memory is what the process holds more after a first forward pass than before the network was
made: weights and the largest maps. The share of the limit is of the faster of a large float32
matrix product and a large convolution in the same process. Weights are drawn: the time does not
depend on them.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import sys
from collections.abc import Callable, Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from marey.benchmark.fresh import ask, serve
from marey.benchmark.memory import resident
from marey.benchmark.turns import Run, in_turns, limits
from marey.files import whole_file

TORCHVISION = ("r3d_18", "mc3_18", "r2plus1d_18", "s3d")
PYTORCHVIDEO = (
    *("c2d_r50", "i3d_r50", "slow_r50", "csn_r101", "r2plus1d_r50"),
    *("slowfast_r50", "slowfast_r101", "slowfast_16x8_r101_50_50"),
    *("x3d_xs", "x3d_s", "x3d_m", "x3d_l"),
)
"""The names of pytorchvideo's hub; the one that is called otherwise here:"""
OTHERWISE = {"slowfast_16x8_r101_50_50": "slowfast_r101_16x8"}


def peers() -> dict[str, str]:
    """The library that makes a network of that name too."""
    found = dict.fromkeys(TORCHVISION, "torchvision")
    if find_spec("pytorchvideo"):
        found |= {OTHERWISE.get(name, name): "pytorchvideo" for name in PYTORCHVIDEO}
    return found


def build_peer(name: str, library: str) -> Callable[[Any], Any]:
    """The peer in evaluation mode, as a function of one clip."""
    from importlib import import_module

    theirs = {ours: name for name, ours in OTHERWISE.items()}.get(name, name)
    if library == "torchvision":
        net = import_module("torchvision.models.video").__dict__[theirs]().eval()
        return lambda clip: net(clip)
    kind = theirs.split("_")[0]
    file = kind if kind in ("slowfast", "x3d", "csn", "r2plus1d") else "resnet"
    net = import_module(f"pytorchvideo.models.hub.{file}").__dict__[theirs]().eval()
    if file != "slowfast":
        return lambda clip: net(clip)
    import torch

    def two_pathways(clip: Any) -> Any:
        frames = clip.shape[2]
        slow = torch.linspace(0, frames - 1, frames // 4).long()
        return net([clip[:, :, slow], clip])

    return two_pathways


def measure(reached: object, name: str, repeats: int, threads: int) -> dict[str, Any]:
    """One network in this process: milliseconds of ours and the peer's, in turns."""
    import torch

    from marey.models._cost import cost
    from marey.models._create import create_model
    from marey.runtime.torch import channels_last

    torch.set_num_threads(threads)
    before = resident()
    net = create_model(name)
    channels_last(net)
    prepare = net.input
    shape = (1, len(prepare.mean), prepare.frames, *prepare.size)
    clip = torch.randn(shape).contiguous(memory_format=torch.channels_last_3d)
    found, library = cost(net, (prepare.frames, *prepare.size)), peers().get(name)
    runs: dict[str, Run] = {"ours": lambda: net(clip)}
    with torch.inference_mode():
        net(clip)
        memory = peak() - before
        if library:
            peer, plain = build_peer(name, library), clip.contiguous()
            runs["peer"] = lambda: peer(plain)
        possible = limits()
        runs |= {limit: one.run for limit, one in possible.items()}
        seconds = in_turns(runs, repeats)
    rate = max(one.macs / seconds[limit] for limit, one in possible.items())
    return {
        "name": name,
        "shape": shape[2:],
        "params": found.params,
        "macs": found.macs,
        "memory": memory,
        "ms": 1000 * seconds["ours"],
        "peer": library,
        "peer_ms": 1000 * seconds["peer"] if library else None,
        "share": found.macs / seconds["ours"] / rate,
    }


def peak() -> float:
    """MiB that this process ever held."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def page(rows: Iterable[Mapping[str, Any]], command: str, threads: int) -> str:
    """The results as Markdown."""
    import torch

    head = (
        "# Cost of every network\n\n"
        f"`{command}`: {platform.machine()}, {threads} threads, torch {torch.__version__}, "
        "float32, eager, one clip. Times are medians; the peer ran in turns with ours in the same "
        "process, on the same clip. *Limit*: share of the rate of a large matrix "
        "product or convolution, the faster. *Memory*: peak of weights and maps.\n\n"
        "| network | T x H x W | parameters | GMACs | ms | limit | memory | peer | peer ms "
        "| peer / ours |\n| --- | --- | --: | --: | --: | --: | --: | --- | --: | --: |\n"
    )
    return head + "".join(map(_row, rows))


def _row(row: Mapping[str, Any]) -> str:
    peer = ("", "", "")
    if row["peer"]:
        peer = (row["peer"], f"{row['peer_ms']:.0f}", f"{row['peer_ms'] / row['ms']:.2f}")
    cells = (
        f"`{row['name']}`",
        " x ".join(map(str, row["shape"])),
        f"{row['params']:,}",
        f"{row['macs'] / 1e9:.2f}",
        f"{row['ms']:.0f}",
        f"{row['share']:.0%}",
        f"{row['memory']:.0f} MiB",
        *peer,
    )
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("patterns", nargs="*", default=["*"])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", "-o", type=Path)
    if sys.argv[1:2] == ["--ask"]:
        serve({"measure": measure}, *sys.argv[2:])
        return
    options = parser.parse_args()
    from marey.models._registry import list_models

    names = [name for pattern in options.patterns for name in list_models(pattern)]
    rows, how = [], {"repeats": options.repeats, "threads": options.threads}
    for name in dict.fromkeys(names):
        rows.append(ask("measure", how | {"name": name}, command=(__file__, "--ask")).value)
        print(_row(rows[-1]), end="", flush=True)
    if options.output:
        command = f"python bench/{Path(__file__).name} {' '.join(sys.argv[1:])}".strip()
        with whole_file(options.output) as path:
            path.write_text(page(rows, command, options.threads), encoding="utf-8")


if __name__ == "__main__":
    main()
