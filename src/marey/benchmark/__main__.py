"""The parts of a benchmark that run in processes of their own: `python -m marey.benchmark`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

from marey.benchmark.fresh import Part, serve

Reached = Callable[[str], None]


def network(
    reached: Reached,
    model: str,
    folder: str,
    video: str | None,
    precision: str | None,
    threads: int | None,
    repeats: int,
) -> dict[str, Any]:
    """One clip, of `video` or a made one; and the model with weights, perhaps in `folder`."""
    from marey.benchmark.model import first_clip, is_file, made_clip, with_weights
    from marey.benchmark.network import compiled, measure, measure_file
    from marey.runtime import compile

    model = with_weights(model, folder)
    if is_file(model):
        runtime = compile(model, precision=precision or "auto", threads=threads)
        frames = first_clip(video, runtime.input) if video else made_clip(runtime.input)
        speed = measure_file(runtime, frames, repeats=repeats)
    else:
        import torch

        from marey.models._create import create_model

        if threads:
            torch.set_num_threads(threads)
        net = create_model(model)
        frames = first_clip(video, net.input) if video else made_clip(net.input)
        runtimes, refused = compiled(net, precision, threads)
        speed, _ = measure(net, runtimes, frames, repeats=repeats)
        speed = replace(speed, refused=refused)
    return {"model": model, "speed": asdict(speed)}


def start(
    reached: Reached, model: str, video: str, precision: str | None, threads: int | None
) -> None:
    """The first label of a video, as soon as possible."""
    from marey.benchmark.start import first_label
    from marey.runtime import compile

    reached("imported")
    runtime = compile(model, precision=precision or "auto", threads=threads)
    reached("ready")
    first_label(video, runtime, threads or 0)
    reached("labelled")


def way(
    reached: Reached,
    model: str,
    video: str,
    precision: str | None,
    threads: int | None,
    repeats: int,
) -> dict[str, Any]:
    """A whole video."""
    from marey.benchmark.way import measure
    from marey.runtime import compile

    runtime = compile(model, precision=precision or "auto", threads=threads)
    found, _ = measure(video, runtime, threads=threads or 0, repeats=repeats)
    return found.to_dict()


PARTS: dict[str, Part] = {"network": network, "start": start, "way": way}

if __name__ == "__main__":
    serve(PARTS, *sys.argv[1:])
