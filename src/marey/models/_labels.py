"""Labels of the published data sets, from sources in hand; a class without one is only a number."""

from __future__ import annotations

from functools import cache


@cache
def kinetics400() -> tuple[str, ...]:
    """The 400 labels of Kinetics-400 in alphabetical order, as torchvision's weights carry them."""
    from torchvision.models.video import R3D_18_Weights

    return tuple(R3D_18_Weights.KINETICS400_V1.meta["categories"])


@cache
def imagenet1k() -> tuple[str, ...]:
    """The 1000 labels of ImageNet-1k, as torchvision's weights carry them.

    ImageNet calls two classes "crane" and two "maillot"; torchvision's names already tell them
    apart.
    """
    from torchvision.models import EfficientNet_B0_Weights

    return tuple(EfficientNet_B0_Weights.IMAGENET1K_V1.meta["categories"])
