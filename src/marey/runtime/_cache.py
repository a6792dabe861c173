"""Converted graphs on disk: found again by everything that they depend on, verified, never half."""

from __future__ import annotations

import hashlib
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from marey.files import make_folder, whole_files
from marey.models._fetch import cache_folder
from marey.models._net import Net
from marey.runtime._openvino import core, save

_FILES = ("net.xml", "net.bin")
_ABOUT = "about.json"


class GraphCache:
    """The graphs of one network, in OpenVINO's format, each with how far it was from the network.

    A graph belongs to the network's weights, options and input, to the versions of what made it,
    and to the processor, on which the difference depends.
    """

    def __init__(self, net: Net) -> None:
        digest = hashlib.blake2b(digest_size=16)
        made_by = {name: version(name) for name in ("marey", "torch", "openvino")}
        processor = core().get_property("CPU", "FULL_DEVICE_NAME")
        about = [net.architecture, net.options, net.input.to_dict(), made_by, processor]
        digest.update(json.dumps(about, sort_keys=True, default=str).encode())
        for name, value in net.state_dict().items():
            digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
            digest.update(value.contiguous().flatten().view(torch.uint8).numpy())
        self._folder = (
            cache_folder() / "graphs" / f"{net.architecture.replace('/', '-')}-{digest.hexdigest()}"
        )

    def read(self, name: str) -> tuple[Any, float] | None:
        """The graph and its difference; None where there is none, or a damaged one."""
        folder = self._folder / name
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            if about["files"] != {file: _hash(folder / file) for file in _FILES}:
                return None
            return core().read_model(folder / _FILES[0]), float(about["difference"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError):
            return None

    def write(self, name: str, model: Any, difference: float) -> None:
        """Keep a graph, whole or not at all; OutputError where the cache cannot be written."""
        make_folder(self._folder / name, do="Set MAREY_CACHE to a folder that may be written to.")
        with whole_files(self._folder / name / _ABOUT) as about:
            save(model, about.with_name(_FILES[0]))
            hashes = {file: _hash(about.with_name(file)) for file in _FILES}
            said = {"difference": difference, "files": hashes}
            about.write_text(json.dumps(said), encoding="utf-8")


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()
