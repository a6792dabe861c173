"""Trackers, all of them Roboflow's: which boxes of one moment and the next are the same thing.

roboflow/trackers (Apache-2.0): SORT (Bewley et al. 2016), ByteTrack (Zhang et al. 2022), OC-SORT
(Cao et al. 2023), BoT-SORT (Aharon et al. 2022), C-BIoU (Yang et al. 2023). They take times in
seconds, so that frames may come at any rate.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.boxes import Detections
from marey.errors import ModelError
from marey.opencv import loaded
from marey.types import Image

TRACKERS = {
    "bytetrack": "ByteTrackTracker",
    "sort": "SORTTracker",
    "ocsort": "OCSORTTracker",
    "botsort": "BoTSORTTracker",
    "cbiou": "CBIoUTracker",
}
_SECOND_PASS = ("bytetrack", "botsort", "cbiou")
NO_TRACKER = "none"

LEAST = 0.1
"""The score below which nothing even goes on with a track: that of ByteTrack's authors."""

_SURER = 0.1  # by so much must a detection pass the threshold to begin a track; theirs, too
_BUFFER = 30  # the rate at which their authors count the frames that a lost track is kept
_APART = 1 << 32  # between the ids of one label's tracker and those of the next


def check_tracker(name: str) -> None:
    """ModelError for a tracker that there is not, MissingExtraError where none can be loaded."""
    if name == NO_TRACKER:
        return
    if name not in TRACKERS:
        known = ", ".join((*TRACKERS, NO_TRACKER))
        raise ModelError(f"no tracker is called {name!r}", do=f"Choose one of: {known}.")
    loaded("trackers")


class Tracker:
    """Follows things of each label by a tracker of its own: a person never becomes a car.

    `rate` is how many times a second it is usually asked, `patience` for how many seconds a thing
    may be out of sight. Detections with a score of `threshold` count; those of less only go on with
    tracks, where the tracker has a second pass for them.
    """

    def __init__(self, name: str, rate: float, patience: float, threshold: float) -> None:
        check_tracker(name)
        self._kind: Any = getattr(loaded("trackers"), TRACKERS[name])
        self._name, self._rate, self._patience, self._threshold = name, rate, patience, threshold
        self._of: dict[str, Any] = {}

    def __call__(self, time: float, found: Detections, image: Image) -> NDArray[np.int64]:
        """A number for each of N detections, the same as long as it is the same thing; -1: none."""
        ids = np.full(len(found), -1, np.int64)
        labels = np.array(found.labels, object)
        for label in dict.fromkeys(found.labels):
            self._of.setdefault(label, self._made())
        for number, (label, tracker) in enumerate(self._of.items()):
            least = LEAST if self._name in _SECOND_PASS else self._threshold
            rows = np.flatnonzero((labels == label) & (found.scores >= least))
            told = self._told(tracker, time, found, rows, image)
            ids[told.class_id] = np.where(
                told.tracker_id < 0, -1, told.tracker_id + number * _APART
            )
        return ids

    def forget(self) -> None:
        """Nothing of what comes has been seen before."""
        self._of.clear()

    def _told(
        self, tracker: Any, time: float, found: Detections, rows: NDArray[np.int64], image: Image
    ) -> Any:
        """What a tracker says of the detections in `rows`, which stand in its `class_id`."""
        given = loaded("supervision").Detections(
            xyxy=found.boxes[rows].astype(np.float64),
            confidence=found.scores[rows].astype(np.float64),
            class_id=rows,
        )
        sees = {"frame": image[..., ::-1]} if self._name == "botsort" else {}
        told = tracker.update(given, timestamp=time, **sees)
        if told.class_id is None:  # it says so of none
            told.class_id = np.zeros(0, np.int64)
        return told

    def _made(self) -> Any:
        how: dict[str, Any] = {
            "frame_rate": self._rate,
            "lost_track_buffer": int(np.ceil(self._patience * _BUFFER)),
        }
        if self._name != "sort":
            how["high_conf_det_threshold"] = self._threshold
        if self._name != "ocsort":
            how["track_activation_threshold"] = min(1.0, self._threshold + _SURER)
        return self._kind(**how)
