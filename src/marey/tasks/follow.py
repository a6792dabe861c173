"""Frames in, frames with the things in them out: detected, told apart, and followed."""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Sequence
from contextlib import closing
from fractions import Fraction

from marey.data.box_files import BoxFile
from marey.errors import ModelError
from marey.runtime.detector import Detector
from marey.tasks._ahead import ahead
from marey.tasks._filled import Filler, Look, unfollowed
from marey.tasks._followed import Followed
from marey.tasks._looks import Wanted, given, seen
from marey.tasks._spent import Spent
from marey.tasks._trackers import LEAST, NO_TRACKER, Tracker, check_tracker
from marey.types import Frame, Tracking
from marey.video.read import Reader

DEFAULT_TRACKER = "cbiou"
"""Its boxes are widened before they are compared: things may have moved far between two looks."""

PATIENCE, SMOOTH = 1.0, 0.5
"""Seconds that a thing may be out of sight, and over which boxes are smoothed."""

_AHEAD = 4  # frames that are decoded while one is looked at
_USUAL = Fraction(25)


def follow(
    reader: Reader,
    detector: Detector | BoxFile,
    tracker: str = DEFAULT_TRACKER,
    *,
    frames: Iterable[Frame] | None = None,
    every: int = 1,
    batch: int = 1,
    threshold: float = 0.5,
    labels: Collection[str] | None = None,
    patience: float = PATIENCE,
    smooth: float = SMOOTH,
    cuts: Sequence[float] = (),
    spent: Spent | None = None,
) -> Generator[Followed]:
    """Every frame of `reader` (or of `frames`, which come from it) with the things in it, in order.

    The detector looks at each `every`-th frame and at the last, `batch` at a time; of what it finds
    count things of `labels` (None: all) with a score of `threshold` or more, and to go on with a
    track 0.1. The tracker says which are the same. Between two looks, and where a thing is not seen
    for at most `patience` seconds (never less than the time of two looks), its boxes lie between
    those before and after; all are smoothed over `smooth` seconds before and after (0: they are the
    detector's). `cuts`, in seconds, and stretches of more than `patience` without a frame end all
    tracks; ids count from 1 and never come again.

    A frame comes out `patience` seconds of video after it was read, and up to `every` times `batch`
    frames: so many are held, as they were decoded. Without a tracker ("none") it waits for the
    latter only. Decoding goes on in a thread beside the detector.

    ModelError for an unknown tracker, or labels that the detector does not know; MissingExtraError
    where no tracker can be loaded. What was left out is among the reader's warnings.
    """
    if every < 1 or batch < 1 or not patience > 0 or not 0 <= smooth <= patience:
        raise ModelError(
            f"every {every}, batch {batch}, patience {patience:g} and smooth {smooth:g} do not go "
            "together",
            do="Give whole numbers and seconds above 0, and smooth no more than patience.",
        )
    check_tracker(tracker)
    _check_labels(detector, labels)
    spent = spent or Spent()
    video = reader.video
    alone = tracker == NO_TRACKER
    least = threshold if alone else min(threshold, LEAST)
    wanted = Wanted(least, labels, reader.lose)
    with closing(ahead(reader.frames() if frames is None else frames, _AHEAD)) as decoded:
        looks: Iterable[Look]
        if isinstance(detector, BoxFile):
            looks = given(spent.waited(decoded), detector, video, wanted, every=every)
        else:
            looks = seen(decoded, detector, wanted, every=every, batch=batch, spent=spent)
        if alone:
            yield from unfollowed(looks)
            return
        rate = float(video.fps or _USUAL) / every
        patience = max(patience, 2 / rate)
        filler = Filler(
            Tracker(tracker, rate, patience, threshold),
            patience=patience,
            smooth=smooth,
            cuts=cuts,
            sure=threshold,
            lose=reader.lose,
        )
        yield from filler(looks)


def told(
    tracker: str,
    *,
    every: int,
    threshold: float,
    labels: Collection[str] | None = None,
    patience: float = PATIENCE,
    smooth: float = SMOOTH,
    **_: object,
) -> Tracking:
    """What a report says of what `follow` was given."""
    wanted = None if labels is None else tuple(labels)
    if tracker == NO_TRACKER:
        return Tracking(tracker, every, threshold, None, None, wanted)
    return Tracking(tracker, every, threshold, patience, smooth, wanted)


def _check_labels(detector: Detector | BoxFile, labels: Collection[str] | None) -> None:
    """ModelError for labels that are never found."""
    if unknown := sorted(set(labels or ()) - set(detector.labels)):
        known = ", ".join(detector.labels[:10]) + (" …" if len(detector.labels) > 10 else "")
        raise ModelError(
            f"does not know {', '.join(map(repr, unknown))}",
            where=detector.card().name,
            do=f"It knows: {known}.",
        )
