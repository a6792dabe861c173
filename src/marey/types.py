"""The values that flow through marey; frozen, and free of torch.

Times are seconds on the video's own clock (the container's pts), and a span is `start <= t < end`.
Images are uint8 RGB, H W 3.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from fractions import Fraction
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]
Sampling = Literal["dense", "segments", "linspace"]
Interpolation = Literal["bilinear", "bicubic", "area"]
CORNERS = ("x1", "y1", "x2", "y2")
"""What the numbers of a box are called."""

SCHEMA = "marey.report/1"
HEAD = "marey.temporal/1"
"""The format of a trained temporal head's folder, by which all rooms know one."""


@dataclass(frozen=True, slots=True)
class Video:
    """What a media file says of its video stream; a header may be wrong, decoding tells.

    `width` and `height` are as displayed: after rotation and sample aspect ratio. `start` is the
    pts of the first frame; `end` the measured end of the last one, None where only decoding can
    tell.
    """

    path: str
    container: str
    codec: str
    width: int
    height: int
    fps: Fraction | None
    start: float
    end: float | None
    frames: int | None
    rotation: int = 0
    audio: bool = False
    streams: int = 1

    @property
    def duration(self) -> float | None:
        """Seconds from the first frame's start to the last frame's end."""
        return None if self.end is None else self.end - self.start

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready; fps becomes the string "30000/1001", so that no precision is lost."""
        fps = None if self.fps is None else str(self.fps)
        return asdict(self) | {"fps": fps}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Video:
        fps = data["fps"]
        return cls(**data | {"fps": None if fps is None else Fraction(fps)})


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame: `image` (H W 3 uint8) is shown from `time` on, exact seconds."""

    image: Image
    time: Fraction


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time, `start <= t < end`, in seconds."""

    start: float
    end: float

    @property
    def middle(self) -> float:
        return (self.start + self.end) / 2


@dataclass(frozen=True, slots=True)
class Clip:
    """The frames picked from one window: `frames` is T H W 3 uint8, `times` their exact pts.

    `padded` counts the frames that the video was too short to give and the short policy filled in.
    """

    window: Window
    frames: Image
    times: tuple[Fraction, ...]
    padded: int = 0


@dataclass(frozen=True, slots=True)
class Input:
    """How a clip is prepared for a network; it travels with the model and its weights.

    A clip is `frames` frames. `dense` takes every `every`-th frame at `fps` (None: the video's own
    rate), so the window lasts `frames * every / fps`; `segments` (TSN: the middle of equal parts)
    and `linspace` (SlowFast: first to last) spread them over `seconds`, `burst` neighbours at each
    place (TDN).

    Frames are scaled so that the short side is `resize` pixels, or to exactly (H, W), then the
    centre `size` (H, W) is cut. Values in [0, 1] are raised to `gamma` (below 1 brightens), then
    normalised by `mean` and `std`, one a channel: three are RGB, two are optical flow, which no
    verb makes from a video. `views` is the multi-view test protocol: clips in time x crops
    in space.
    """

    frames: int
    size: tuple[int, int]
    resize: int | tuple[int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    sampling: Sampling = "dense"
    every: int = 1
    burst: int = 1
    fps: float | None = None
    seconds: float | None = None
    interpolation: Interpolation = "bilinear"
    gamma: float = 1.0
    views: tuple[int, int] = (10, 3)

    def __post_init__(self) -> None:
        if (self.seconds is None) != (self.sampling == "dense"):
            raise ValueError(f"seconds goes with segments and linspace only, got {self}")
        if min(self.frames, self.every, self.burst, *self.size, *self.views) < 1:
            raise ValueError(f"frames, every, burst, size and views must be positive, got {self}")
        if self.frames % self.burst or (self.burst > 1 and self.sampling == "dense"):
            raise ValueError(f"bursts divide the frames of segments and linspace, got {self}")

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Input:
        lists = {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
        return cls(**data | lists)


@dataclass(frozen=True, slots=True)
class Scores:
    """What a network says of one window: `p` (K float32), a score a class, or K features."""

    window: Window
    p: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Score:
    """One label and its score in [0, 1]."""

    label: str
    score: float


@dataclass(frozen=True, slots=True)
class Ranked:
    """The best labels of one window, best first."""

    start: float
    end: float
    top: tuple[Score, ...]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens, `start <= t < end`; `score` in [0, 1] is how sure the network is.

    `actor` is the id of the track that does it, None where nobody in particular does.
    """

    label: str
    start: float
    end: float
    score: float
    actor: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Track:
    """Something followed through a video: where it is in every frame, from its first to its last.

    `times` N are the frames' seconds, `boxes` N 4 x1 y1 x2 y2 in pixels of the frame as displayed
    (float32; x to the right, y down, x2 and y2 just outside), `scores` N in [0, 1] how sure the
    detector is. Where `seen` N is False the box lies between those of other frames, and so does its
    score. Without an `id` nobody has followed anything: the boxes are those of all things of this
    `label`, in order of time.
    """

    id: int | None
    label: str
    times: NDArray[np.float64]
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    seen: NDArray[np.bool_]

    def only(self, which: slice) -> Track:
        """Some of its boxes."""
        return Track(
            self.id,
            self.label,
            self.times[which],
            self.boxes[which],
            self.scores[which],
            self.seen[which],
        )

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, a dictionary a box."""
        rows = zip(
            self.times.tolist(),
            self.boxes.astype(float).round(2).tolist(),
            self.scores.astype(float).round(4).tolist(),
            self.seen.tolist(),
            strict=True,
        )
        boxes = [
            {"time": time, **dict(zip(CORNERS, box, strict=True)), "score": score, "seen": seen}
            for time, box, score, seen in rows
        ]
        return {"id": self.id, "label": self.label, "boxes": boxes}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Track:
        rows = data["boxes"]
        return cls(
            id=data["id"],
            label=data["label"],
            times=np.array([row["time"] for row in rows], np.float64),
            boxes=np.array([[row[key] for key in CORNERS] for row in rows], np.float32).reshape(
                -1, 4
            ),
            scores=np.array([row["score"] for row in rows], np.float32),
            seen=np.array([row["seen"] for row in rows], np.bool_),
        )


@dataclass(frozen=True, slots=True)
class ModelCard:
    """Which network spoke, and under what terms.

    `multilabel`: its classes do not exclude each other, each has a score of its own (a sigmoid);
    otherwise the scores of all classes add up to 1. `difference`: how far the compiled network's
    logits were from its own on a made clip, relative to the largest; those of a file in int8, from
    the same file's in float32 on clips that it was not calibrated on. `mixes_time`: what its body
    makes of a frame depends on others; `by_frame`: what it gives for a clip is the mean over what
    it gives for its frames, each by itself.

    `network` is a hash of the network where not its own classes count, but its features: where they
    are what it gives, `classes` numbers a window, or what a temporal head finds events in. `input`
    is None where nothing looks: the boxes come from a file.
    """

    name: str
    licence: str | None
    classes: int
    runtime: str
    precision: str
    input: Input | None
    multilabel: bool = False
    difference: float | None = None
    mixes_time: bool = True
    by_frame: bool = False
    network: str | None = None

    @property
    def prepare(self) -> Input:
        """The `input` of a network, which has one."""
        assert self.input is not None
        return self.input

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> ModelCard:
        look = data["input"]
        return cls(**data | {"input": None if look is None else Input.from_dict(look)})


@dataclass(frozen=True, slots=True)
class Tracking:
    """How tracks were made, by the names and in the units of `marey.track`.

    Without a tracker ("none") nothing waits and nothing is smoothed: `patience` and `smooth` are
    None. `labels` are those that were wanted, None for all.
    """

    tracker: str
    every: int
    threshold: float
    patience: float | None
    smooth: float | None
    labels: tuple[str, ...] | None = None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Tracking:
        labels = data["labels"]
        return cls(**data | {"labels": None if labels is None else tuple(labels)})


@dataclass(frozen=True, slots=True, eq=False)
class VideoFeatures:
    """What a network makes of a video: a row a window, in order of time.

    `spans` N 2 are the windows' starts and ends, `values` N D what the network makes of each. Their
    middles lie `stride` seconds apart, but for the last, which ends where the video does.
    `model.network` is the hash of the network.
    """

    video: Video
    model: ModelCard
    stride: float
    spans: NDArray[np.float64]
    values: NDArray[np.float32]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Report:
    """What was found in one video; `docs/report.md` states its JSON, schema `marey.report/1`.

    `also` are the networks besides `model` that something in it comes from; `tracking` is how its
    tracks were made, None where nothing was followed.
    """

    video: Video
    model: ModelCard
    top: tuple[Score, ...]
    windows: tuple[Ranked, ...]
    warnings: tuple[str, ...] = ()
    events: tuple[Event, ...] = ()
    tracks: tuple[Track, ...] = ()
    also: tuple[ModelCard, ...] = ()
    tracking: Tracking | None = None
    schema: str = field(default=SCHEMA)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, keys in the order of the schema."""
        return {
            "schema": self.schema,
            "video": self.video.to_dict() | {"duration": self.video.duration},
            "model": asdict(self.model),
            "top": [asdict(score) for score in self.top],
            "windows": [asdict(ranked) for ranked in self.windows],
            "events": [asdict(event) for event in self.events],
            "tracking": None if self.tracking is None else asdict(self.tracking),
            "tracks": [track.to_dict() for track in self.tracks],
            "also": [asdict(card) for card in self.also],
            "warnings": list(self.warnings),
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Report:
        """The report that `to_dict` wrote; ValueError if it is of another schema.

        Tracks may be whole already.
        """
        if data.get("schema") != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA!r}, got {data.get('schema')!r}")
        video = {key: value for key, value in data["video"].items() if key != "duration"}
        return cls(
            video=Video.from_dict(video),
            model=ModelCard.from_dict(data["model"]),
            top=_scores(data["top"]),
            windows=tuple(
                Ranked(row["start"], row["end"], _scores(row["top"])) for row in data["windows"]
            ),
            warnings=tuple(data["warnings"]),
            events=tuple(Event(**row) for row in data.get("events", ())),
            tracks=tuple(
                row if isinstance(row, Track) else Track.from_dict(row)
                for row in data.get("tracks", ())
            ),
            also=tuple(map(ModelCard.from_dict, data.get("also", ()))),
            tracking=Tracking.from_dict(said) if (said := data.get("tracking")) else None,
        )


def _scores(rows: list[dict[str, Any]]) -> tuple[Score, ...]:
    return tuple(Score(**row) for row in rows)
