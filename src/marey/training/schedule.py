"""What depends on the step alone: learning rates and the seed of chance in the network.

Both are functions of the step number, not objects that move along, so a resumed run has nothing to
restore but the number.
"""

from __future__ import annotations

import math

import numpy as np


def cosine(step: int, steps: int, warmup: int) -> float:
    """The factor of the learning rate in a step: a straight rise, half a cosine down to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    done = (step - warmup) / max(1, steps - warmup)
    return (1 + math.cos(math.pi * min(1.0, done))) / 2


def step_seed(seed: int, step: int, process: int) -> int:
    """The seed of what is random inside the network (dropout, dropped paths) in one step."""
    return int(np.random.SeedSequence([seed, step, process]).generate_state(1, np.uint64)[0] >> 1)
