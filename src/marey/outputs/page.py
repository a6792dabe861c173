"""A report as one page for a browser: the video, its time line, its tracks, a search by label."""

from __future__ import annotations

import base64
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray

from marey.errors import OutputError
from marey.files import whole_file
from marey.types import ModelCard, Ranked, Report, Track, Video
from marey.video.read import open_video
from marey.video.write import VideoWriter

EMBEDDED = 20 * 2**20
"""Bytes of video that a page may hold."""

_TAG = 0.15  # the score from which on a label of a window is worth a search
_TAGS = 3  # labels a window
_NEAR = 1.5  # pixels that a box may be away from where it was
_PIECE = 20.0  # seconds of a track that are thinned at once

# What browsers play, by container as FFmpeg names it, and the codecs that they know there.
_PLAYED = {
    "mp4": ("h264", "av1", "vp9"),
    "mov": ("h264", "av1", "vp9"),
    "webm": ("vp8", "vp9", "av1"),
}
_TYPES = {"mp4": "video/mp4", "mov": "video/mp4", "webm": "video/webm"}


def write_page(report: Report, path: str | os.PathLike[str], *, embed: bool = False) -> list[str]:
    """Write the report of one video as one `.html` file that loads nothing but the video.

    The video is named by its path from the page's folder; with `embed` it is inside, up to
    `EMBEDDED` bytes: as it is, or, where browsers do not play it, in a copy made for them. Returns
    what the page does not show, in words. Raises OutputError, and VideoError where the video to be
    embedded is gone.
    """
    path = Path(path)
    player, told = _player(report.video, path.parent, embed)
    page = files("marey.outputs").joinpath("page.html").read_text(encoding="utf-8")
    said = json.dumps(_said(report) | {"video": player}, ensure_ascii=False, allow_nan=False)
    with whole_file(path) as temporary:
        # Whatever a label says, it does not end the script that holds it.
        temporary.write_text(page.replace("{{report}}", said.replace("<", "\\u003c")), "utf-8")
    return told


def _said(report: Report) -> dict[str, Any]:
    start = report.video.start
    return {
        "items": [*_items(report)],
        "tracks": [_track(track, start) for track in report.tracks if len(track.times)],
        "networks": [_card(card) for card in (report.model, *report.also)],
        "tracking": _followed(report),
        "warnings": report.warnings,
    }


def _items(report: Report) -> Iterator[dict[str, Any]]:
    """All that has a place on the time line; times from the first frame on."""
    for event in report.events:
        kind = "cut" if event.label == "cut" else "event"
        yield _item(kind, event.label, event.start, event.end, report, event.score, event.actor)
    for label, start, end, score in tags(report.windows):
        yield _item("tag", label, start, end, report, score)
    for track in report.tracks:
        if track.id is not None and len(track.times):
            first, last = float(track.times[0]), float(track.times[-1])
            yield _item("track", track.label, first, last, report, None, track.id)


def _item(
    kind: str,
    label: str,
    start: float,
    end: float,
    report: Report,
    score: float | None,
    actor: int | None = None,
) -> dict[str, Any]:
    first = report.video.start
    return {
        "kind": kind,
        "label": label,
        "start": round(start - first, 3),
        "end": round(end - first, 3),
        "score": None if score is None else round(score, 3),
        "actor": actor,
    }


def tags(windows: Sequence[Ranked]) -> Iterator[tuple[str, float, float, float]]:
    """Label, start, end and best score of the spans in which windows have it among their best."""
    open_spans: dict[str, list[float]] = {}
    for window in windows:
        best = {s.label: s.score for s in window.top[:_TAGS] if s.score >= _TAG}
        for label in [label for label in open_spans if label not in best]:
            start, end, score = open_spans.pop(label)
            yield label, start, end, score
        for label, score in best.items():
            span = open_spans.setdefault(label, [window.start, window.end, score])
            span[1:] = [window.end, max(span[2], score)]
    for label, (start, end, score) in open_spans.items():
        yield label, start, end, score


def _track(track: Track, start: float) -> dict[str, Any]:
    """Boxes enough to draw the track; straight lines between them are where it was."""
    loose = track.id is None
    kept = np.arange(len(track.times)) if loose else thinned(track.times, track.boxes)
    return {
        "id": track.id,
        "label": track.label,
        "loose": loose,
        "times": (track.times[kept] - start).round(3).tolist(),
        "boxes": track.boxes[kept].astype(float).round(1).tolist(),
    }


