"""Values for a network's state and for its test clips that depend on names and shapes only.

Two implementations that agree on names and shapes can so be compared without exchanging weights:
the rule makes the same numbers on both sides. Seed: the CRC-32 of the name; generator: Philox; the
top 53 bits of each draw are a number u in [0, 1).

    integer entry                               0
    0-d                                         0.5 + u
    2-d and more                                gain * (2u - 1) * sqrt(6 / fan_in)
    1-d, named …weight or …running_var          0.5 + u
    1-d, any other                              0.2 * (u - 0.5)
    clip                                        2u - 1
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


def uniform(name: str, shape: Sequence[int]) -> NDArray[np.float64]:
    """Numbers in [0, 1), a function of the name and the shape."""
    generator = np.random.Philox(key=zlib.crc32(name.encode()))
    draws = generator.random_raw(math.prod(shape))
    return np.asarray((draws >> np.uint64(11)) * 2.0**-53).reshape(tuple(shape))


def fill(
    name: str, shape: Sequence[int], dtype: str = "float32", gain: float = 1.0
) -> NDArray[np.float32] | NDArray[np.int64]:
    """The value of the state-dict entry `name`; `dtype` only tells integers from the rest."""
    if "int" in dtype:
        return np.zeros(shape, np.int64)
    u = uniform(name, shape)
    if len(shape) > 1:
        u = gain * (2 * u - 1) * math.sqrt(6 / math.prod(shape[1:]))
    elif not shape or name.endswith(("weight", "running_var")):
        u = 0.5 + u
    else:
        u = 0.2 * (u - 0.5)
    return np.asarray(u, np.float32)


def clip(shape: Sequence[int], name: str = "input") -> NDArray[np.float32]:
    """A test clip of `shape`, values in [-1, 1)."""
    return (2 * uniform(name, shape) - 1).astype(np.float32)


def relative_error(found: ArrayLike, reference: ArrayLike) -> float:
    """The largest difference over the largest reference value; NaN counts as infinite."""
    a, b = np.asarray(found, np.float64), np.asarray(reference, np.float64)
    error = float(np.abs(a - b).max() / np.abs(b).max())
    return math.inf if math.isnan(error) else error
