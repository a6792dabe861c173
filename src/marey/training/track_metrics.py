"""How well tracks agree with those that people marked: HOTA, MOTA and IDF1, computed by TrackEval.

HOTA (Luiten et al. 2021), CLEAR MOT (Bernardin and Stiefelhagen 2008), IDF1 (Ristani et al. 2016);
TrackEval (Luiten and Hoffhues, MIT) is the reference. Boxes match by intersection over union; MOTA
and IDF1 ask for 0.5, HOTA is the mean over 0.05 to 0.95.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from marey.boxes import box_iou
from marey.data.box_files import Row, read_boxes
from marey.errors import DataError, MissingExtraError
from marey.outputs.mot import mot_rows
from marey.outputs.text import read_reports
from marey.types import Report


@dataclass(frozen=True, slots=True)
class TrackMetrics:
    """Agreement in [0, 1] (MOTA may be negative), and counts.

    `hota` is the mean of the geometric means of `detection` and `association`. `recall` and
    `precision` are of boxes; `switches` says how often something marked goes on under another id,
    `fragments` how often it is lost and found again.
    """

    hota: float
    detection: float
    association: float
    mota: float
    idf1: float
    recall: float
    precision: float
    switches: int
    fragments: int
    boxes: int
    ids: int
    marked: int
    marked_ids: int


@dataclass(frozen=True, slots=True)
class TrackEvaluation:
    """What was measured in the frames from `first` to `last`, and what was not judged."""

    metrics: TrackMetrics
    first: int
    last: int
    warnings: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready."""
        return asdict(self)


def evaluate_tracks(
    found: str | os.PathLike[str] | Report, truth: str | os.PathLike[str]
) -> TrackEvaluation:
    """Metrics of tracks (a report, its `.json`, or boxes with ids) against `truth`, MOT's text.

    Judged are the frames from the first to the last of the truth, also those between in which it
    has nothing. Its boxes whose seventh column is 0 do not count, nor do labels. DataError for
    files that cannot be used, boxes without an id, and ids that stand twice in a frame.
    """
    if find_spec("trackeval") is None:
        raise MissingExtraError(
            "measuring tracks needs TrackEval", do="Run: pip install 'marey[track]'"
        )
    marked = read_boxes(truth)
    judged = [row for row in marked if row.judged]
    if not judged:
        raise DataError("there is no box to compare with", where=truth)
    rows = _rows(found)
    frames = [row.frame for row in judged if row.frame is not None]
    first, last = min(frames), max(frames)
    inside = [row for row in rows if row.frame is not None and first <= row.frame <= last]
    warnings = []
    if len(judged) < len(marked):
        warnings.append(f"{len(marked) - len(judged)} boxes of the truth are marked not to count")
    if len(inside) < len(rows):
        warnings.append(f"{len(rows) - len(inside)} boxes lie outside of frames {first} to {last}")
    where = found.video.path if isinstance(found, Report) else found
    metrics = measure_tracks(
        _by_frame(inside, first, last, where), _by_frame(judged, first, last, truth)
    )
    return TrackEvaluation(metrics, first, last, tuple(warnings))


def _rows(found: str | os.PathLike[str] | Report) -> list[Row]:
    if not isinstance(found, Report):
        path = Path(found)
        if path.suffix.lower() != ".json":
            return read_boxes(path)
        reports = read_reports(path)
        if len(reports) != 1:
            raise DataError(
                f"holds {len(reports)} reports", where=path, do="Give the report of one video."
            )
        found = reports[0]
    return [
        Row(frame, None, (left, top, left + width, top + height), score, id=id)
        for frame, id, left, top, width, height, score in mot_rows(found)
    ]


Sights = list[tuple[NDArray[np.int64], NDArray[np.float64]]]
"""Frame by frame, ids N and boxes N 4."""


def _by_frame(rows: Iterable[Row], first: int, last: int, where: object) -> Sights:
    """DataError for ids that are missing, or stand twice in a frame."""
    groups: dict[int, dict[int, Row]] = defaultdict(dict)
    for row in rows:
        if row.frame is None:
            raise DataError("says times, not frames", where=where, do="Give MOT's text.")
        if row.id < 0:
            raise DataError(
                f"a box in frame {row.frame} has no id", where=where, do="Follow them by a tracker."
            )
        if row.id in groups[row.frame]:
            raise DataError(f"id {row.id} stands twice in frame {row.frame}", where=where)
        groups[row.frame][row.id] = row
    return [
        (
            np.array(list(groups[frame]), np.int64),
            np.array([row.box for row in groups[frame].values()], np.float64).reshape(-1, 4),
        )
        for frame in range(first, last + 1)
    ]


def measure_tracks(found: Sights, truth: Sights) -> TrackMetrics:
    """TrackEval's numbers for the same frames of both; ids may be any."""
    from trackeval.metrics import CLEAR, HOTA, Identity

    ids, known = _renumbered(found), _renumbered(truth)
    data: dict[str, Any] = {
        "num_timesteps": len(truth),
        "num_gt_ids": _count(known),
        "num_tracker_ids": _count(ids),
        "num_gt_dets": sum(map(len, known)),
        "num_tracker_dets": sum(map(len, ids)),
        "gt_ids": known,
        "tracker_ids": ids,
        "similarity_scores": [
            box_iou(right, boxes) for (_, boxes), (_, right) in zip(found, truth, strict=True)
        ],
    }
    quiet = {"PRINT_CONFIG": False}
    hota = HOTA().eval_sequence(data)
    clear, identity = CLEAR(quiet).eval_sequence(data), Identity(quiet).eval_sequence(data)
    return TrackMetrics(
        hota=float(np.mean(hota["HOTA"])),
        detection=float(np.mean(hota["DetA"])),
        association=float(np.mean(hota["AssA"])),
        mota=float(clear["MOTA"]),
        idf1=float(identity["IDF1"]),
        recall=float(clear["CLR_Re"]),
        precision=float(clear["CLR_Pr"]),
        switches=int(clear["IDSW"]),
        fragments=int(clear["Frag"]),
        boxes=data["num_tracker_dets"],
        ids=data["num_tracker_ids"],
        marked=data["num_gt_dets"],
        marked_ids=data["num_gt_ids"],
    )


def _renumbered(sights: Sights) -> list[NDArray[np.int64]]:
    """The ids of each frame as numbers from 0 on, without a gap."""
    names = sorted({id for ids, _ in sights for id in ids.tolist()})
    place = {id: number for number, id in enumerate(names)}
    return [np.array([place[id] for id in ids.tolist()], np.int64) for ids, _ in sights]


def _count(ids: Sequence[NDArray[np.int64]]) -> int:
    return 1 + max((int(each.max()) for each in ids if len(each)), default=-1)
