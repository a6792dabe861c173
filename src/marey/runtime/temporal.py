"""A trained temporal head, and beside it the network whose features it was taught on."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from marey.errors import ModelError
from marey.runtime import Runtime, compile
from marey.types import HEAD, Event, ModelCard, VideoFeatures, Window

NETWORK = "network"
"""The folder in a head's own that holds its network, where no registered name means that."""


def is_head(model: object) -> bool:
    """Whether `model` is a folder that holds a temporal head; seen without torch."""
    if not isinstance(model, str | os.PathLike):
        return False
    try:
        said = json.loads(Path(model, "config.json").read_text(encoding="utf-8"))
        return bool(said["format"] == HEAD)
    except (OSError, ValueError, KeyError, TypeError):
        return False


class TemporalRuntime:
    """Gives the events in the features of its own `network`, which is made ready by `compile`.

    The features are those of windows of `window` seconds (None: the network's clip), `stride`
    seconds apart. Raises WeightsError for a folder that holds no head, and ModelError where the
    network that it names is no longer the one it was taught on.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        *,
        runtime: str = "auto",
        precision: str = "auto",
        threads: int | None = None,
    ) -> None:
        from marey.models._temporal_head import TemporalHead

        self.folder = Path(folder)
        self.head = TemporalHead.load(folder)
        config = self.head.config
        self.labels, self.stride = config.labels, config.stride
        self.window: float | None = config.made_by.get("window")
        self.network: Runtime = compile(
            self._named(config.made_by),
            runtime=runtime,
            precision=precision,
            threads=threads,
            features=True,
        )
        card = self.network.card()
        if card.network != config.network:
            raise ModelError(
                f"was taught on features of the network {config.network}; {card.name} is "
                f"{card.network} here, with other weights, options or input",
                where=folder,
                do="Train it anew on this network, or bring back the one that it was taught on.",
            )

    def _named(self, made_by: Mapping[str, object]) -> str | Path:
        """The name of its network, or where that lies."""
        named = made_by.get("model")
        if not isinstance(named, str):
            raise ModelError(
                "does not say which network its features are of",
                where=self.folder,
                do="Train it by `marey train --task detect`, which writes that down.",
            )
        if named != NETWORK:
            return named
        if not (self.folder / NETWORK).is_dir():
            raise ModelError(
                f"its network is missing: the folder {NETWORK!r} in it",
                where=self.folder,
                do="Copy the head's whole folder again.",
            )
        return self.folder / NETWORK

    @property
    def thresholds(self) -> Mapping[str, float]:
        """The score of each label from which on an event counts as found."""
        return dict(zip(self.labels, self.head.config.thresholds, strict=True))

    @property
    def warnings(self) -> tuple[str, ...]:
        return self.network.warnings

    def card(self) -> ModelCard:
        card = self.network.card()
        return ModelCard(
            name=str(self.folder),
            licence=card.licence,
            classes=len(self.labels),
            runtime=card.runtime,
            precision=card.precision,
            input=card.input,
            multilabel=True,
            difference=card.difference,
            network=card.network,
        )

    def candidates(self, found: VideoFeatures, span: Window) -> tuple[Event, ...]:
        """All that might be an event in these features, best first, cut to `span`."""
        from marey.models._temporal_head import Features

        return self.head.candidates(Features.of(found), span)
