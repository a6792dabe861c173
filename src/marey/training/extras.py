"""Training needs libraries that labelling videos does not."""

from __future__ import annotations

from importlib.util import find_spec

from marey.errors import MissingExtraError

_LIBRARIES = ("accelerate", "torchmetrics", "tensorboard", "matplotlib")


def require_train_extra() -> None:
    """Raise MissingExtraError with the line that installs what is missing."""
    missing = [library for library in _LIBRARIES if find_spec(library) is None]
    if missing:
        raise MissingExtraError(
            f"training and evaluation need {', '.join(missing)}",
            do="Run: pip install 'marey[train]'",
        )
