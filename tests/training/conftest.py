from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import toy as toys

import marey.models._registry as registry
from marey.data.manifest import Manifest
from marey.training.loop import Run, train


@pytest.fixture(scope="session")
def toy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two classes of small videos."""
    return toys.make_toy(tmp_path_factory.mktemp("toy") / "clips")


@pytest.fixture(scope="session")
def learnt(toy: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has learnt the toy, on all of it and from cached frames."""
    toys.register()
    folder = tmp_path_factory.mktemp("learnt")
    changes = {"epochs": 20, "batch": 2, "folds": 0, "label_smoothing": 0}
    recipe = toys.RECIPE.replace({**changes, "cache": str(folder / "cache")})
    return train(toys.create(), Manifest.read(toy), recipe, out=folder / "run")


@pytest.fixture(autouse=True)
def tiny_model() -> Iterator[None]:
    """The model `tiny` is known while these tests run."""
    toys.register()
    yield
    registry._ENTRIES.pop("tiny", None)
