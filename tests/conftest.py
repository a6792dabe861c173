"""Where tests find video: real footage through MAREY_MEDIA, generated files otherwise."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from commands import Done, Marey
from hypothesis import settings

from marey.cli import main

# No test asserts a time: what is slow on a busy machine is not wrong.
settings.register_profile("marey", deadline=None)
settings.load_profile("marey")


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compiled networks and downloads of the tests are kept apart from the person's own."""
    os.environ["MAREY_CACHE"] = str(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real footage (`clips/`, `motions6/`); the test is skipped without it."""
    folder = os.environ.get("MAREY_MEDIA")
    if not folder:
        pytest.skip("MAREY_MEDIA is unset: no real footage on this machine")
    return Path(folder)


@pytest.fixture
def marey(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> Marey:
    """Runs a command in this process, which has torch loaded already; nothing can be downloaded."""
    monkeypatch.setenv("MAREY_MIRROR", (tmp_path / "mirror").as_uri())

    def run(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["marey", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as done:
            main()
        return Done(int(done.value.code or 0), *capfd.readouterr())

    return run
