"""Boxes with ids, labels and trails drawn on the frames of a video, by supervision's annotators."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from marey.opencv import loaded
from marey.types import Event, Image, Report, Track

_TRAIL = 2.0  # seconds of the way behind a thing
_NEAR = 1e-6  # seconds: two times of one frame


class Drawn:
    """Draws the tracks of a report; frames come in order, `scale` times as large as the video.

    Colours tell ids apart, without a tracker labels; boxes that were not seen have their score in
    brackets. What an actor does stands beside its id.
    """

    def __init__(self, report: Report, scale: int, height: int) -> None:
        self._sv: Any = loaded("supervision")
        self._scale, self._tracks = scale, report.tracks
        self._kinds = list(dict.fromkeys(track.label for track in report.tracks))
        counts = [len(track.times) for track in self._tracks]
        times = np.concatenate([track.times for track in self._tracks])
        order = np.argsort(times, kind="stable")
        self._times = times[order]
        # Whose the boxes are, in order of time, and which of theirs.
        self._whose = np.repeat(np.arange(len(counts)), counts)[order]
        self._which = np.concatenate([np.arange(count) for count in counts])[order]
        self._acts: dict[int, list[Event]] = defaultdict(list)
        for event in report.events:
            if event.actor is not None:
                self._acts[event.actor].append(event)
        self._annotators = self._made(float(report.video.fps or 25), height)

    def _made(self, fps: float, height: int) -> Sequence[Any]:
        sv, size = self._sv, max(1, round(height / 360))
        followed = any(track.id is not None for track in self._tracks)
        by = sv.ColorLookup.TRACK if followed else sv.ColorLookup.CLASS
        trail = sv.TraceAnnotator(
            position=sv.Position.BOTTOM_CENTER,
            trace_length=round(_TRAIL * fps),
            thickness=size,
            color_lookup=by,
        )
        box = sv.BoxAnnotator(thickness=size, color_lookup=by)
        text = 0.35 * max(1.0, height / 480)
        label = sv.LabelAnnotator(text_scale=text, text_padding=3, color_lookup=by)
        return [trail, box, label] if followed else [box, label]

    def on(self, image: Image, time: float) -> Image:
        """The frame (H W 3) with what is in it."""
        first, last = np.searchsorted(self._times, (time - _NEAR, time + _NEAR))
        places = list(zip(self._whose[first:last], self._which[first:last], strict=True))
        rows = [(self._tracks[whose], int(which)) for whose, which in places]
        boxes = np.array([track.boxes[k] for track, k in rows], float).reshape(-1, 4)
        far = 2 * max(image.shape)  # OpenCV's coordinates are integers of 32 bits
        found = self._sv.Detections(
            xyxy=np.clip(boxes * self._scale, -far, far),
            class_id=np.array([self._kinds.index(track.label) for track, _ in rows], int),
            tracker_id=np.array([-1 if t.id is None else t.id for t, _ in rows], int),
        )
        # Its colours are meant for OpenCV's order of channels.
        scene = np.ascontiguousarray(image[..., ::-1])
        for annotator in self._annotators:
            words = {}
            if isinstance(annotator, self._sv.LabelAnnotator):
                words["labels"] = [self._words(track, k, time) for track, k in rows]
            scene = annotator.annotate(scene, found, **words)
        return np.ascontiguousarray(scene[..., ::-1])

    def _words(self, track: Track, place: int, time: float) -> str:
        name = track.label if track.id is None else f"{track.label} {track.id}"
        score = f"{track.scores[place]:.2f}"
        acts = self._acts.get(-1 if track.id is None else track.id, ())
        now = [event.label for event in acts if event.start <= time < event.end]
        return " ".join([name, score if track.seen[place] else f"({score})", *now])
