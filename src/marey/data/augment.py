"""Random changes to a training clip: the same for all frames, and never to the order of time."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional


@dataclass(frozen=True, slots=True)
class Augment:
    """What may change in a training clip.

    `crop` is the smallest and largest part of the picture's area that is cut out and scaled to the
    network's size. `flip` mirrors every second clip left to right. `colour` is the largest relative
    change of brightness, contrast and saturation; `gamma` that of the exponent.
    """

    crop: tuple[float, float] = (0.5, 1.0)
    flip: bool = True
    colour: float = 0.2
    gamma: float = 0.0

    def __call__(self, clip: Tensor, size: tuple[int, int], rng: Random) -> Tensor:
        """A changed clip, uint8 T H W 3 to T h w 3 with (h, w) = `size`; all chance is `rng`'s."""
        return self.with_boxes(clip, torch.zeros(0, 4), size, rng)[0]

    def with_boxes(
        self, clip: Tensor, boxes: Tensor, size: tuple[int, int], rng: Random
    ) -> tuple[Tensor, Tensor]:
        """The same, and where `boxes` are then, B 4 (x1 y1 x2 y2 in pixels), also beyond it."""
        video = tv_tensors.Video(clip.permute(0, 3, 1, 2))
        shape = clip.shape[1], clip.shape[2]
        where = tv_tensors.BoundingBoxes(
            boxes, format="XYXY", canvas_size=shape, clamping_mode=None
        )
        # The transforms draw from torch's global generator. It is borrowed and given back, so that
        # a clip depends on `rng` alone and nothing else depends on the clip.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(rng.getrandbits(62))
            changed, moved = self._transform(size)(video, where)
        frames = changed.as_subclass(Tensor).permute(0, 2, 3, 1).contiguous()
        return frames, moved.as_subclass(Tensor)

    def _transform(self, size: tuple[int, int]) -> v2.Transform:
        steps: list[v2.Transform] = [v2.RandomResizedCrop(size, scale=self.crop, antialias=True)]
        if self.flip:
            steps.append(v2.RandomHorizontalFlip())
        if self.colour:
            steps.append(v2.ColorJitter(self.colour, self.colour, self.colour))
        if self.gamma:
            steps.append(RandomGamma(self.gamma))
        return v2.Compose(steps)


class RandomGamma(v2.Transform):
    """Raise values in [0, 1] to a power between 1 / (1 + change) and 1 + change."""

    def __init__(self, change: float) -> None:
        super().__init__()
        self.change = change

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:
        power = torch.empty(1).uniform_(-1, 1).item()
        return {"gamma": (1 + self.change) ** power}

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:
        return self._call_kernel(functional.adjust_gamma, inpt, **params)
