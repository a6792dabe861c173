"""Clips in a row that share frames: the body runs once over all of them, the head once a clip."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace

import torch
from torch import Tensor

from marey.errors import ModelError
from marey.models._net import Net


class Shared(Net):
    """A stretch in, logits of the `clips` in it out: 1 clip of T frames every `hop` frames.

    N 3 L H W, with L = (clips - 1) * hop + T, → N*clips K, the clips of a stretch in order. Its
    body passes L frames instead of clips * T. Where it mixes time, a clip's features also see the
    frames beside it, where alone they would see padding: the answers are near those of the clips by
    themselves, and not the same.

    Everything is shared with `net`. Raises ModelError for a network that is made for one number of
    frames, takes them in bursts, or whose features have no time, and for a `hop` that is no
    multiple of its stride in time.
    """

    def __init__(self, net: Net, hop: int, clips: int) -> None:
        body, rest = net.maps_and_rest()
        super().__init__(body, net.head)
        self.rest, self.hop, self.clips, self.frames = rest, hop, clips, net.input.frames
        self.input = replace(net.input, frames=(clips - 1) * hop + self.frames)
        self.least = (self.input.frames, *net.least[1:])
        self.architecture, self.name, self.licence = net.architecture, net.name, net.licence
        self.options = {**net.options, "shared": [hop, clips]}
        self.multilabel, self.report, self.network = net.multilabel, net.report, net.network
        self._classes, self._labels = net.classes, net.labels
        self._mixes_time = net.mixes_time
        self.eval()
        self.stride = self._measured()

    @property
    def classes(self) -> int:
        return self._classes

    @property
    def mixes_time(self) -> bool:
        return self._mixes_time

    @property
    def by_frame(self) -> bool:
        return False

    def forward(self, clip: Tensor) -> Tensor:
        self._check(clip)
        maps, steps = self.body(clip), self.frames // self.stride
        starts = range(0, maps.shape[2] - steps + 1, self.hop // self.stride)
        parts = torch.stack([maps[:, :, start : start + steps] for start in starts], 1)
        return self.head(self.rest(parts.flatten(0, 1)))  # type: ignore[no-any-return]

    def _measured(self) -> int:
        """The frames from one step of the maps to the next; found without computing."""
        if self.input.burst > 1:
            raise self._refused("it takes frames in bursts")
        frames, body = self.input.frames, deepcopy(self.body).to("meta")
        shape = 1, len(self.input.mean), frames, *self.input.size
        try:
            with torch.inference_mode():
                maps = body(torch.empty(shape, device="meta"))
        except (RuntimeError, ModelError) as error:
            first = next(iter(str(error).splitlines()), "")
            raise self._refused(f"it takes no clips of {frames} frames ({first})") from error
        stride: int = frames // max(1, maps.shape[2])
        if stride >= self.frames or maps.shape[2] * stride != frames:
            made = " x ".join(map(str, maps.shape[2:]))
            raise self._refused(f"its features of {frames} frames are {made} (T H W)")
        if self.hop % stride or self.frames % stride:
            raise self._refused(
                f"it strides time by {stride} frames, and they begin every {self.hop} of its clip",
                do=f"Choose a step that is a multiple of {stride} frames of the clip.",
            )
        return stride

    def _refused(self, why: str, do: str = "Leave out `shared`.") -> ModelError:
        return ModelError(f"windows cannot share frames: {why}", where=self.name, do=do)
