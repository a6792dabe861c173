"""Streams: networks that look back only, run on frames as they come.

All have one contract, `step(frames, state) -> (logits, state)`. The state is a flat tuple of
tensors with one entry a stream first, so one network serves any number of streams, and a batch of
them; zeros are what it begins with. It holds what the layers over time kept of the frames before
(`marey.nn.causal`), in the order in which they run, and last what the head kept.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from marey.errors import ModelError
from marey.models._net import Net
from marey.models.movinet import MoViNet
from marey.models.timed import Timed
from marey.nn.causal import Stream
from marey.nn.heads import Mean, Recurrent
from marey.nn.mix import TemporalAdaptive, WholeClip
from marey.nn.time import OverTime

State = tuple[Tensor, ...]


@dataclass(frozen=True, slots=True)
class Streaming:
    """A network that looks at frames as they come, made by `streaming`.

    `answer`: what it says of a clip is the `mean` of what it says of the frames, or the `last`.
    `forgets`: what a frame changes is gone some frames later. Otherwise (recurrent heads, means of
    all frames so far) it goes on changing with age, and was trained no older than a clip is long.
    """

    net: Timed | MoViNet
    answer: Literal["mean", "last"]
    forgets: bool

    def step(self, frames: Tensor, state: State | None = None) -> tuple[Tensor, State]:
        """The next frames, N 3 T H W, and what was before → logits of each, N T K, and the state.

        None begins a stream, as zeros do. However the frames are cut, the answers are the same. A
        state belongs to the batch and the picture size that it came from; ModelError for another.
        """
        if isinstance(self.net, MoViNet):
            return self.net.step(frames, state)
        return _step(self.net, frames, state)


def streaming(net: Net) -> Streaming:
    """The same network, frame by frame.

    >>> import timm, torch
    >>> from marey.models.timed import timed
    >>> net = timed(timm.create_model("resnet18"), "shift:ends=causal", frames=8, classes=2)
    >>> live, state = streaming(net), None
    >>> for frames in torch.zeros(1, 3, 6, 64, 64).split(2, dim=2):
    ...     logits, state = live.step(frames, state)
    >>> logits.shape, live.answer
    (torch.Size([1, 2, 2]), 'mean')

    Raises ModelError, with the reason, for a network that looks ahead, shortens time, or whose head
    needs the end of the clip.
    """
    reason = obstacle(net)
    if isinstance(net, MoViNet) and not reason:
        return Streaming(net, "last", forgets=False)
    if isinstance(net, Timed) and not reason:
        return Streaming(net, "mean", forgets=isinstance(net.head, Mean))
    raise ModelError(f"cannot run as a stream: {reason}", where=net.name)


def obstacle(net: Net) -> str | None:
    """Why the network needs frames that a stream does not have yet; None where it needs none."""
    if isinstance(net, MoViNet):
        return None if net.streams else f"it looks ahead; take {net.architecture}_stream"
    if not isinstance(net, Timed):
        return "it keeps nothing of the frames before; MoViNet's stream and causal rules do"
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


def _step(net: Timed, frames: Tensor, state: State | None) -> tuple[Tensor, State]:
    net._check(frames)
    assert isinstance(net.head, Mean | Recurrent)
    clock, memory = net.body.clock, Stream(state)
    clock.memory = memory
    try:
        maps = net.body(frames)
    finally:
        clock.memory = None
    return net.head.step(maps, memory), memory.state
