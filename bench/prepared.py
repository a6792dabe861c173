"""What torch gains on a CPU by the prepared form of a network (`marey.runtime._prepared`).

    python bench/prepared.py [NAME…] [--threads 1] [--repeats 7] [--onnx]

One clip at its native size in channels-last memory, all in turns in one process, milliseconds that
are medians, and how many times as fast as `eager`: the network as it is; `onednn`, with all
convolutions given to oneDNN; `folded`, with norms worked into convolutions; `both`, which is what
`TorchRuntime` does; `--onnx` adds ONNX Runtime, from frames.

ATen gives a convolution to its own loops where `use_mkldnn` in its Convolution.cpp says so: on one
thread all kernels that are 1 x 1 in space (1x1x1, 3x1x1, depthwise 5x1x1 too), on any number of
them one clip of at most 20480 channels x frames x rows. So the gain depends on `--threads`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

import torch

from marey.benchmark.turns import in_turns
from marey.models._create import create_model
from marey.nn.clip import normalise
from marey.runtime import compile
from marey.runtime._prepared import OneDnn, prepared
from marey.runtime.openvino import example
from marey.runtime.torch import channels_last

NAMES = ("r3d_18", "slow_r50", "csn_r101", "x3d_m", "s3d", "movinet_a0", "efficientnet_lite0")


def measure(name: str, threads: int, repeats: int, onnx: bool) -> dict[str, float]:
    """The milliseconds of each form of one network."""
    net = create_model(name, classes=400).eval()
    frames = example(torch.uint8, (1, net.input.frames, *net.input.size, 3))
    clip = normalise(frames, net.input)
    made = prepared(net)
    for one in (net, made):
        channels_last(one)
    runs: dict[str, Callable[[], Any]] = {
        "eager": lambda: net(clip),
        "onednn": lambda: _by_onednn(net, clip),
        "folded": lambda: made(clip),
        "both": lambda: _by_onednn(made, clip),
    }
    if onnx:
        session = compile(net, runtime="onnx", threads=threads)
        runs["onnx"] = lambda: session(frames.numpy())
    with torch.inference_mode():
        return {run: 1000 * taken for run, taken in in_turns(runs, repeats).items()}


def _by_onednn(net: torch.nn.Module, clip: torch.Tensor) -> Any:
    with OneDnn():
        return net(clip)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("names", nargs="*", default=NAMES)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--onnx", action="store_true")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    for name in options.names:
        ms = measure(name, options.threads, options.repeats, options.onnx)
        cells = [f"{run} {taken:.0f} ({ms['eager'] / taken:.2f}x)" for run, taken in ms.items()]
        print(f"{name:20} {'  '.join(cells)}", flush=True)


if __name__ == "__main__":
    main()
