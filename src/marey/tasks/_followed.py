"""What following things gives, frame by frame: the value between tracking and actions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from marey.types import Frame


@dataclass(frozen=True, slots=True, eq=False)
class Followed:
    """A frame and the things in it, N, which later frames change no more.

    `ids` N tell things apart (-1: nothing follows them), `labels` N, `boxes` N 4 and `scores` N are
    as in `Track`; where `seen` N is False a box lies between those of other frames. `ended` are the
    ids that no later frame has.
    """

    frame: Frame
    ids: NDArray[np.int64]
    labels: tuple[str, ...]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    seen: NDArray[np.bool_]
    ended: tuple[int, ...] = ()
