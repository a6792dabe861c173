"""A video to its labels, beside decoding alone; a minute of it beside the plain way to write it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image as Picture
from speed_stage import MODEL, Stage, mean_bit_rate, tell
from zoo import build_peer, peers

from marey.benchmark.footage import FPS
from marey.benchmark.result import Way
from marey.benchmark.turns import Run
from marey.benchmark.way import measure
from marey.models._create import create_model
from marey.runtime import compile
from marey.tasks.classify import classify
from marey.tasks.many import classify_all
from marey.types import Input
from marey.video.read import Reader, open_video

SEVERAL = 3
PICKS = 40


def run(stage: Stage) -> dict[str, Any]:
    video, minute = stage.footage(stage.minutes), stage.footage(min(1, stage.minutes))
    tell(f"the whole way, {stage.minutes:g} minutes")
    whole = stage.ask("way", model=stage.model, video=video, repeats=stage.repeats)
    tell("the plain way, and others")
    beside = stage.ask("minute", model=stage.model, video=minute, repeats=stage.repeats)
    rate = mean_bit_rate(video, whole["whole"]["frames"] / FPS)
    return {**whole, "bit_rate": rate, "minute": beside}


def way(reached: Callable[[str], None], model: str, video: str, repeats: int) -> dict[str, Any]:
    """The long video, whole, and a few of its frames."""
    runtime = compile(model)
    few: dict[str, Run] = {"sparse": lambda: read(video, runtime.input.resize, spread)}
    found, seconds = measure(video, runtime, repeats=repeats, beside=few)
    return {"whole": named(found), "picks": PICKS, **seconds}


def minute(reached: Callable[[str], None], model: str, video: str, repeats: int) -> dict[str, Any]:
    """A short one: whole, plain, with frames passed over, several at once, and only read."""
    runtime = compile(model)
    library = peers().get(MODEL)
    eager = build_peer(MODEL, library) if library else create_model(MODEL)
    beside: dict[str, Run] = {
        "plain": lambda: plain(video, eager, runtime.input),
        "references": lambda: classify(video, runtime, decode="references"),
        "keys": lambda: classify(video, runtime, decode="keys"),
        "several": lambda: list(classify_all([video] * SEVERAL, runtime)),
        "rgb": lambda: read(video, None),
        "scaled": lambda: read(video, runtime.input.resize),
    }
    found, seconds = measure(video, runtime, repeats=repeats, beside=beside)
    about = {"eager": library or "marey", "several": SEVERAL}
    return {"way": named(found), "seconds": seconds, **about}


def named(way: Way) -> dict[str, Any]:
    """Without the folder, which is gone afterwards."""
    return replace(way, video=Path(way.video).name).to_dict()


def plain(video: str, eager: Callable[[torch.Tensor], torch.Tensor], prepare: Input) -> int:
    """The way a person writes it at first: every frame to RGB, scaled, float; then windows.

    FFmpeg may use all cores, which is not PyAV's default. Returns the number of clips.
    """
    mean, std = (np.asarray(values, np.float32) for values in (prepare.mean, prepare.std))
    window = round(prepare.frames * prepare.every * FPS / (prepare.fps or FPS))
    chosen = np.linspace(0, window - 1, prepare.frames).round().astype(int)
    held: list[NDArray[np.float32]] = []
    clips = 0
    with av.open(video) as container, torch.inference_mode():
        container.streams.video[0].thread_type = "AUTO"
        for frame in container.decode(video=0):
            image = scaled(np.asarray(frame.to_ndarray(format="rgb24"), np.uint8), prepare)
            held.append(np.asarray((image / np.float32(255) - mean) / std, np.float32))
            if len(held) == window:
                clip = torch.from_numpy(np.stack(held)[chosen]).permute(3, 0, 1, 2)[None]
                eager(clip).softmax(-1).argmax()
                clips += 1
                held.clear()
    return clips


def scaled(image: NDArray[np.uint8], prepare: Input) -> NDArray[np.uint8]:
    """The short side to `resize`, and the centre of it."""
    assert isinstance(prepare.resize, int)
    picture = Picture.fromarray(image)
    factor = prepare.resize / min(picture.size)
    width, height = (round(side * factor) for side in picture.size)
    small = np.asarray(picture.resize((width, height), Picture.Resampling.BILINEAR))
    top, left = (height - prepare.size[0]) // 2, (width - prepare.size[1]) // 2
    return small[top : top + prepare.size[0], left : left + prepare.size[1]]


def read(
    video: str,
    size: int | tuple[int, int] | None,
    times: Callable[[Reader], Iterable[float]] | None = None,
) -> int:
    """Frames as `open_video` gives them, all or some."""
    with open_video(video) as reader:
        wanted = times(reader) if times else None
        return sum(1 for _ in reader.frames(times=wanted, size=size))


def spread(reader: Reader) -> list[float]:
    """The middles of equal parts of a video."""
    start, duration = reader.video.start, reader.video.duration or 0.0
    return [start + (k + 0.5) * duration / PICKS for k in range(PICKS)]
