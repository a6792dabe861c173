"""Converted graphs on disk: found again by everything that they depend on, verified, never half."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

from marey.errors import OutputError
from marey.files import make_folder
from marey.models._fetch import cache_folder
from marey.models._net import Net
from marey.runtime._openvino import core

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
        import openvino

        make_folder(self._folder, do="Set MAREY_CACHE to a folder that may be written to.")
        try:
            made = Path(tempfile.mkdtemp(dir=self._folder, prefix=".marey-"))
        except OSError as error:
            raise _unwritable(self._folder, error) from error
        try:
            openvino.save_model(model, made / _FILES[0], compress_to_fp16=False)
            about = {
                "difference": difference,
                "files": {file: _hash(made / file) for file in _FILES},
            }
            (made / _ABOUT).write_text(json.dumps(about), encoding="utf-8")
            shutil.rmtree(self._folder / name, ignore_errors=True)  # a damaged one
            made.replace(self._folder / name)
        except (OSError, RuntimeError) as error:
            shutil.rmtree(made, ignore_errors=True)
            if not (self._folder / name).is_dir():  # nobody else has just written the same
                raise _unwritable(self._folder, error) from error


def _hash(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


def _unwritable(folder: Path, error: Exception) -> OutputError:
    return OutputError(
        f"the compiled network cannot be kept ({error})",
        where=folder,
        do="Set MAREY_CACHE to a folder with room that may be written to.",
    )