def thinned(times: NDArray[np.float64], boxes: NDArray[np.float32]) -> NDArray[np.intp]:
    """Which boxes, N 4, to keep so that all lie within `_NEAR` pixels of lines between those.

    Ramer 1972, Douglas and Peucker 1973, along time.
    """
    edges = np.flatnonzero(np.diff(times // _PIECE)) + 1
    kept = {0, *edges.tolist(), len(times) - 1}
    ends = sorted(kept)
    todo = list(pairwise(ends))
    while todo:
        first, last = todo.pop()
        if last - first < 2:
            continue
        inside = slice(first + 1, last)
        part = (times[inside] - times[first]) / max(times[last] - times[first], 1e-9)
        line = boxes[first] + part[:, None] * (boxes[last] - boxes[first])
        away = np.abs(boxes[inside] - line).max(1)
        worst = first + 1 + int(away.argmax())
        if away.max() > _NEAR:
            kept.add(worst)
            todo += [(first, worst), (worst, last)]
    return np.array(sorted(kept), np.intp)


def _card(card: ModelCard) -> str:
    moved = "" if card.difference is None else f", logits moved by {card.difference:.1e}"
    licence = f"; licence of the weights: {card.licence}" if card.licence else ""
    return f"{card.name}: {card.runtime}, {card.precision}{moved}{licence}"


def _followed(report: Report) -> list[str]:
    """How tracks were made, in words."""
    how = report.tracking
    if how is None:
        return []
    looks = f"{how.tracker}: looks every {how.every} frames, scores from {how.threshold:g}"
    if how.patience is None:
        return [looks]
    return [f"{looks}, out of sight up to {how.patience:g} s, smoothed over {how.smooth:g} s"]


def _player(video: Video, folder: Path, embed: bool) -> tuple[dict[str, Any], list[str]]:
    """What the page knows of the video, and what a person should be told of it."""
    rate = float(video.fps or 25)
    kind = f"{video.codec} in {Path(video.path).suffix or video.container}"
    player = {
        "name": Path(video.path).name,
        "said": video.path,
        "about": f"{video.width} x {video.height}, {kind}, {rate:.4g} frames a second",
        "width": video.width,
        "height": video.height,
        "frame": 1 / rate,
        "duration": video.duration or 0.0,
        "src": None,
        "why": None,
    }
    if embed:
        return player | {"src": _inside(video)}, []
    if not played(video):
        why = f"browsers do not play {kind}"
        do = "--embed puts a copy that they play into the page"
        return player | {"why": f"{why[0].upper()}{why[1:]}; {do}."}, [f"{why}: {do}"]
    return player | {"src": _link(Path(video.path), folder)}, []


def played(video: Video) -> bool:
    """Whether browsers play it."""
    names = video.container.split(",")
    if "matroska" in names and Path(video.path).suffix != ".webm":
        return False
    return any(video.codec in _PLAYED.get(name, ()) for name in names)


def _link(video: Path, folder: Path) -> str:
    """Its address, from the page's folder if there is a way from there."""
    try:
        return quote(Path(os.path.relpath(video.resolve(), folder.resolve())).as_posix())
    except ValueError:  # another drive
        return video.resolve().as_uri()


def _inside(video: Video) -> str:
    """The video as a data address; OutputError where it is too large."""
    if played(video) and Path(video.path).stat().st_size <= EMBEDDED:
        kind = next(_TYPES[name] for name in video.container.split(",") if name in _TYPES)
        data = Path(video.path).read_bytes()
    else:
        kind, data = "video/mp4", _copy(video)
    if len(data) > EMBEDDED:
        raise OutputError(
            f"is {len(data) >> 20} MiB even as a small copy, {EMBEDDED >> 20} may be embedded",
            where=video.path,
            do="Leave out --embed: the page then plays the video from where it is.",
        )
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


_SMALL = 360  # pixels, the short side of a copy


def _copy(video: Video) -> bytes:
    """The video as browsers play it, no higher than `_SMALL`, without sound."""
    short = min(video.height, video.width)
    scale = min(1.0, _SMALL / short)
    height, width = (max(2, 2 * round(side * scale / 2)) for side in (video.height, video.width))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "copy.mp4")
        fps, first = video.fps or Fraction(25), None
        with open_video(video.path) as reader, VideoWriter(path, width, height, fps) as writer:
            for frame in reader.frames(size=(height, width)):
                first = frame.time if first is None else first
                writer.write(frame.image, frame.time - first)
        return path.read_bytes()
