"""The libraries that load OpenCV, which only following things needs: there, or why they are not."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from types import ModuleType

from marey.errors import MissingExtraError

_SYSTEM = ("libGL", "libgthread", "libglib")


def loaded(library: str) -> ModuleType:
    """`trackers` or `supervision`; MissingExtraError, with the cure, where that fails."""
    if find_spec(library) is None:
        raise MissingExtraError(
            f"following things needs {library}", do="Run: pip install 'marey[track]'"
        )
    try:
        return import_module(library)
    except ImportError as error:
        if not any(name in str(error) for name in _SYSTEM):
            raise
        raise MissingExtraError(
            f"OpenCV cannot be loaded ({error})",
            do="Run: apt-get install libgl1 libglib2.0-0; or: pip uninstall opencv-python && "
            "pip install opencv-python-headless",
        ) from error
