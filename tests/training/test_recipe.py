from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path

import pytest

from marey.errors import RecipeError
from marey.training.recipe import _RANGES, Recipe
from marey.training.temporal_recipe import TemporalRecipe
from marey.types import Input

BASE = Input(
    frames=16,
    size=(112, 112),
    resize=(128, 171),
    mean=(0.4,) * 3,
    std=(0.2,) * 3,
    every=2,
    fps=15.0,
)


def recipe_file(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text)
    return path


def test_read(tmp_path: Path) -> None:
    text = 'model = "r3d_18"\nepochs = 3\nlr = 1\ncrop = [0.3, 1]\nflip = false\n'
    text += '[options]\ntime = "tam"\n'
    recipe = Recipe.read(recipe_file(tmp_path, text))
    assert (recipe.model, recipe.epochs, recipe.flip) == ("r3d_18", 3, False)
    assert recipe.lr == 1.0
    assert isinstance(recipe.lr, float)
    assert recipe.crop == (0.3, 1.0)
    assert recipe.options == {"time": "tam"}
    assert recipe.batch == Recipe().batch
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_the_shipped_recipes_can_be_read_and_open_with_command_time_and_result() -> None:
    recipes = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
    assert recipes
    for path in recipes:
        if path.name == "detect.toml":
            assert TemporalRecipe.read(path) == TemporalRecipe(), "it names every default"
        else:
            Recipe.read(path)
        opening = path.read_text().split("\n\n")[0]
        assert all(line.startswith("#") for line in opening.splitlines())
        for pattern in (r"marey train .*", r"Time: .*\d", r"Result: .*\d"):
            assert re.search(pattern, opening), f"{path.name} does not open with {pattern!r}"


@pytest.mark.parametrize(
    ("key", "text", "message"),
    [
        ("epoch", "3", r"unknown key 'epoch'. Choose from epochs"),
        ("zzz", "3", r"unknown key 'zzz'. Choose from model, options"),
        ("lr", "fast", r"lr is 'fast'. Give a number"),
        ("lr", "nan", r"lr is nan. Stay between 0 and 100"),
        ("epochs", "1.5", r"epochs is 1.5. Give a whole number"),
        ("epochs", "true", r"epochs is True. Give a whole number"),
        ("epochs", "0", r"epochs is 0. Stay between 1 and"),
        ("flip", "1", r"flip is 1. Give true or false"),
        ("precision", "fp8", r"precision is 'fp8'. Give 'auto', 'no', 'bf16'"),
        ("sampling", "random", r"sampling is 'random'. Give 'dense', 'segments', 'linspace'"),
        ("crop", "[0.5]", r"crop is \[0.5\]. Give 2 numbers"),
        ("crop", "[1, 0.5]", r"Give the smaller part first"),
        ("model", "3", r"model is 3. Give a text"),
        ("options", "tam", r"options is 'tam'. Give a table"),
        ("folds", "1", r"fold 0 of 1 does not exist"),
        ("fold", "5", r"fold 5 of 5 does not exist"),
    ],
)
def test_settings_that_are_refused(key: str, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe().replace({key: text})


def test_replace() -> None:
    recipe = Recipe(options={"time": "tam"}, cache="frames", epochs=3)
    changed = recipe.replace(
        {
            "lr": "1e-3",
            "crop": "[0.2, 0.9]",
            "flip": "false",
            "model": "mc3_18",
            "options.init": "paper",
        }
    )
    assert (changed.lr, changed.crop, changed.flip, changed.model) == (
        1e-3,
        (0.2, 0.9),
        False,
        "mc3_18",
    )
    assert changed.options == {"time": "tam", "init": "paper"}
    assert changed.epochs == 3
    assert recipe.replace({"cache": "", "epochs": ""}).to_dict() == (
        Recipe(options={"time": "tam"}).to_dict()
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [("epochs = ", "cannot be read"), ("epoch = 3", "recipe.toml: unknown key 'epoch'")],
)
def test_bad_files_are_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.read(recipe_file(tmp_path, text))


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="no such recipe"):
        Recipe.read(tmp_path / "none.toml")


def test_input_is_the_networks_own_unless_the_recipe_says_otherwise() -> None:
    assert Recipe().input(BASE) == BASE
    mine = Recipe(frames=8, sampling="segments", seconds=2.5, size=112, gamma=0.4).input(BASE)
    assert (mine.frames, mine.sampling, mine.seconds) == (8, "segments", 2.5)
    assert (mine.size, mine.resize, mine.gamma) == ((112, 112), 128, 0.4)
    assert mine.mean == BASE.mean
    assert Recipe(sampling="dense", every=4).input(mine).seconds is None
    with pytest.raises(RecipeError, match="'segments' needs seconds"):
        Recipe(sampling="segments").input(BASE)


def test_every_key_is_documented_and_every_number_has_a_range() -> None:
    page = (Path(__file__).parents[2] / "docs" / "training.md").read_text()
    missing = [key.name for key in fields(Recipe) if f"`{key.name}`" not in page]
    assert not missing, f"docs/training.md does not explain {missing}"
    numbers = {key.name for key in fields(Recipe) if "int" in key.type or "float" in key.type}
    assert numbers == set(_RANGES)
