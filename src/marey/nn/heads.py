"""Heads: features of a clip, N C T H W, to logits, N K.

Every head pools whatever T, H and W it is given, and ends in `linear`, which is what a new set of
classes replaces.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn
from torch.nn import functional as F


def classifier(features: int, classes: int) -> nn.Linear:
    """A fresh last layer, small enough that training starts near even odds."""
    linear = nn.Linear(features, classes)
    nn.init.normal_(linear.weight, std=0.01)
    nn.init.zeros_(linear.bias)
    return linear


class Head(nn.Module):
    """Base of the heads: `linear` makes the logits."""

    linear: nn.Linear


class Mean(Head):
    """The mean over space and time; equal to averaging the logits of the frames. Blind to order."""

    def __init__(self, channels: int, classes: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = classifier(channels, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.dropout(x.mean((2, 3, 4))))  # type: ignore[no-any-return]


class Segments(Head):
    """The means of `parts` equal spans of time, side by side: keeps the order of what happens."""

    def __init__(
        self, channels: int, classes: int, dropout: float = 0.0, *, parts: int = 3
    ) -> None:
        super().__init__()
        self.parts = parts
        self.dropout = nn.Dropout(dropout)
        self.linear = classifier(channels * parts, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.adaptive_avg_pool1d(x.mean((3, 4)), self.parts)  # N C parts
        return self.linear(self.dropout(x.transpose(1, 2).flatten(1)))  # type: ignore[no-any-return]

    def spread(self, weight: Tensor) -> Tensor:
        """A `Mean` head's weight, K C, as this one's, K parts*C: same answer where T divides."""
        return weight.repeat(1, self.parts) / self.parts


class Recurrent(Head):
    """A GRU over the frames, in both directions; the mean of its states is classified."""

    def __init__(
        self, channels: int, classes: int, dropout: float = 0.0, *, width: int = 128
    ) -> None:
        super().__init__()
        self.project = nn.Linear(channels, width)
        self.gru = nn.GRU(width, width, batch_first=True, bidirectional=True)
        self.dropout = nn.Dropout(dropout)
        self.linear = classifier(2 * width, classes)

    def forward(self, x: Tensor) -> Tensor:
        frames = self.dropout(x.mean((3, 4)).transpose(1, 2))  # N T C
        states, _ = self.gru(self.project(frames).relu())
        return self.linear(self.dropout(states.mean(1)))  # type: ignore[no-any-return]


class Temporal(Head):
    """Two residual convolutions over the frames, 3 wide, then the mean."""

    def __init__(
        self, channels: int, classes: int, dropout: float = 0.0, *, width: int = 128
    ) -> None:
        super().__init__()
        self.project = nn.Conv1d(channels, width, 1)
        self.mix = nn.ModuleList(nn.Conv1d(width, width, 3, padding=1) for _ in range(2))
        self.dropout = nn.Dropout(dropout)
        self.linear = classifier(width, classes)

    def forward(self, x: Tensor) -> Tensor:
        x = self.project(self.dropout(x.mean((3, 4)))).relu()  # N width T
        for conv in self.mix:
            x = x + conv(x).relu()
        return self.linear(self.dropout(x.mean(2)))  # type: ignore[no-any-return]


HEADS: dict[str, Callable[..., Head]] = {
    "mean": Mean,
    "segments": Segments,
    "recurrent": Recurrent,
    "temporal": Temporal,
}
