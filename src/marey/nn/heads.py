"""Heads: features of a clip, N C T H W, to logits, N K.

Every head pools whatever T, H and W it is given, and ends in `linear`, which is what a new set of
classes replaces.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from marey.nn.causal import Memory
from marey.nn.time import fold, unfold


def classifier(features: int, classes: int) -> nn.Linear:
    """A fresh last layer, small enough that training starts near even odds."""
    linear = nn.Linear(features, classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear


class Head(nn.Module):
    """Base of the heads: `frame` makes features of a frame's map, `linear` makes the logits.

    `frame` maps folded frames, (N*T) C H W → (N*T) D, as the end of an image network does; None
    takes the mean over space.
    """

    linear: nn.Linear

    def __init__(self, dropout: float, frame: nn.Module | None) -> None:
        super().__init__()
        self.frame = frame
        self.dropout = nn.Dropout(dropout)

    def per_frame(self, x: Tensor) -> Tensor:
        """N C T H W → N D T."""
        if self.frame is None:
            return x.mean((3, 4))
        return unfold(self.frame(fold(x)), x.shape[0])

    def renew(self, classes: int) -> None:
        """A fresh last layer for other classes, on the same device."""
        old = self.linear.weight
        self.linear = classifier(old.shape[1], classes).to(old.device)

    def logits(self, features: Tensor) -> Tensor:
        """N D → N K."""
        return self.linear(self.dropout(features))  # type: ignore[no-any-return]


class Mean(Head):
    """The mean over space and time; equal to averaging the logits of the frames. Blind to order."""

    def __init__(
        self, channels: int, classes: int, dropout: float = 0.0, *, frame: nn.Module | None = None
    ) -> None:
        super().__init__(dropout, frame)
        self.linear = classifier(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.logits(self.per_frame(x).mean(2))

    def step(self, x: Tensor, memory: Memory) -> Tensor:
        """N C T H W → N T K, of each frame alone; their mean is the answer to the clip."""
        return self.logits(self.per_frame(x).transpose(1, 2))


class Segments(Head):
    """The means of `parts` equal spans of time, side by side: keeps the order of what happens."""

    def __init__(
        self,
        channels: int,
        classes: int,
        dropout: float = 0.0,
        *,
        frame: nn.Module | None = None,
        parts: int = 3,
    ) -> None:
        super().__init__(dropout, frame)
        self.parts = parts
        self.linear = classifier(channels * parts, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool1d(self.per_frame(x), self.parts)  # N D parts
        return self.logits(x.transpose(1, 2).flatten(1))

    def spread(self, weight: Tensor) -> Tensor:
        """A `Mean` head's weight, K D, as this one's, K parts*D: same answer where T divides."""
        return weight.repeat(1, self.parts) / self.parts


class Recurrent(Head):
    """An LSTM or GRU over the frames; the mean of the logits after each frame (LRCN).

    Donahue et al. 2015, arXiv 1411.4389; Ng et al. 2015, arXiv 1503.08909.
    """

    def __init__(
        self,
        channels: int,
        classes: int,
        dropout: float = 0.0,
        *,
        frame: nn.Module | None = None,
        cell: Literal["lstm", "gru"] = "lstm",
        width: int = 512,
        both: bool = False,
    ) -> None:
        super().__init__(dropout, frame)
        self.both = both
        kind = nn.LSTM if cell == "lstm" else nn.GRU
        self.rnn = kind(channels, width, batch_first=True, bidirectional=both)
        self.linear = classifier(2 * width if both else width, classes)

    def forward(self, x: Tensor) -> Tensor:
        states, _ = self.rnn(self.per_frame(x).transpose(1, 2))  # N T width
        return self.logits(states.mean(1))

    def step(self, x: Tensor, memory: Memory) -> Tensor:
        """N C T H W → N T K, after each frame; their mean is the answer to the clip."""
        features = self.per_frame(x).transpose(1, 2)
        kept = 2 if isinstance(self.rnn, nn.LSTM) else 1  # an LSTM also has its cell
        start = features.new_zeros(len(features), kept, self.rnn.hidden_size)
        held = memory.take(start).transpose(0, 1).contiguous()
        if isinstance(self.rnn, nn.LSTM):
            states, (last, cell) = self.rnn(features, (held[:1], held[1:]))
            held = torch.cat([last, cell])
        else:
            states, held = self.rnn(features, held)
        memory.keep(held.transpose(0, 1))
        return self.logits(states)


class Temporal(Head):
    """Two residual convolutions over the frames, `kernel` wide, then the mean."""

    def __init__(
        self,
        channels: int,
        classes: int,
        dropout: float = 0.0,
        *,
        frame: nn.Module | None = None,
        width: int = 128,
        kernel: int = 3,
    ) -> None:
        super().__init__(dropout, frame)
        self.project = nn.Conv1d(channels, width, 1)
        self.mix = nn.ModuleList(
            nn.Conv1d(width, width, kernel, padding=kernel // 2) for _ in range(2)
        )
        self.linear = classifier(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(self.dropout(self.per_frame(x))).relu()  # N width T
        for conv in self.mix:
            x = x + conv(x).relu()
        return self.logits(x.mean(2))


HEADS: dict[str, Callable[..., Head]] = {
    "mean": Mean,
    "segments": Segments,
    "rnn": Recurrent,
    "conv1d": Temporal,
}
"""The heads by the names that rules give them."""
