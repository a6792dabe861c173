"""What a network says of actors in a window: of a clip of each alone, or of boxes in one of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from marey.runtime import Ready, Runtime
from marey.types import Image, Input
from marey.video.tubes import Box, cut, region

Boxes = Mapping[int, Box]
"""Who is where in a frame: boxes by id, in pixels of its image."""
Logits = NDArray[np.float32]

BATCH = 8  # clips in one call of the network
KEPT = TypeVar("KEPT")


@runtime_checkable
class JudgesBoxes(Ready, Protocol):
    """A network that judges boxes in clips, ready to run (`marey.runtime.roi`)."""

    @property
    def input(self) -> Input: ...

    @property
    def labels(self) -> tuple[str, ...] | None: ...

    @property
    def multilabel(self) -> bool: ...

    def judge(self, frames: NDArray[np.uint8], boxes: NDArray[np.float32], /) -> Logits: ...


class Look(Protocol[KEPT]):
    """How frames become clips of actors, and those become logits."""

    clips: int
    """That the network has looked at so far."""
    filled: int
    """Frames of them that repeat others, as the actor was not there."""

    def keep(self, image: Image, boxes: Boxes) -> KEPT:
        """What is kept of a frame."""
        ...

    def there(self, kept: Sequence[KEPT | None]) -> list[int]:
        """Who is in enough of a window's frames to be judged, in order of their ids."""
        ...

    def logits(self, kept: Sequence[KEPT | None], who: Sequence[int]) -> Logits:
        """Of each of `who`, K."""
        ...


class Alone:
    """Each actor's tube by itself, at the network's own size: crops by id are kept of a frame.

    Judged is who is in half of a window's frames or more; the frames without them repeat the
    nearest with them.
    """

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.filled = self.clips = 0

    def keep(self, image: Image, boxes: Boxes) -> dict[int, Image]:
        prepare = self._runtime.input
        return {
            actor: cut(
                image,
                region(box, image.shape[:2], prepare.size),
                prepare.size,
                prepare.interpolation,
            )
            for actor, box in boxes.items()
        }

    def there(self, kept: Sequence[dict[int, Image] | None]) -> list[int]:
        counts: dict[int, int] = {}
        for crops in kept:
            for actor in crops or ():
                counts[actor] = counts.get(actor, 0) + 1
        return sorted(actor for actor, count in counts.items() if 2 * count >= len(kept))

    def logits(self, kept: Sequence[dict[int, Image] | None], who: Sequence[int]) -> Logits:
        parts = [who[start : start + BATCH] for start in range(0, len(who), BATCH)]
        self.clips += len(who)
        return np.concatenate(
            [self._runtime(np.stack([self._clip(kept, one) for one in part])) for part in parts]
        )

    def _clip(self, kept: Sequence[dict[int, Image] | None], actor: int) -> Image:
        """T H W 3."""
        has = np.array([k for k, crops in enumerate(kept) if crops and actor in crops])
        self.filled += sum(crops is not None for crops in kept) - len(has)
        nearest = (int(has[np.abs(has - slot).argmin()]) for slot in range(len(kept)))
        return np.stack([(kept[k] or {})[actor] for k in nearest])


class Scene(NamedTuple):
    """A frame at the network's scale, and who is where in it."""

    image: Image
    boxes: Boxes


class Together:
    """One clip of the whole picture, and everybody's box in the frame in its middle.

    The short side is what the network's input says. Judged is who is in that frame.
    """

    def __init__(self, runtime: JudgesBoxes) -> None:
        self._runtime = runtime
        self.filled = self.clips = 0

    def keep(self, image: Image, boxes: Boxes) -> Scene:
        height, width = image.shape[:2]
        size = self._size(height, width)
        whole = np.array([0.0, 0.0, width, height])
        scale = np.tile(np.array(size[::-1]) / (width, height), 2)
        small = cut(image, whole, size, self._runtime.input.interpolation)
        return Scene(small, {actor: box * scale for actor, box in boxes.items()})

    def _size(self, height: int, width: int) -> tuple[int, int]:
        wanted = self._runtime.input.resize
        if isinstance(wanted, tuple):
            return wanted
        short = min(height, width)
        return wanted * height // short, wanted * width // short

    def there(self, kept: Sequence[Scene | None]) -> list[int]:
        scene = kept[len(kept) // 2]
        return sorted(scene.boxes) if scene else []

    def logits(self, kept: Sequence[Scene | None], who: Sequence[int]) -> Logits:
        scenes = [scene for scene in kept if scene]
        scenes += scenes[-1:] * (len(kept) - len(scenes))  # only a video's end has none
        self.clips += 1
        boxes = scenes[len(scenes) // 2].boxes
        rows = np.array([[0, *boxes[actor]] for actor in who], np.float32)
        return self._runtime.judge(np.stack([scene.image for scene in scenes])[None], rows)
