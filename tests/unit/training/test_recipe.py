"""Recipes: what is refused, and how clearly."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.errors import ConfigError
from duplexforge.training import recipe as recipes
from duplexforge.training.recipe import Recipe, Table, load, section
from duplexforge.training.trainers import TRAINERS, Place, open_trainer
from tests.unit.training import made

ROOT = Path(__file__).parents[3]


def written(folder: Path, text: str) -> Path:
    path = folder / "recipe.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_recipe_is_a_whole_run(tmp_path: Path) -> None:
    recipe = load(written(tmp_path, made.recipe_text(tmp_path / "speech", tmp_path / "out")))
    assert (recipe.trainer, recipe.seed, recipe.loop.batch_size, recipe.data.seconds) == ("codec", 3, 4, 0.25)
    assert recipe.optimizer.learning_rate == 1e-4


def test_changes_win_and_none_changes_nothing(tmp_path: Path) -> None:
    path = written(tmp_path, made.recipe_text(tmp_path / "speech", tmp_path / "out"))
    recipe = load(path, {"loop.epochs": 7, "optimizer.learning_rate": None, "losses.discriminators": True})
    assert (recipe.loop.epochs, recipe.optimizer.learning_rate) == (7, 1e-4)
    assert recipe.losses == {"discriminators": True}


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("bath_size = 3", "nothing is called loop.bath_size"),
        ("batch_size = 0", "loop.batch_size"),
        ('precision = "fp8"', "loop.precision"),
        ("epochs = true\nkeep = 0", "loop.keep"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, text: str, named: str) -> None:
    body = f'trainer = "codec"\noutput = "o"\n[data]\nfolder = "f"\n[loop]\n{text}\n'
    with pytest.raises(ConfigError, match=named):
        load(written(tmp_path, body))


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, 'trainer = "codec"\nsped = 1\n[loop]\nepochs = 0\n'))
    assert all(name in str(caught.value) for name in ("output", "data", "sped", "loop.epochs"))


def test_no_file_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read the recipe"):
        load(tmp_path / "none.toml")
    with pytest.raises(ConfigError, match="is no TOML"):
        load(written(tmp_path, "trainer = "))
    with pytest.raises(ConfigError, match="loop must be a table"):
        load(written(tmp_path, "loop = 3"), {"loop.epochs": 1})


def test_a_trainer_that_nobody_knows(tmp_path: Path) -> None:
    body = 'trainer = "codek"\noutput = "o"\n[data]\nfolder = "f"\n'
    with pytest.raises(ConfigError, match="there is no trainer codek; there are codec"):
        open_trainer(load(written(tmp_path, body)), Place())
    assert "codec" in TRAINERS


@given(name=st.from_regex(r"[a-z]{3,12}", fullmatch=True))
def test_no_unknown_key_ever_passes(name: str) -> None:
    class Only(Table):
        known: int = 1

    if name == "known":
        return
    with pytest.raises(ConfigError, match=f"nothing is called {name}"):
        section(Only, {name: 1}, "x")


@pytest.mark.parametrize("path", sorted((ROOT / "examples" / "recipes").glob("*.toml")), ids=lambda path: path.name)
def test_every_shipped_recipe_is_read(path: Path) -> None:
    recipe = load(path)
    assert recipe.trainer in TRAINERS
    assert not recipe.output.is_absolute()
    assert not recipe.data.folder.is_absolute()


def test_defaults_are_the_guides() -> None:
    recipe = Recipe(trainer="codec", output=Path("o"), data=recipes.Data(folder=Path("d")))
    assert (recipe.loop.batch_size, recipe.loop.epochs, recipe.optimizer.learning_rate) == (16, 100, 1e-4)
