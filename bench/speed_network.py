"""One clip through nine networks: the peer, ours eager, ours compiled in each precision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from speed_stage import Stage, tell
from zoo import build_peer, peers

from marey.benchmark.machine import cores
from marey.benchmark.model import fill_net, first_clip
from marey.benchmark.network import compiled, measure
from marey.benchmark.turns import Run
from marey.errors import MareyError
from marey.export import export
from marey.models._create import create_model
from marey.nn.clip import normalise
from marey.runtime import compile

NINE = (
    *("r3d_18", "r2plus1d_18", "s3d", "x3d_s", "x3d_m"),
    *("i3d_r50", "slowfast_r50", "slow_r50", "csn_r101"),
)
CALIBRATE = 4  # clips: enough for how fast int8 is, and for how far off it is with such weights

# As the issue measured them, where a network's own input is another.
CLIPS = {"s3d": (16, 224, 224)}


def run(stage: Stage) -> dict[str, Any]:
    video = stage.footage(0.1)
    rows = []
    for name in stage.names or NINE:
        file = str(stage.folder / f"{name}.xml")
        question = {"name": name, "video": video, "file": file, "repeats": 2 * stage.repeats + 1}
        rows.append(stage.ask("network", **question))
        tell(f"{name}: " + ", ".join(f"{clip['ms']:.0f} ms" for clip in rows[-1]["clips"]))
    return {"rows": rows}


def child(
    reached: Callable[[str], None], name: str, video: str, file: str, repeats: int
) -> dict[str, Any]:
    """One network in this process; what is int8 is written to `file`, and run from it."""
    torch.set_num_threads(cores())
    net = create_model(name)
    frames, height, width = CLIPS.get(name, (net.input.frames, *net.input.size))
    net.input = replace(net.input, frames=frames, size=(height, width))
    fill_net(net)
    clip = first_clip(video, net.input)
    beside: dict[str, Run] = {}
    if library := peers().get(name):
        peer = build_peer(name, library)
        plain = normalise(torch.from_numpy(clip), net.input).contiguous()
        beside["peer"] = lambda: peer(plain)
    runtimes, refused = compiled(net)
    try:
        made = export(net, file, precision="int8", calibrate=Path(video).parent, clips=CALIBRATE)
        runtimes["int8"] = compile(made.path)
    except MareyError as error:
        refused["int8"] = error.what
    speed, peer_ms = measure(net, runtimes, clip, repeats=repeats, beside=beside)
    found = asdict(replace(speed, refused=refused))
    return {"name": name, "library": library, "peer_ms": peer_ms.get("peer"), **found}
