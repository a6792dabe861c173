"""A network and a video small enough to be measured in a second."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from marey.benchmark.footage import make_footage
from marey.benchmark.model import fill_net
from marey.export import export
from marey.models._checkpoint import save_checkpoint
from marey.models._create import create_model


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A checkpoint whose clip is four frames in a row, of 32 x 32."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    net = create_model("r3d_hara_10", classes=5)
    net.input = replace(net.input, frames=4, every=1, size=(32, 32), resize=32)
    fill_net(net)
    save_checkpoint(net, folder)
    return os.fspath(folder)


@pytest.fixture(scope="session")
def tiny_file(tiny: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The same as a file, which starts without torch."""
    return os.fspath(export(tiny, tmp_path_factory.mktemp("files") / "tiny.xml").path)


@pytest.fixture(scope="session")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 frames, 25 a second: ten clips of four."""
    return make_footage(tmp_path_factory.mktemp("footage") / "made.mp4", 1.6, (64, 96))
