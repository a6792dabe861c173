"""timm's catalogue: every image network in it by the name `timm/NAME`, with its weights' tags."""

from __future__ import annotations

import dataclasses
from difflib import get_close_matches
from functools import cache
from typing import Any

from marey.errors import ModelError
from marey.models._labels import imagenet1k
from marey.models._net import Net
from marey.models._weights import Weights
from marey.models.timed import image_input, timed
from marey.types import Input

FRAMES = 8


@cache
def weights(architecture: str) -> dict[str, Weights]:
    """What timm publishes for one of its networks, by tag, the default first.

    Raises ModelError, with the nearest names, where timm has no such network.
    """
    import timm
    from timm.models import get_arch_pretrained_cfgs, get_pretrained_cfg

    if not timm.is_model(architecture):
        near = get_close_matches(architecture, timm.list_models(), n=3, cutoff=0.5)
        raise ModelError(
            f"timm has no network {architecture!r}",
            do=f"Did you mean {', '.join(near)}?" if near else "`timm.list_models()` has all.",
        )
    default = get_pretrained_cfg(architecture)
    found: dict[str, Weights] = {}
    known = get_arch_pretrained_cfgs(architecture)
    tags = {name.partition(".")[2]: cfg for name, cfg in known.items()}
    if default and default.tag in tags:
        tags = {default.tag: tags[default.tag], **tags}
    for tag, cfg in tags.items():
        source = _source(cfg)
        if tag and source:
            found[tag] = _described(architecture, cfg, source)
    return found


def _source(cfg: Any) -> str | None:
    """Where the weights are: the hub, where timm keeps most, or an address."""
    if cfg.hf_hub_id:
        return f"hf:{cfg.hf_hub_id}/{cfg.hf_hub_filename or 'model.safetensors'}@main"
    return cfg.url or None


def _described(architecture: str, cfg: Any, source: str) -> Weights:
    from timm.data import infer_imagenet_subset

    subset = infer_imagenet_subset(dataclasses.asdict(cfg))
    return Weights(
        source=source,
        licence=cfg.license or "not stated by timm",
        layout="image",
        labels=imagenet1k if subset == "imagenet-1k" else None,
        classes=cfg.num_classes,
        input=image_input(dataclasses.asdict(cfg), FRAMES),
    )


def prepare(architecture: str) -> Input:
    """How a picture is prepared for a network, as timm says."""
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(architecture)
    return image_input(dataclasses.asdict(cfg) if cfg else {}, FRAMES)


def classes(architecture: str) -> int:
    """The number of classes that timm gives a network where nobody says another."""
    from timm.models import get_pretrained_cfg

    cfg = get_pretrained_cfg(architecture)
    return cfg.num_classes if cfg else 1000


def build(
    architecture: str,
    *,
    classes: int,
    rule: str = "none",
    frames: int = FRAMES,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> Net:
    """An untrained network of timm's, by a rule. `drop_path` drops branches of single frames."""
    import timm

    extra: dict[str, Any] = {"drop_path_rate": drop_path} if drop_path else {}
    try:
        network = timm.create_model(architecture, pretrained=False, num_classes=classes, **extra)
    except TypeError as error:
        raise ModelError(f"timm refuses these options ({error})", where=architecture) from error
    return timed(network, rule, frames=frames, classes=classes, dropout=dropout)
