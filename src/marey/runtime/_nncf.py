"""NNCF, in a process of its own: it makes graphs of OpenVINO int8.

NNCF makes engines of OpenVINO and ends them, which a process does not survive for long (see
`_openvino.core`); it prints, takes over logging, and reports its use to its makers over the
network. In a process of its own, told that nobody is there to be counted, all of that ends with it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from marey.errors import MissingExtraError, ModelError
from marey.runtime._openvino import core, save

# Read by NNCF and by openvino-telemetry, which then send nothing and leave no file.
_UNCOUNTED = {"NNCF_CI": "1", "CI": "true"}


def need_nncf() -> None:
    if find_spec("nncf") is None:
        raise MissingExtraError("int8 needs NNCF", do="Run: pip install 'marey[int8]'")


def quantised(model: Path, clips: Path, taken: Sequence[int], path: Path) -> None:
    """Write `model`, an `.xml` file, in int8 to `path`, its ranges those of some clips.

    `clips` is an .npy file, uint8 n T H W 3, and `taken` says which of them to look at. Raises
    ModelError with NNCF's last words.
    """
    asked = (str(model), str(clips), json.dumps(list(taken)), str(path))
    done = subprocess.run(
        [sys.executable, "-P", "-m", __name__, *asked],
        env=os.environ | _UNCOUNTED,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        check=False,
    )
    if done.returncode:
        said = [line.strip() for line in done.stderr.splitlines() if line.strip()]
        why = said[-1] if said else f"it ended with {done.returncode}"
        raise ModelError(f"NNCF cannot quantise it ({why})", do="Export it in float32.")


def _quantise(model: str, clips: str, taken: str, path: str) -> None:
    import nncf

    frames = np.load(clips, mmap_mode="r")
    wanted = json.loads(taken)
    made = nncf.quantize(
        core().read_model(model),
        # Copied: OpenVINO takes no memory that it may not write to.
        nncf.Dataset(wanted, lambda k: np.array(frames[k : k + 1])),
        subset_size=len(wanted),
        # OpenVINO's int8 pool over three axes is its slow reference: S3D took 6 times as long as
        # in float32.
        ignored_scope=nncf.IgnoredScope(types=["MaxPool"], validate=False),
        # Processors without VNNI add products in 16 bits, which overflow. Weights of 7 bits do not
        # (a file may run anywhere): there the error of EfficientNet-Lite0 fell from 0.29 to 0.17.
        advanced_parameters=nncf.AdvancedQuantizationParameters(
            overflow_fix=nncf.OverflowFix.ENABLE
        ),
    )
    save(made, Path(path))


if __name__ == "__main__":
    _quantise(*sys.argv[1:])
