"""What was measured: values that become JSON and come back from it.

Rates and ratios are not kept but worked out; `to_dict` writes them for whoever reads the JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

SCHEMA = "marey.bench/1"


@dataclass(frozen=True, slots=True)
class Machine:
    """`instructions` are those that matter, of /proc/cpuinfo; `computes` are OpenVINO's numbers."""

    cpu: str
    cores: int
    instructions: tuple[str, ...]
    computes: tuple[str, ...]
    system: str
    versions: Mapping[str, str]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Machine:
        return cls(**_of(cls, data))


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip through a network by one of the ways to run it; `ms` is a median.

    `error`: the largest difference of its logits from the eager network's, of the largest of them.
    `share`: of the multiply-accumulates a second that this machine does in float32.
    """

    runtime: str
    precision: str
    ms: float
    error: float | None = None
    share: float | None = None


@dataclass(frozen=True, slots=True)
class NetworkSpeed:
    """One clip, T H W, through a network, in every way; eager torch comes first, if it can run it.

    `limit`: GFLOP/s of the faster of a large matrix product and a large convolution. `refused`:
    the precisions in which it does not run here, and why.
    """

    shape: tuple[int, int, int]
    macs: int | None
    limit: float | None
    clips: tuple[Clip, ...]
    refused: Mapping[str, str]

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> NetworkSpeed:
        clips = tuple(Clip(**_of(Clip, clip)) for clip in data["clips"])
        return cls(**_of(cls, data) | {"clips": clips})


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds from the start of a process until it had imported, had the network, had a label."""

    imported: float
    ready: float
    labelled: float

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Start:
        return cls(**_of(cls, data))


@dataclass(frozen=True, slots=True)
class Memory:
    """MiB that a process held at most while it labelled a video: in the first tenth, and later."""

    early: float
    late: float


@dataclass(frozen=True, slots=True)
class Way:
    """A video to its labels: `whole` seconds; `decode` are those of FFmpeg alone, the limit.

    `clip`: seconds that the network takes for one clip when nothing else runs.
    """

    video: str
    width: int
    height: int
    codec: str
    frames: int
    clips: int
    runtime: str
    precision: str
    decode: float
    whole: float
    clip: float
    memory: Memory | None
    warnings: tuple[str, ...] = ()

    @property
    def rate(self) -> float:
        """Frames of the video a second."""
        return self.frames / self.whole

    @property
    def ratio(self) -> float:
        """Of the rate of decoding alone."""
        return self.decode / self.whole

    @property
    def in_sequence(self) -> float:
        """The ratio if nothing ran at the same time: first decoding, then the network."""
        return self.decode / (self.decode + self.clips * self.clip)

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the rates."""
        return asdict(self) | {
            "frames_per_s": self.rate,
            "decode_frames_per_s": self.frames / self.decode,
            "clips_per_s": self.clips / self.whole,
            "ratio": self.ratio,
            "ratio_in_sequence": self.in_sequence,
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Way:
        memory = Memory(**data["memory"]) if data["memory"] else None
        return cls(**_of(cls, data) | {"memory": memory})


@dataclass(frozen=True, slots=True)
class Bench:
    """What a machine gives with a network; `start` is of a fresh process with a warm cache."""

    model: str
    machine: Machine
    network: NetworkSpeed
    start: Start
    ways: tuple[Way, ...]
    schema: str = SCHEMA

    def to_dict(self) -> dict[str, Any]:
        """JSON-ready, with the rates."""
        return asdict(self) | {"ways": [way.to_dict() for way in self.ways]}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Bench:
        """What `to_dict` wrote; ValueError if it is of another schema."""
        if data.get("schema") != SCHEMA:
            raise ValueError(f"expected schema {SCHEMA!r}, got {data.get('schema')!r}")
        return cls(
            model=data["model"],
            machine=Machine.from_dict(data["machine"]),
            network=NetworkSpeed.from_dict(data["network"]),
            start=Start.from_dict(data["start"]),
            ways=tuple(Way.from_dict(way) for way in data["ways"]),
        )


def _of(kind: type, data: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of `kind`, lists as tuples; what was worked out is worked out again."""
    known = {field.name for field in fields(kind)}
    return {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in data.items()
        if key in known
    }
