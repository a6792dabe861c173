"""A trained temporal head: features of a video in, events in seconds out; its folder on disk."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load, save

from marey.errors import ModelError, WeightsError
from marey.files import make_folder, whole_file
from marey.models._checkpoint import CONFIG, STATE
from marey.nn.temporal import TemporalDetector, points
from marey.spans import distinct
from marey.types import HEAD, Event, VideoFeatures, Window

_LEAST = 0.01  # scores below are not worth ranking; where nothing is learnt all are about that
_SAME = 0.3  # tIoU above which two detections of one label are one
_STRIDES = 0.01  # how far strides may differ, relatively


@dataclass(frozen=True, slots=True)
class Features:
    """What a network made of one video, a column a step: `values` C T.

    Column t is about the time from `start + t * stride` on, `stride` seconds long: a window that is
    longer has its middle there. `network` is the hash of the network that made them.
    """

    video: str
    values: NDArray[np.float32]
    start: float
    stride: float
    network: str

    @classmethod
    def of(cls, found: VideoFeatures, name: str | None = None) -> Features:
        """The rows of `marey.features` as columns, under another `name` if one is given.

        The last window may lie up to a stride before its column: it ends where the video does.
        """
        middle = float(found.spans[0].mean())
        return cls(
            found.video.path if name is None else name,
            found.values.T,
            middle - found.stride / 2,
            found.stride,
            found.model.network or "",
        )

    def cells(self, seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Times in seconds as places among the columns; the middle of column t is t."""
        return (seconds - self.start) / self.stride - 0.5

    def seconds(self, cells: NDArray[np.float64]) -> NDArray[np.float64]:
        """Places among the columns as times in seconds."""
        return self.start + (cells + 0.5) * self.stride


@dataclass(frozen=True, slots=True)
class HeadConfig:
    """What a head's tensors do not say: its labels in order, and which features it was taught on.

    `channels`, `stride` (seconds) and `network` (a hash) are the features'; `made_by` is what tells
    how to make such again, as its maker wrote it down. An event counts as found from the score in
    `thresholds`, one a label. `extra` is the trainer's own: recipe, data hash, results.
    """

    labels: tuple[str, ...]
    channels: int
    stride: float
    network: str
    made_by: Mapping[str, Any]
    width: int
    levels: int
    thresholds: tuple[float, ...]
    extra: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> HeadConfig:
        lists = {key: tuple(value) for key, value in data.items() if isinstance(value, list)}
        return cls(**{**data, **lists})


class TemporalHead:
    """A detector over features, with all that must be known to use it."""

    def __init__(self, net: TemporalDetector, config: HeadConfig) -> None:
        self.net, self.config = net, config

    def detect(self, features: Features, span: Window | None = None) -> tuple[Event, ...]:
        """The events that reach their label's threshold, by time; cut to `span` if given.

        Raises ModelError for features that are not like those it was taught on.
        """
        least = dict(zip(self.config.labels, self.config.thresholds, strict=True))
        found = [e for e in self.candidates(features, span) if e.score >= least[e.label]]
        return tuple(sorted(found, key=lambda event: (event.start, event.end, event.label)))

    @torch.no_grad()
    def candidates(self, features: Features, span: Window | None = None) -> tuple[Event, ...]:
        """All that might be an event, best first: what average precision is measured on."""
        self._check(features)
        net = self.net.eval()
        device = net.mean.device
        values = torch.from_numpy(np.ascontiguousarray(features.values)).float()
        answers = net(values[None].to(device))
        scores = answers.logits[0].sigmoid().double().cpu().numpy()
        left, right = answers.distances[0].double().cpu().numpy()
        middle = points(values.shape[1], net.levels).position.numpy()
        edges = np.stack((middle - left, middle + right), 1)
        spans = features.seconds(edges)
        if span is not None:
            spans = spans.clip(span.start, span.end)
        found = []
        for label, row in zip(self.config.labels, scores, strict=True):
            good = (row >= _LEAST) & (spans[:, 0] < spans[:, 1])
            for place in np.flatnonzero(good)[distinct(spans[good], row[good], _SAME)]:
                start, end = spans[place].tolist()
                found.append(Event(label, start, end, float(row[place])))
        return tuple(sorted(found, key=lambda event: -event.score))

    def _check(self, features: Features) -> None:
        wanted, channels = self.config, len(features.values)
        what = ""
        if features.network != wanted.network:
            what = f"features of the network {wanted.network}, got some of {features.network}"
        elif channels != wanted.channels:
            what = f"features of {wanted.channels} channels, got {channels}"
        elif abs(features.stride / wanted.stride - 1) > _STRIDES:
            what = f"a feature every {wanted.stride:g} s, got one every {features.stride:g} s"
        if what:
            raise ModelError(
                f"the temporal head takes {what}",
                where=features.video,
                do=f"Make them as those it was taught on: {dict(wanted.made_by)}.",
            )

    def save(self, folder: str | os.PathLike[str]) -> None:
        """Write `model.safetensors` and `config.json`, each whole or not at all."""
        folder = make_folder(folder)
        state = {name: value.cpu().contiguous() for name, value in self.net.state_dict().items()}
        data = save(state)
        with whole_file(folder / STATE) as path:
            path.write_bytes(data)
        config = {
            "format": HEAD,
            "marey": version("marey"),
            "sha256": hashlib.sha256(data).hexdigest(),
            "head": asdict(self.config),
        }
        with whole_file(folder / CONFIG) as path:
            text = json.dumps(config, indent=1, ensure_ascii=False)
            path.write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> TemporalHead:
        """What `save` wrote; WeightsError for what is missing, damaged or of another kind."""
        folder = Path(folder)
        try:
            written = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
            data = (folder / STATE).read_bytes()
            if written["format"] != HEAD:
                raise ValueError(f"its format is {written['format']!r}, not {HEAD!r}")
            if written["sha256"] != hashlib.sha256(data).hexdigest():
                raise ValueError(f"{STATE} is not the file that {CONFIG} describes")
            config = HeadConfig.from_dict(written["head"])
            net = detector(config)
            net.load_state_dict(load(data))
        except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
            why = " ".join(str(error).split("\n\t")[:2])  # torch lists every tensor
            raise WeightsError(
                f"holds no temporal head ({type(error).__name__}: {why})",
                where=folder,
                do="Name a folder that `marey train --task detect` wrote, and copy all of it.",
            ) from error
        return cls(net.eval(), config)


def detector(config: HeadConfig, dropout: float = 0.0) -> TemporalDetector:
    """A fresh network as the configuration describes it."""
    return TemporalDetector(
        config.channels,
        len(config.labels),
        width=config.width,
        levels=config.levels,
        dropout=dropout,
    )
