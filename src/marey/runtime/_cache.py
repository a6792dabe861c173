"""Converted graphs on disk: found again by everything that they depend on, verified, never half."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

from marey.files import cache_folder, make_folder, sha256, whole_files
from marey.runtime._openvino import core, save

_LIBRARIES = ("marey", "torch", "timm", "torchvision", "openvino", "numpy")
_ROOMS = ("models", "nn", "runtime")
_ABOUT = "about.json"


class GraphCache:
    """The graphs of one network, in OpenVINO's format, each with how far it was from the network.

    The folder's name says what they belong to; they also belong to marey's `code`. A subclass may
    keep another format: `files`, `load` and `save`.
    """

    files: tuple[str, ...] = ("net.xml", "net.bin")

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, name: str) -> tuple[Any, float] | None:
        """The graph and its difference; None where there is none, an old or a damaged one."""
        folder = self.folder / name
        try:
            about = json.loads((folder / _ABOUT).read_text(encoding="utf-8"))
            if about["code"] != code():
                return None
            if about["files"] != {file: sha256(folder / file) for file in self.files}:
                return None
            return self.load(folder / self.files[0]), float(about["difference"])
        except (OSError, ValueError, KeyError, TypeError, RuntimeError):
            return None

    def write(self, name: str, model: Any, difference: float) -> None:
        """Keep a graph, whole or not at all; OutputError where the cache cannot be written."""
        make_folder(self.folder / name, do=WRITABLE)
        with whole_files(self.folder / name / _ABOUT) as about:
            self.save(model, about.with_name(self.files[0]))
            hashes = {file: sha256(about.with_name(file)) for file in self.files}
            said = {"code": code(), "difference": difference, "files": hashes}
            about.write_text(json.dumps(said), encoding="utf-8")

    def load(self, path: Path) -> Any:
        return core().read_model(path)

    def save(self, model: Any, path: Path) -> None:
        save(model, path)


WRITABLE = "Set MAREY_CACHE to a folder that may be written to."


def graph_name(kind: str, shape: tuple[int, ...], precision: str) -> str:
    """What a graph is called among those of its network; `kind` is what it takes: `frames`, …"""
    return "x".join(map(str, (kind, *shape))) + f"-{precision}"


def step_name(size: tuple[int, int], precision: str) -> str:
    """What the graph of a step is called: one frame of `size` of one stream."""
    return graph_name("step", (1, 1, *size, 3), precision)


def graphs_of_file(name: str, path: Path, *libraries: str) -> GraphCache:
    """Where the graphs are kept that are made here from the file at `path`, by `libraries` too."""
    about = [sha256(path), made_by(), {library: version(library) for library in libraries}]
    return GraphCache(cache_folder() / "graphs" / f"{name}-{hashed(about)}")


def made_by() -> list[object]:
    """What makes and runs graphs: the versions of the libraries, and the processor.

    Half of all processors in clouds have one name; what they can compute in tells them apart.
    """
    libraries = {name: version(name) for name in _LIBRARIES}
    names = ("FULL_DEVICE_NAME", "OPTIMIZATION_CAPABILITIES")
    return [libraries, [core().get_property("CPU", name) for name in names]]


def hashed(about: object) -> str:
    """A hash of what JSON can say; hex."""
    return hashlib.blake2b(json.dumps(about).encode(), digest_size=16).hexdigest()


@cache
def code() -> str:
    """A digest of marey's code that makes graphs: while it is worked on, its version stays."""
    root = Path(__file__).parents[1]
    digest = hashlib.blake2b(digest_size=16)
    for path in sorted(path for room in _ROOMS for path in (root / room).rglob("*.py")):
        digest.update(path.relative_to(root).as_posix().encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
