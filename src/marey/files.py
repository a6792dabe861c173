"""Files: written whole or not at all, in which folders, and whether they have changed."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from marey.errors import OutputError


@contextmanager
def whole_file(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A temporary path beside `path`, moved onto it when the block ends well, removed when it
    fails.

    The temporary name keeps the suffix, for writers that choose their format by it. `OSError` (disk
    full, no permission) becomes `OutputError`; whatever stood at `path` before stays untouched
    then.
    """
    path = Path(path)
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".marey-", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        yield temporary
        # mkstemp makes files private; a result gets the permissions any other new file would have.
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


@contextmanager
def whole_files(path: str | os.PathLike[str]) -> Iterator[Path]:
    """As `whole_file`, for several that belong together: a path of that name in another folder.

    All that the block writes beside it is moved when it ends well, `path`, which tells of the
    others, last; nothing is when it fails.
    """
    path = Path(path)
    folder: Path | None = None
    try:
        folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=".marey-"))
        yield folder / path.name
        for made in sorted(folder.iterdir(), key=lambda made: made.name == path.name):
            made.chmod(0o666 & ~_umask())
            made.replace(path.parent / made.name)
    except OSError as error:
        raise unwritable(path, error) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def make_folder(
    path: str | os.PathLike[str], do: str = "Check that its parent may be written to."
) -> Path:
    """`path`, made if need be with its parents; `OSError` becomes `OutputError`."""
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(
            f"cannot be made ({error.strerror or error})", where=path, do=do
        ) from error
    return path


def cache_folder() -> Path:
    """Where downloads and graphs are kept: `MAREY_CACHE`, or the platform's place for caches."""
    if folder := os.environ.get("MAREY_CACHE"):
        return Path(folder)
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or "~/AppData/Local"
    elif sys.platform == "darwin":
        base = "~/Library/Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "marey"


def sha256(path: Path) -> str:
    """The hash of a file's content, hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


class Stamp(NamedTuple):
    """A file as it was; another size or time of writing means that the content may have changed."""

    path: str
    size: int
    written: int  # nanoseconds

    @classmethod
    def of(cls, path: str | os.PathLike[str]) -> Stamp:
        """As it is now; one that is not there has the size -1."""
        path = Path(path).absolute()  # not resolved: a link may come to lead elsewhere
        try:
            found = path.stat()
        except OSError:
            return cls(str(path), -1, -1)
        return cls(str(path), found.st_size, found.st_mtime_ns)


def stamps(path: str | os.PathLike[str]) -> list[Stamp]:
    """Of a file, or of all files in a folder; none where there is neither."""
    path = Path(path)
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    return [Stamp.of(file) for file in files]


def unwritable(path: Path, error: OSError) -> OutputError:
    """The error for a result that the system did not let be written."""
    return OutputError(
        f"cannot be written ({error.strerror or error})",
        where=path,
        do="Check that its folder exists and may be written to, and that the disk has room.",
    )


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
