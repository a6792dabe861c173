"""The published names of the Inception networks over time, and ours."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from marey.models._weights import rewritten

Rename = tuple[str, str | Callable[[re.Match[str]], str]]
"""What `re.sub` takes: a pattern, and what to put in its place."""

# The parts of the networks in order: the digit is the stage.
_PARTS = (
    *("conv_1a", "pool_2a", "conv_2b", "conv_2c", "pool_3a", "mixed_3b", "mixed_3c", "pool_4a"),
    *(
        "mixed_4b",
        "mixed_4c",
        "mixed_4d",
        "mixed_4e",
        "mixed_4f",
        "pool_5a",
        "mixed_5b",
        "mixed_5c",
    ),
)


def _counted(found: re.Match[str]) -> str:
    """A part by its place in the order, as the ports of S3D have it."""
    number = int(found[1])
    if number >= len(_PARTS):
        return found[0]
    return f"body.stage{_PARTS[number][-2]}.{_PARTS[number]}."


# Branches as layers in a row; the first branch has a single layer.
_BRANCHES: list[Rename] = [
    (r"\.branch([123])\.0\.", r".branch\1.a."),
    (r"\.branch([123])\.1\.", r".branch\1.b."),
]
_LAYOUTS: dict[str, Sequence[Rename]] = {
    "piergiaj": [
        (r"^logits\.conv3d\.", "head.linear."),
        (r"^Conv3d_(\d)(\w)_\dx\d\.", r"body.stage\1.conv_\1\2."),
        (r"^Mixed_(\d)(\w)\.", r"body.stage\1.mixed_\1\2."),
        (r"\.b0\.", ".branch0.a."),
        (r"\.b([123])([ab])\.", r".branch\1.\2."),
        (r"\.conv3d\.", ".conv."),
        (r"\.bn\.", ".norm."),
    ],
    "hassony2": [
        (r"^conv3d_0c_1x1\.conv3d\.", "head.linear."),
        (r"^conv3d_(\d)(\w)_\dx\d\.", r"body.stage\1.conv_\1\2."),
        (r"^mixed_(\d)(\w)\.", r"body.stage\1.mixed_\1\2."),
        (r"\.branch_(\d)\.", r".branch\1."),
        (r"\.branch0\.", ".branch0.a."),
        *_BRANCHES,
        (r"\.conv3d\.", ".conv."),
        (r"\.batch3d\.", ".norm."),
    ],
    "torchvision": [
        (r"^classifier\.1\.", "head.linear."),
        (r"^features\.(\d+)\.", _counted),
        (r"\.branch0\.", ".branch0.a."),
        *_BRANCHES,
        (r"\.0\.(\d\.\w+)$", r".space.\1"),
        (r"\.1\.(\d\.\w+)$", r".time.\1"),
        (r"\.0\.(\w+)$", r".conv.\1"),
        (r"\.1\.(\w+)$", r".norm.\1"),
    ],
    "kylemin": [
        (r"^fc\.0\.", "head.linear."),
        (r"^base\.(\d+)\.", _counted),
        (r"\.branch0\.0\.", ".branch0.a."),
        *_BRANCHES,
        (r"\.(conv|bn)_s\.", r".space.\1."),
        (r"\.(conv|bn)_t\.", r".time.\1."),
        (r"\.bn\.", ".norm."),
    ],
    "slim": [
        (r"^InceptionV1/Logits/Conv2d_0c_1x1/", "head.linear/"),
        (r"^InceptionV1/Conv2d_(\d)(\w)_(\dx\d)/self_gating/", r"body.stage\1.gate_\1\2/"),
        (r"^InceptionV1/Conv2d_(\d)(\w)_(\dx\d)/", r"body.stage\1.conv_\1\2_\3/"),
        (r"^InceptionV1/Mixed_(\d)(\w)/Branch_(\d)/", r"body.stage\1.mixed_\1\2.branch\3/"),
        (r"/Conv2d_0[ab]_\dx\d/self_gating/", ".gate/"),
        (r"/Conv2d_0([ab])_(\dx\d)/", r".\1_\2/"),
        (r"_3x3/temporal/", ".time.conv/"),
        (r"_3x3/BatchNorm/", ".space.norm/"),
        (r"_3x3/", ".space.conv/"),
        (r"_\dx\d/BatchNorm/", ".norm/"),
        (r"_\dx\d/", ".conv/"),
        (r"/transformer_W/weights$", ".linear.weight"),
        (r"/(weight|bias)e?s$", r".\1"),
        (r"/beta$", ".bias"),
        (r"/moving_mean$", ".running_mean"),
        (r"/moving_variance$", ".running_var"),
    ],
}


def knows(layout: str) -> bool:
    """Whether there are names of this layout here."""
    return layout in _LAYOUTS


def converted(state: Mapping[str, Tensor], layout: str) -> dict[str, Tensor]:
    """A published state under our names. What follows another habit stays, to be reported.

    `slim` are the variables of a TensorFlow checkpoint, kernels T H W I O; its norms have no scale.
    """
    found = {}
    for name, value in state.items():
        if layout == "slim" and value.ndim == 5:
            value = value.permute(4, 3, 0, 1, 2)
        own = rewritten(name, _LAYOUTS[layout])
        if layout == "slim" and name.endswith("/BatchNorm/beta"):
            found[own.removesuffix("bias") + "weight"] = torch.ones_like(value)
        found[own] = value.flatten(1) if own.endswith(".linear.weight") else value
    return found
