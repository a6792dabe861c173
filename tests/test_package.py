"""The wheel holds what the package needs, and nothing of the repository's own."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.slow
def test_the_wheel_installs_and_runs(tmp_path: Path) -> None:
    build = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(tmp_path),
        str(ROOT),
    ]
    subprocess.run(build, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("marey-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert not [name for name in names if not name.startswith(("marey/", "marey-"))]
    assert {"marey/py.typed", "marey/models/checkpoints/motions6/model.safetensors"} <= set(names)
    assert sum(info.file_size for info in zipfile.ZipFile(wheel).infolist()) < 20e6

    # Beside the installed dependencies, but not beside this checkout: `-P` and an own target
    # folder.
    target = tmp_path / "site"
    install = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "-q",
        "--no-deps",
        "--target",
        str(target),
        str(wheel),
    ]
    subprocess.run(install, check=True)
    code = f"import sys; sys.path.insert(0, {str(target)!r}); import marey; print(marey.__file__); "
    code += "print(marey.create_model('motions6').labels)"
    done = subprocess.run(
        [sys.executable, "-P", "-c", code], check=True, capture_output=True, text=True, cwd=tmp_path
    )
    assert str(target) in done.stdout
    assert "'sit', 'stand'" in done.stdout
