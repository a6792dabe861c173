"""A ResNet-50 and a recurrent layer behind it: LRCN, "beyond short snippets".

Papers: Donahue et al., "Long-term Recurrent Convolutional Networks", CVPR 2015, arXiv 1411.4389;
Ng et al., "Beyond Short Snippets", CVPR 2015, arXiv 1503.08909. Both are older than residual
networks, and no code of theirs became canonical: this is their idea on timm's ResNet-50, by the
rule `rnn`. Each frame's pooled features go through one LSTM or GRU of 512 units, a linear layer
answers after every frame, and the answers are averaged, as LRCN does it (Ng et al. compare this
with the last answer alone).

No reference exists: held to the recurrent cell, step by step, and to the count of parameters.
"""

from __future__ import annotations

from functools import partial

from marey.models._image_nets import image_net, imagenet
from marey.models._net import Net
from marey.models._registry import register
from marey.models.timed import timed

FRAMES = 16  # as LRCN


def _made(cell: str, classes: int, dropout: float) -> Net:
    image = image_net("resnet50", classes)
    return timed(image, f"rnn:cell={cell}", frames=FRAMES, classes=classes, dropout=dropout)


_as_lrcn = partial(
    register,
    imagenet(frames=FRAMES, resize=256, size=(224, 224), views=(10, 1)),
    classes=400,
    paper="1411.4389",
    reference="none: our definition",
)


@_as_lrcn()
def lrcn_resnet50_lstm(*, classes: int, dropout: float = 0.5) -> Net:
    return _made("lstm", classes, dropout)


@_as_lrcn()
def lrcn_resnet50_gru(*, classes: int, dropout: float = 0.5) -> Net:
    return _made("gru", classes, dropout)
