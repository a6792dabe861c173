"""The compiled networks beside their peers: milliseconds, error, and share of the machine.

    python bench/speed.py [NAME…] [--repeats 7] [--threads 2] [-o FILE.md]

Each network in a process of its own, one clip at its native size; the peer (torchvision's or
pytorchvideo's own code, eager, float32, a float clip), ours eager, and ours compiled in float32
and, where the processor has it, bfloat16 (both from uint8 frames, normalisation in the graph) run
in turns; medians. The error is of the logits, relative to the largest, on frames of a made video,
against ours eager in float32, with weights filled by a formula (`marey.testing.fill`), norm
statistics too. `limit` is the share of the faster of a large float32 matrix product and a large
convolution in the same process; bfloat16 may be above 100 %. pytorchvideo's peers are there where
it can be imported (see bench/zoo.py).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from marey.files import whole_file

NINE = (
    *("r3d_18", "r2plus1d_18", "s3d", "x3d_s", "x3d_m"),
    *("i3d_r50", "slowfast_r50", "slow_r50", "csn_r101"),
)
# As the issue measured them, where a network's own input is another.
CLIPS = {"s3d": (16, 224, 224)}


def measure(name: str, library: str | None, repeats: int, threads: int) -> dict[str, Any]:
    """One network in this process."""
    from dataclasses import replace

    import torch
    from zoo import build_peer, in_turns

    from marey.models._cost import cost
    from marey.models._registry import create_model
    from marey.nn.clip import normalise
    from marey.runtime import compile
    from marey.runtime._openvino import fastest
    from marey.runtime.openvino import difference
    from marey.runtime.torch import channels_last

    torch.set_num_threads(threads)
    net = create_model(name)
    shape = CLIPS.get(name, (net.input.frames, *net.input.size))
    net.input = replace(net.input, frames=shape[0], size=shape[1:])
    fill_net(net)
    frames = made_frames(*shape)
    clip = normalise(frames, net.input)
    runs: dict[str, Callable[[], Any]] = {}
    with torch.inference_mode():
        expected = net(clip.contiguous())
        if library:
            peer, plain = build_peer(name, library), clip.contiguous()
            runs["peer"] = lambda: peer(plain)
        errors = {}
        for precision in ("f32", "bf16") if fastest() == "bf16" else ("f32",):
            compiled = compile(net, runtime="openvino", precision=precision, threads=threads)
            given = frames.numpy()
            found = torch.from_numpy(compiled(given))
            errors[precision] = difference(found, expected)
            runs[precision] = lambda compiled=compiled, given=given: compiled(given)  # type: ignore[misc]
        channels_last(net)
        runs["eager"] = lambda: net(clip)
        times, rate = in_turns(runs, repeats)
    return {
        "name": name,
        "shape": shape,
        "macs": cost(net, shape).macs,
        "ms": times,
        "errors": errors,
        "rate": rate,
    }


def fill_net(net: Any) -> None:
    """Weights by the formula of the golden files, tame enough for networks of any depth."""
    import torch

    from marey.testing.fill import fill

    with torch.no_grad():
        for entry, value in net.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.from_numpy(fill(entry, tuple(value.shape), gain=0.7)))


def made_frames(frames: int, height: int, width: int) -> Any:
    """A square that moves over a gradient, uint8 1 T H W 3."""
    import torch

    rows = torch.linspace(0, 200, height)[:, None].expand(height, width)
    clip = rows[None, None, :, :, None].repeat(1, frames, 1, 1, 3)
    for t in range(frames):
        left = t * (width - width // 4) // max(1, frames - 1)
        clip[0, t, height // 4 : height // 2, left : left + width // 4] = torch.tensor(
            [250.0, 120.0, 30.0]
        )
    return clip.to(torch.uint8)


def page(rows: Iterable[Mapping[str, Any]], command: str, threads: int) -> str:
    """The results as Markdown."""
    from importlib.metadata import version

    head = (
        "# Speed\n\n"
        f"`{command}` on {platform.machine()}, {threads} threads, torch {version('torch')}, "
        f"OpenVINO {version('openvino')}: one clip, medians, everything in turns in one process a "
        "network. *x* is the peer's time over ours, *limit* the share of the rate of a large "
        "float32 matrix product or convolution, *error* that of the logits against the network in "
        "torch, on weights filled by a formula.\n\n"
        "| network | T x H x W | peer ms | ours eager | f32 ms | x | limit | error | bf16 ms | x "
        "| limit | error |\n| --- | --- | --: | --: | --: | --: | --: | --: | --: | --: | --: "
        "| --: |\n"
    )
    return head + "".join(map(_row, rows))


def _row(row: Mapping[str, Any]) -> str:
    peer = row["ms"].get("peer")
    cells = [
        f"`{row['name']}`",
        " x ".join(map(str, row["shape"])),
        f"{peer:.0f}" if peer else "",
        f"{row['ms']['eager']:.0f}",
    ]
    for precision in ("f32", "bf16"):
        if precision not in row["ms"]:
            cells += [""] * 4
            continue
        taken = row["ms"][precision]
        share = row["macs"] / (taken / 1000) / row["rate"]
        cells += [f"{taken:.0f}", f"{peer / taken:.1f}" if peer else ""]
        cells += [f"{share:.0%}", f"{row['errors'][precision]:.1e}"]
    return f"| {' | '.join(cells)} |\n"


def main() -> None:
    from zoo import in_a_process, peers

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=NINE)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--output", "-o", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--peer", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.peer, options.repeats, options.threads)))
        return
    rows = []
    for name in options.names:
        rows.append(
            in_a_process(__file__, name, peers().get(name), options.repeats, options.threads)
        )
        print(_row(rows[-1]), end="", flush=True)
    if options.output:
        command = f"python bench/{Path(__file__).name} {' '.join(sys.argv[1:])}".strip()
        with whole_file(options.output) as path:
            path.write_text(page(rows, command, options.threads), encoding="utf-8")


if __name__ == "__main__":
    main()
