"""What a network makes of a clip on the way to its logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

from torch import Tensor, nn

from marey.models._net import Net
from marey.nn.time import unfold

Maps = Tensor | tuple[Tensor, ...]


def stage_features(net: Net, clip: Tensor) -> dict[str, Maps]:
    """N 3 T H W → the output of every stage by its name, in order; `head` is N K.

    Maps are N C T' H' W', also those of image networks with time folded in; a network with several
    pathways has a tuple of them. Gradients flow through all.
    """
    found: dict[str, Maps] = {}
    with at_every_stage(net, found.__setitem__):
        net(clip)
    return {name: _by_clip(maps, len(clip)) for name, maps in found.items()}


@contextmanager
def at_every_stage(net: Net, call: Callable[[str, Maps], Any]) -> Iterator[None]:
    """Within, `call` gets every stage's name and output as soon as it ends."""

    def after(name: str, module: nn.Module, given: Any, made: Maps) -> None:
        call(name, made)

    handles = [
        _last(stage).register_forward_hook(partial(after, name)) for name, stage in net.stages()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _last(stage: nn.Module) -> nn.Module:
    """The module whose output is the stage's: an image network's stage may be several in a row."""
    return stage[-1] if isinstance(stage, nn.ModuleList) else stage


def _by_clip(maps: Maps, clips: int) -> Maps:
    if isinstance(maps, tuple):
        return maps
    return unfold(maps, clips) if maps.ndim == 4 else maps
