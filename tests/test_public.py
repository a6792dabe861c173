"""The public face: what is there, and what it costs to load."""

from __future__ import annotations

import pickle
import subprocess
import sys

import pytest

import marey
from marey.errors import MareyError, VideoError


def loaded_by(code: str) -> set[str]:
    """The modules that a fresh Python has loaded after `code`."""
    script = f"{code}\nimport sys; print('\\n'.join(sys.modules), file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stderr.split())


HELP = """
from typer.testing import CliRunner
from marey.cli import app
assert CliRunner().invoke(app, ["-h"]).exit_code == 0
"""


@pytest.mark.parametrize("code", ["import marey", HELP])
def test_import_and_help_load_nothing_heavy(code: str) -> None:
    assert not loaded_by(code) & {"torch", "timm", "av", "numpy", "PIL"}


def test_video_and_outputs_work_without_torch() -> None:
    code = "import marey.video.read, marey.video.clips, marey.video.write, marey.outputs.overlay"
    assert not loaded_by(code) & {"torch", "torchvision", "timm"}


@pytest.mark.parametrize("name", marey.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(marey, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'classifi'"):
        marey.classifi  # noqa: B018


def test_functions_survive_the_import_of_their_rooms() -> None:
    import marey.training.loop

    assert callable(marey.train)


def test_errors_say_what_where_and_what_to_do_and_survive_pickling() -> None:
    error = VideoError("cannot be read", where="a.mp4", do="Copy it again.")
    assert str(error) == "a.mp4: cannot be read. Copy it again."
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is VideoError
    assert isinstance(again, MareyError)
    assert (str(again), again.do) == (str(error), error.do)
