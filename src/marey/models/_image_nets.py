"""What families on timm's image networks share: how one is made, and names used by several."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn

from marey.types import Input

imagenet = partial(Input, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
"""An `Input` with the colours that ImageNet's networks are used to."""


def image_net(name: str, classes: int) -> nn.Module:
    """One of timm's networks, untrained."""
    import timm  # half of the time that importing the models would take, and only needed here

    made: Any = timm.create_model(name, pretrained=False, num_classes=classes)
    return made  # type: ignore[no-any-return]


def from_mmaction2(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The names of mmaction2's ResNets, shifted ones too, as timm's."""
    return {mmaction2_name(name): value for name, value in state.items()}


def mmaction2_name(name: str) -> str:
    """One entry's; a name that follows another habit stays, and is then reported as unknown."""
    name = name.removeprefix("backbone.").replace("cls_head.fc_cls.", "fc.")
    name = re.sub(r"\bconv1\.conv\.net\.", "conv1.conv.", name)  # what is shifted is wrapped
    name = re.sub(r"\bdownsample\.(conv|bn)\.", _in_sequence, name)
    return re.sub(r"\bconv(\d)\.(conv|bn)\.", r"\2\1.", name)


def _in_sequence(found: re.Match[str]) -> str:
    return f"downsample.{0 if found[1] == 'conv' else 1}."
