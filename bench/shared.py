"""What it brings, and costs, when windows that overlap share their frames (`detect --shared`).

    marey train $MAREY_MEDIA/motions6 --recipe recipes/timed.toml --set gamma=0.4 -o runs/timed
    python bench/shared.py VIDEO… --trained runs/timed/best

Each network runs over the videos by windows of their own and by shared ones. Weights are filled by
a formula, but for the network that ships with marey and the one that is trained, whose body mixes
time. Writes `docs/results/shared.md`.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.flop_counter import FlopCounterMode

from marey.benchmark.machine import this_machine
from marey.benchmark.model import with_weights
from marey.errors import ModelError
from marey.files import whole_file
from marey.models._create import create_model
from marey.models._net import Net
from marey.models._shared import Shared
from marey.runtime import Runtime
from marey.runtime.shared import SharedRuntime
from marey.tasks._spent import Spent
from marey.tasks._windows import by_window
from marey.video.read import open_video
from marey.video.windows import grid

TEMPLATE = Path(__file__).with_suffix(".md")
PAGE = Path(__file__).parents[1] / "docs" / "results" / "shared.md"
NETWORKS = ("x3d_s", "r3d_18", "slow_r50")
SHIPPED = "efficientnet_lite0.motions6"
PARTS = (2, 4)  # of a clip, from one window to the next

Windows = dict[float, NDArray[np.float32]]
"""Logits by the start of the window."""


@dataclass(frozen=True, slots=True)
class Found:
    """How shared windows compare with windows of their own."""

    windows: int
    macs: float
    seconds: float
    change: float
    same: float


def looked(video: Path, runtime: Runtime, hop: int) -> tuple[Windows, float]:
    """The logits of all windows of a video, and the seconds in the network."""
    spent = Spent()
    with open_video(video) as reader:
        step = hop * grid(runtime.input, reader.video.fps)[1]
        with closing(by_window(reader, runtime, lambda rows: rows, step=step, spent=spent)) as rows:
            found = {round(row.window.start, 4): row.p for row in rows}
    return found, spent.network


def compared(videos: list[Path], runtime: SharedRuntime, hop: int, macs: float) -> Found:
    """Both ways over all videos, in turns."""
    pairs: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    seconds = np.zeros(2)
    for video in videos:
        alone, took_alone = looked(video, runtime.alone, hop)
        shared, took_shared = looked(video, runtime, hop)
        seconds += took_alone, took_shared
        pairs += [(alone[start], shared[start]) for start in alone.keys() & shared.keys()]
    one, other = (np.stack(side) for side in zip(*pairs, strict=True))
    spread = np.sqrt(np.mean((one - one.mean(0)) ** 2))
    return Found(
        windows=len(pairs),
        macs=macs,
        seconds=seconds[0] / seconds[1],
        change=float(np.sqrt(np.mean((other - one) ** 2)) / spread),
        same=float(np.mean(one.argmax(1) == other.argmax(1))),
    )


def macs_of(net: Net) -> int:
    """Of one clip, or stretch, of its input; counted without computing."""
    net = net.to("meta")
    clip = torch.empty(1, len(net.input.mean), net.input.frames, *net.input.size, device="meta")
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        net(clip)
    return int(counter.get_total_flops() // 2)


def saved(model: str, hop: int, clips: int) -> float:
    """The MACs of windows of their own over those of a stretch."""
    alone = macs_of(create_model(model))
    return clips * alone / macs_of(Shared(create_model(model), hop, clips))


def rows_of(name: str, videos: list[Path], model: str | None = None) -> str:
    """Of the network called `name`, or that of the checkpoint `model`."""
    with tempfile.TemporaryDirectory() as folder:
        model = model or with_weights(name, folder)
        runtime = SharedRuntime(model)
        rows = []
        for part in PARTS:
            hop = runtime.input.frames // part
            try:
                clips = runtime.stretch(hop).clips
            except ModelError:  # it strides time by more
                continue
            found = compared(videos, runtime, hop, saved(model, hop, clips))
            rows.append(
                f"| `{name}` | {runtime.input.frames} | {hop} | {clips} | {found.windows} "
                f"| {found.macs:.2f} | {found.seconds:.2f} | {found.change:.3f} "
                f"| {found.same:.0%} |\n"
            )
            print(rows[-1], end="", flush=True)
        return "".join(rows)


def page(rows: list[str], videos: int, minutes: float) -> str:
    machine = this_machine()
    return TEMPLATE.read_text(encoding="utf-8").format(
        machine=f"{machine.cores} cores of {machine.cpu}",
        videos=f"{videos} video" + "s" * (videos != 1),
        minutes=f"{minutes:.0f}",
        rows="".join(rows),
        shipped=SHIPPED,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("videos", type=Path, nargs="+")
    parser.add_argument("--trained", type=Path, required=True, help="checkpoint of that network")
    options = parser.parse_args()
    began = time.monotonic()
    rows = [rows_of(name, options.videos) for name in (*NETWORKS, SHIPPED)]
    trained = create_model(options.trained)
    rows.append(rows_of(f"{trained.architecture}, trained", options.videos, str(options.trained)))
    with whole_file(PAGE) as path:
        path.write_text(
            page(rows, len(options.videos), (time.monotonic() - began) / 60), encoding="utf-8"
        )


if __name__ == "__main__":
    main()
