"""Streams: a network that looks back only, run on frames as they come.

What a causal network must remember are the last frames that each of its layers over time has seen,
and the state of a recurrent head. The state is handed in and out, so one network serves any number
of streams, and a batch of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from marey.errors import ModelError
from marey.models.timed import Timed
from marey.nn.heads import Mean, Recurrent
from marey.nn.mix import TemporalAdaptive, WholeClip
from marey.nn.time import OverTime


@dataclass(frozen=True, slots=True)
class State:
    """What a stream remembers: for each layer over time the frames before, and the head's state."""

    past: tuple[Tensor, ...]
    head: Tensor | tuple[Tensor, Tensor] | None


class StreamNet(nn.Module):
    """A causal timed network, step by step; however the frames are cut, the answers are the same.

    >>> import timm, torch
    >>> from marey.models.timed import timed
    >>> net = timed(timm.create_model("resnet18"), "shift:ends=causal", frames=8, classes=2)
    >>> live, state = StreamNet(net), None
    >>> for frames in torch.zeros(1, 3, 6, 64, 64).split(2, dim=2):
    ...     logits, state = live.step(frames, state)
    >>> logits.shape
    torch.Size([1, 2, 2])

    The mean over time of all logits is what the network says of the whole clip. Raises ModelError
    for a network that looks ahead, shortens time, or whose head needs the end of the clip.
    """

    def __init__(self, net: Timed) -> None:
        super().__init__()
        self.net = net
        self.layers = [layer for layer in net.body.modules() if isinstance(layer, OverTime)]
        reason = _obstacle(net)
        if reason:
            raise ModelError(f"cannot run as a stream: {reason}", where=net.name)

    def step(self, frames: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frames, N 3 T H W, and what was before → logits of each, N T K, and the state.

        None begins a stream. A state belongs to the batch and the picture size that it came from.
        """
        clock = self.net.body.clock
        before = zip(self.layers, state.past, strict=True) if state else ()
        clock.past = {id(layer): past for layer, past in before}
        try:
            maps = self.net.body(frames)
            past = tuple(clock.past[id(layer)] for layer in self.layers)
        finally:
            clock.past = None
        head = self.net.head
        features = head.per_frame(maps).transpose(1, 2)  # N T D
        memory = None
        if isinstance(head, Recurrent):
            features, memory = head.rnn(features, state.head if state else None)
        return head.logits(features), State(past, memory)


def _obstacle(net: Timed) -> str | None:
    """Why the network needs frames that a stream does not have yet."""
    if net.body.stride > 1:
        return f"it shortens time by {net.body.stride}"
    for name, layer in net.body.named_modules():
        if isinstance(layer, TemporalAdaptive | WholeClip):
            return f"{name} sees the whole clip"
        if isinstance(layer, OverTime) and layer.after > 0:
            return f"{name} looks {layer.after} frames ahead; make its rule `ends=causal`"
        if isinstance(layer, OverTime) and layer.ends != "causal":
            return f"{name} has ends={layer.ends!r}; make its rule `ends=causal`"
    if isinstance(net.head, Mean) or (isinstance(net.head, Recurrent) and not net.head.both):
        return None
    return f"its head, {type(net.head).__name__}, needs the end of the clip"
