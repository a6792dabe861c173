"""From which score on a detection is told to a person: a threshold for each label."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from marey.training.event_metrics import Events, Matches, by_label, in_time, match

_TIOU = 0.5


def choose_thresholds(
    detections: Events, truth: Events, labels: Sequence[str]
) -> tuple[float, ...]:
    """For each label the score from which on F1, at tIoU 0.5, is highest in these videos.

    It is set midway between the lowest score that is kept and the next one. Labels that have no
    event here, or none that was found, take the score that is best for all labels together.
    """
    found, marked = by_label(detections), by_label(truth)
    matches = {
        label: match(found.get(label, []), marked.get(label, []), (_TIOU,), in_time)
        for label in labels
    }
    together = _best(_joined(list(matches.values())))
    return tuple(
        _best(matches[label]) if matches[label].right.any() else together for label in labels
    )


def _best(matches: Matches) -> float:
    """The threshold; 0.5 where nothing was found."""
    if not matches.right.any():
        return 0.5
    scores = matches.scores
    kept = np.arange(1, len(scores) + 1)
    f1 = 2 * matches.right[0].cumsum() / (kept + matches.events)
    # A threshold cannot part equal scores.
    f1[:-1][scores[:-1] == scores[1:]] = -1
    last = int(f1.argmax())
    below = scores[last + 1] if last + 1 < len(scores) else 0.0
    return float((scores[last] + below) / 2)


def _joined(parts: list[Matches]) -> Matches:
    scores = np.concatenate([part.scores for part in parts])
    order = np.argsort(-scores, kind="stable")
    right = np.concatenate([part.right for part in parts], axis=1)
    return Matches(scores[order], right[:, order], sum(part.events for part in parts))
