"""Generated videos, each made once a session."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from marey.testing.videos import make_video

Make = Callable[..., Path]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """`make(name, **options)`: the path of a video with these options, from `make_video`."""
    made: dict[str, Path] = {}

    def maker(name: str, **options: Any) -> Path:
        key = f"{name} {sorted(options.items(), key=str)}"
        if key not in made:
            folder = tmp_path_factory.mktemp("videos")
            made[key] = make_video(folder / name, **options)
        return made[key]

    return maker
