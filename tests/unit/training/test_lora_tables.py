"""The tables of ``lora`` recipes, the recipes that come with the project, and the command's options; all without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from duplexforge.config import child_environment
from duplexforge.errors import ConfigError
from duplexforge.training import recipe as recipes
from duplexforge.training.lora_tables import tables

EXAMPLES = Path(__file__).parents[3] / "examples" / "recipes"


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("lora-*.toml")), ids=lambda path: path.stem)
def test_the_recipes_that_come_along_can_be_read(path: Path) -> None:
    recipe = recipes.load(path)
    shape, losses = tables(recipe)
    assert recipe.trainer == "lora"
    assert shape.evaluate[0] == "validation"
    assert losses.silence_weight <= 1


def test_a_misspelt_key_is_named(tmp_path: Path) -> None:
    text = 'trainer = "lora"\noutput = "out"\n[data]\nfolder = "set"\n'
    for more, words in (
        ("[model]\nrnak = 4\n", r"\[model\]: nothing is called rnak"),
        ("[losses]\nsilence = 1.0\n", r"\[losses\]: nothing is called silence"),
        ("[losses]\nsilence_weight = -1.0\n", "silence_weight"),
        ('[model]\ntargets = ["up_proj"]\n', "targets"),
    ):
        path = tmp_path / "r.toml"
        path.write_text(text + more)
        with pytest.raises(ConfigError, match=words):
            tables(recipes.load(path))


def test_the_command_reads_options_over_the_recipe_and_refuses_another_trainers(tmp_path: Path) -> None:
    recipe = tmp_path / "r.toml"
    recipe.write_text('trainer = "codec"\noutput = "out"\n[data]\nfolder = "set"\n')
    done = _run("train", "lora", "--recipe", str(recipe))
    assert done.returncode == 2
    assert "is a recipe of the trainer codec, not of lora" in done.stderr
    done = _run("train", "merge", "--help")
    assert "--base-model" in done.stdout


@pytest.mark.heavy
def test_merge_as_a_person_types_it(tmp_path: Path) -> None:
    from tests.duplex.thinker import tiny_thinker
    from tests.unit.training.test_lora_merge import make_adapter

    adapter = make_adapter(tiny_thinker(tmp_path / "model"), tmp_path)
    done = _run("train", "merge", str(adapter), "--out", str(tmp_path / "merged"), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["changed"] == 10


def _run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "duplexforge", *arguments]
    environment = child_environment(STORE_URL="", COLUMNS="200")
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
