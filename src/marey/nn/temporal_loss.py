"""What `TemporalDetector` should say of a video, and how wrong it is.

As ActionFormer (Zhang et al. 2022, arXiv 2202.07925; happyharrycn/actionformer_release), after FCOS
(Tian et al. 2019, arXiv 1904.01355): a point answers for an event that it lies in, near the middle
(1.5 strides), if the further edge is within the range of its level, 2 to 4 strides; the finest
level takes all that is shorter, the coarsest all that is longer. Of several events the shortest
counts. Labels are learnt by the focal loss (Lin et al. 2017, arXiv 1708.02002), edges by the
distance IoU loss (Zheng et al. 2019, arXiv 1911.08287) in one dimension.

Deviations: TemporalMaxer's own code assigns by what the network says at the time (SimOTA); this is
the simpler rule of ActionFormer, with edges belonging to events. Both sums are divided by a
constant, the number of such points that a step sees on average, where the references keep a moving
average; so a step depends on nothing but itself.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss

from marey.nn.temporal import Answers, Points

_RADIUS = 1.5  # strides around an event's middle


class Targets(NamedTuple):
    """The right answers at P points: `labels` K P (0 or 1), `distances` 2 P in cells.

    `answering` P: which points answer for an event; only there distances mean anything.
    """

    labels: Tensor
    distances: Tensor
    answering: Tensor


def assign(points: Points, spans: Tensor, labels: Tensor, classes: int) -> Targets:
    """Events, `spans` E 2 (start, end in cells) and label numbers E, given to points."""
    if not len(spans):
        none = torch.zeros(len(points.position))
        return Targets(none.expand(classes, -1), none.expand(2, -1), none.bool())
    position, stride = points.position[:, None], points.stride[:, None]
    start, end = spans.double().T
    away = torch.stack((position - start, end - position))  # 2 P E
    middle = (position - (start + end) / 2).abs() <= _RADIUS * stride
    reach = away.amax(0)
    low = torch.where(stride == stride.min(), 0, 2 * stride)
    high = torch.where(stride == stride.max(), torch.inf, 4 * stride)
    fits = (away.amin(0) >= 0) & middle & (reach >= low) & (reach <= high)
    lengths = torch.where(fits, end - start, torch.inf)
    least, chosen = lengths.min(1)
    answering = least < torch.inf
    # Events of equal length share the point: two labels at the same time are both right.
    sharing = (fits & (lengths <= least[:, None] + 1e-6)).float()
    hot = (sharing @ F.one_hot(labels, classes).float()).clamp(max=1)
    distances = away.gather(2, chosen.expand(2, -1)[..., None])[..., 0]
    return Targets(hot.T, distances.float(), answering)


def temporal_loss(answers: Answers, targets: Targets, normaliser: float) -> Tensor:
    """The loss of a batch: targets as of `assign` with N before, `normaliser` the usual count."""
    focal = sigmoid_focal_loss(answers.logits, targets.labels, reduction="none")
    answering = targets.answering & answers.mask
    said, right = (d.transpose(1, 2)[answering] for d in (answers.distances, targets.distances))
    wrong = (focal * answers.mask[:, None]).sum() + distance_iou_loss(said, right).sum()
    return wrong / normaliser


def distance_iou_loss(said: Tensor, right: Tensor) -> Tensor:
    """1 - IoU + (distance of middles / length of the hull)²: M 2, distances from one point → M."""
    common = torch.minimum(said, right).sum(1)
    union = said.sum(1) + right.sum(1) - common
    hull = torch.maximum(said, right).sum(1)
    between = ((said[:, 1] - said[:, 0]) - (right[:, 1] - right[:, 0])) / 2
    return 1 - common / union + (between / hull) ** 2
