"""The network that is measured; one without weights gets some by a formula."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from marey.benchmark.footage import scene
from marey.runtime import FILES
from marey.types import Input, Window
from marey.video.clips import clips
from marey.video.prepare import centre_crop
from marey.video.read import nothing_decoded, open_video
from marey.video.windows import pick, window_length

if TYPE_CHECKING:
    from marey.models._net import Net


def is_file(model: str) -> bool:
    """Whether `model` is a file that `marey export` wrote, which runs without torch."""
    return Path(model).suffix in FILES


def with_weights(model: str, folder: str | os.PathLike[str]) -> str:
    """`model`, or where it names no weights, a checkpoint in `folder` with some by a formula.

    How fast a network is does not depend on them, and a checkpoint starts as trained ones do.
    """
    if is_file(model):
        return model
    from marey.models._checkpoint import save_checkpoint
    from marey.models._create import create_model

    net = create_model(model)
    if net.report.load is not None:
        return model
    fill_net(net)
    save_checkpoint(net, folder)
    return os.fspath(folder)


def fill_net(net: Net) -> None:
    """Weights by the formula of the golden files, tame enough for networks of any depth."""
    import torch

    from marey.testing.fill import fill

    with torch.no_grad():
        for entry, value in net.state_dict().items():
            if value.is_floating_point():
                value.copy_(torch.from_numpy(fill(entry, tuple(value.shape), gain=0.7)))


def first_clip(video: str | os.PathLike[str], prepare: Input) -> NDArray[np.uint8]:
    """The first clip of a video as a network takes it: 1 T H W 3."""
    with open_video(video) as reader:
        start, fps = reader.video.start, reader.video.fps
        span = Window(start, start + window_length(prepare, fps))
        plan = [(span, pick(span, prepare, fps))]
        for clip in clips(reader, plan, size=prepare.resize, interpolation=prepare.interpolation):
            return centre_crop(clip.frames, prepare.size)[None]
    raise nothing_decoded(video)


def made_clip(prepare: Input) -> NDArray[np.uint8]:
    """A clip of a made scene, 1 T H W 3."""
    return np.stack(list(scene(prepare.frames, prepare.size)))[None]
