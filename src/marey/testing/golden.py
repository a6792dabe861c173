"""Is a graph the published one? Judged by numbers, without its weights and without its code.

A golden file holds the names and shapes of a reference's state and the logits that it gave when
both state and clips were made by `marey.testing.fill`. Ours are filled under the published names,
brought under our own by the family's converter, loaded strictly and run: converter and graph stand
or fall together.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from marey.errors import MareyError
from marey.models._create import create_model
from marey.models._net import Net
from marey.models._weights import load_state
from marey.testing.fill import clip, fill, relative_error

SINGLE, DOUBLE = 1e-4, 1e-6
"""The relative errors that are let pass in float32 and in float64."""


@dataclass(frozen=True, slots=True)
class Result:
    """The verdict on one golden file. `errors` are relative, one for each comparison made."""

    file: str
    model: str
    params: int | None = None
    errors: Mapping[str, float] = field(default_factory=dict)
    failures: tuple[str, ...] = ()

    @property
    def passed(self) -> bool:
        return not self.failures

    @property
    def error(self) -> float | None:
        """The largest relative error, of whatever precision."""
        return max(self.errors.values(), default=None)


def check(path: str | os.PathLike[str]) -> Result:
    """Compare the model that a golden file names with it; whatever goes wrong is a failure."""
    path = Path(path)
    model = "?"
    try:
        golden = json.loads(path.read_text(encoding="utf-8"))
        model = str(golden["model"])
        return _compare(path.name, golden)
    except MareyError as error:
        reason = str(error)
    except OSError as error:
        reason = f"cannot be read: {error.strerror or error}"
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, RuntimeError) as error:
        reason = f"cannot be compared: {type(error).__name__}: {error}"
    return Result(path.name, model, failures=(reason,))


def _compare(file: str, golden: Mapping[str, Any]) -> Result:
    if golden["fill"] != "v1" or golden["input_layout"] != "NCTHW" or len(golden["inputs"]) != 1:
        raise ValueError("this version knows fill v1 and one clip, NCTHW")
    net = create_model(golden["model"], **golden["options"])
    params = sum(p.numel() for p in net.parameters())
    folded = net.folded(golden["published_layout"])
    failures, filled = [], None
    state: dict[str, Tensor] = {}
    if params + folded != golden["params"]:
        failures.append(
            f"has {params:,} parameters, and {folded:,} are folded; the reference "
            f"{golden['params']:,}"
        )
    errors = {}
    for name, expected, gain, dtype, tolerance in _runs(golden):
        if gain != filled:  # filling takes the longest
            state, filled = _state(golden, gain), gain
        errors[name] = _distance(_logits(net, golden, state, dtype), expected)
        # Written so that a NaN fails.
        if not errors[name] <= tolerance:
            failures.append(f"{name} is off by {errors[name]:.2g}, {tolerance:g} may be")
    return Result(file, golden["model"], params, errors, tuple(failures))


def _runs(
    golden: Mapping[str, Any],
) -> Iterator[tuple[str, Mapping[str, Any], float, torch.dtype, float]]:
    """Name, expected outputs, gain, precision and tolerance of each comparison."""
    if golden["compare_in"] == "float32":
        yield "float32", golden, 1.0, torch.float32, SINGLE
    yield "float64", golden["float64"], 1.0, torch.float64, DOUBLE
    if tame := golden.get("tame"):
        yield "tame", tame["float64"], tame["gain"], torch.float64, DOUBLE


def _state(golden: Mapping[str, Any], gain: float) -> dict[str, Tensor]:
    return {
        name: torch.from_numpy(fill(name, shape, kind, gain))
        for name, shape, kind in golden["state"]
    }


def _logits(
    net: Net, golden: Mapping[str, Any], state: Mapping[str, Tensor], dtype: torch.dtype
) -> NDArray[np.floating[Any]]:
    """Converted in `dtype`: what a converter folds must not be rounded before it is compared."""
    net.to(dtype)
    state = {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in state.items()
    }
    load_state(net, state, source=golden["name"], layout=golden["published_layout"])
    given = [torch.from_numpy(clip(golden["inputs"][0])).to(dtype)]
    if "boxes" in golden:  # of a RoiNet, a row each: number of the clip, x1, y1, x2, y2
        given.append(torch.tensor(golden["boxes"], dtype=dtype))
    with torch.inference_mode():
        logits: NDArray[np.floating[Any]] = net(*given).numpy()
    return logits


def _distance(logits: NDArray[np.floating[Any]], expected: Mapping[str, Any]) -> float:
    """The largest relative error of the first logits and of what the file says of all of them."""
    logits = logits.astype(np.float64)
    first = np.asarray(expected["logits"])
    size = np.asarray(expected["logits_l2"])
    # A sum of logits of both signs may be near zero: it is measured by the most it could have been.
    most = size * math.sqrt(logits.shape[1])
    return max(
        relative_error(logits[:, : first.shape[1]], first),
        relative_error(np.abs(logits).max(1), expected["logits_abs_max"]),
        relative_error(np.linalg.norm(logits, axis=1), size),
        float(np.max(np.abs(logits.sum(1) - expected["logits_sum"]) / most)),
    )
