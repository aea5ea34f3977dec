"""The model as graphs: what comes out of them, what they need, and what is said when something is missing."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from duplexforge.cli import app
from duplexforge.errors import ModelError, UsageError
from duplexforge.models.s2s import onnx_export, weights
from duplexforge.models.s2s import onnx_names as names
from duplexforge.models.s2s.features import WIDTH
from duplexforge.models.s2s.onnx_steps import OnnxSteps
from duplexforge.models.s2s.plain import PlainSteps
from duplexforge.models.s2s.plain_arrays import drawn
from duplexforge.models.s2s.sampling import GREEDY
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.talk import Manner, Steps, Talk, generate
from tests.unit.models.s2s_made import SMALL

WIDE = replace(SMALL, width=64, heads=4, encoder_inner=96, decoder_inner=80, entries=32)


def tables(folder: Path) -> Path:
    """A folder that has the tables of a model and no graphs."""
    folder.mkdir()
    model = drawn(SMALL)
    found = {name: model.arrays[name] for name in names.TABLE_NAMES}
    weights.write(folder / names.TABLES, replace(model, arrays=found))
    return folder


def drift(one: Steps, other: Steps, shape: Shape, seed: int = 0) -> float:
    """The most that logits and odds of the two differ over random calls; the slots of no mask must be zeros in both."""
    random, worst = np.random.default_rng(seed), 0.0
    for _ in range(100):
        mask, what = random.random(one.slots) < 0.7, random.choice(4, p=[0.4, 0.4, 0.15, 0.05])
        chunk = random.standard_normal((one.slots, shape.chunk, WIDTH)).astype(np.float32)
        text = random.integers(0, shape.vocabulary, one.slots)
        audio = random.integers(0, shape.entries + 1, (one.slots, shape.books))
        rows = random.integers(0, 2, one.slots)
        found: list[Any] = []
        for steps in (one, other):
            if what == 0:
                found.append((steps.hear(chunk, mask),))
            elif what == 1:
                found.append(steps.speak(text, audio, mask))
            elif what == 2:
                steps.begin(mask, steps.speakers[rows], steps.emotions[rows])
            else:
                steps.reset(mask)
        if found:
            worst = max(worst, *(float(np.abs(a - b).max()) for a, b in zip(*found, strict=True)))
    return worst


# -- without torch -----------------------------------------------------------------------------------------------------


def test_a_folder_without_graphs_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"no tables\.safetensors in .*: duplexforge train export-onnx writes"):
        OnnxSteps(tmp_path, 1)
    with pytest.raises(ModelError, match=r"no hear\.onnx"):
        OnnxSteps(tables(tmp_path / "half"), 1)
    with pytest.raises(UsageError, match="at least one slot"):
        OnnxSteps(tmp_path, 0)


def test_a_broken_graph_is_told_so(tmp_path: Path) -> None:
    folder = tables(tmp_path / "broken")
    for name in (names.HEAR, names.BEGIN, names.SPEAK):
        (folder / name).write_bytes(b"no graph")
    with pytest.raises(ModelError, match=r"hear\.onnx is no graph that onnxruntime can run"):
        OnnxSteps(folder, 1)


def test_what_is_missing_for_an_export_is_named_and_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_export, "find_spec", lambda name: None)
    with pytest.raises(ModelError, match="wants torch and onnx and onnxruntime: pip install") as told:
        onnx_export.export(drawn(SMALL), tmp_path / "out", int8=True)
    assert told.value.exit_code == 69
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_taken_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "kept").write_text("kept")
    with pytest.raises(UsageError, match="name a new folder"):
        onnx_export.export(drawn(SMALL), tmp_path)
    assert (tmp_path / "kept").read_text() == "kept"


def test_the_command_says_what_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no weights of a speech-to-speech model at"):
        CliRunner().invoke(
            app,
            ["train", "export-onnx", str(tmp_path / "none.safetensors"), "--out", str(tmp_path / "out")],
            catch_exceptions=False,
        )
    assert not list(tmp_path.iterdir())


# -- with torch --------------------------------------------------------------------------------------------------------


@pytest.mark.heavy
@pytest.mark.parametrize("changes", [{}, {"chunk": 1, "books": 3}, {"memory": 4, "left": 0, "kernel": 1}])
def test_graphs_say_what_the_model_says(tmp_path: Path, changes: dict[str, int]) -> None:
    shape = replace(SMALL, **changes)
    model = drawn(shape)
    found = onnx_export.export(model, tmp_path / "graphs")
    assert sorted(found.files) == sorted((names.BEGIN, names.HEAR, names.SPEAK, names.TABLES))
    assert [path.name for path in tmp_path.iterdir()] == ["graphs"]
    assert drift(PlainSteps(model, 3), OnnxSteps(found.folder, 3), shape) < 1e-4


@pytest.mark.heavy
def test_eight_bits_are_smaller_and_near(tmp_path: Path) -> None:
    model = drawn(WIDE)
    whole, small = (onnx_export.export(model, tmp_path / str(int8), int8=int8) for int8 in (False, True))
    # Matrices are a quarter; at this size there is as much round them.
    assert small.files[names.SPEAK] < 0.6 * whole.files[names.SPEAK]
    exact, near = OnnxSteps(whole.folder, 2), OnnxSteps(small.folder, 2)
    assert 1e-4 < drift(exact, near, WIDE) < 0.5
    turn = np.random.default_rng(0).standard_normal((8, WIDTH)).astype(np.float32)
    found, wanted = (generate(Talk(steps), [turn] * 2, [Manner(audio=GREEDY)] * 2)[0] for steps in (near, exact))
    shared = min(len(found.audio), len(wanted.audio))
    assert (found.audio[:shared, 0] == wanted.audio[:shared, 0]).mean() > 0.5


@pytest.mark.heavy
def test_layers_that_learned_nothing_can_be_written_in_eight_bits(tmp_path: Path) -> None:
    """They are equal, and whoever exports them keeps equal weights once."""
    model = drawn(WIDE)
    arrays = {name: 0 * array if ".style." in name else array for name, array in model.arrays.items()}
    folder = onnx_export.export(replace(model, arrays=arrays), tmp_path / "graphs", int8=True).folder
    assert drift(PlainSteps(replace(model, arrays=arrays), 1), OnnxSteps(folder, 1), WIDE) < 0.5


@pytest.mark.heavy
def test_slots_of_graphs_do_not_know_of_each_other(tmp_path: Path) -> None:
    model = drawn(SMALL)
    folder = onnx_export.export(model, tmp_path / "graphs").folder
    random = np.random.default_rng(1)
    turns = [random.standard_normal((count, WIDTH)).astype(np.float32) for count in (3, 10, 7)]
    manners = [Manner(speaker=number % 2, emotion=number, audio=GREEDY) for number in range(3)]
    together = generate(Talk(OnnxSteps(folder, 3)), turns, manners)
    for turn, manner, answer in zip(turns, manners, together, strict=True):
        alone = generate(Talk(OnnxSteps(folder, 1)), [turn], [manner])[0]
        assert alone.text == answer.text
        np.testing.assert_array_equal(alone.audio, answer.audio)


@pytest.mark.heavy
def test_the_command_writes_a_folder_that_runs(tmp_path: Path) -> None:
    weights.write(tmp_path / "s2s.safetensors", drawn(SMALL))
    arguments = ["train", "export-onnx", str(tmp_path / "s2s.safetensors"), "--out", str(tmp_path / "graphs"), "--int8"]
    result = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert result.exit_code == 0
    told = json.loads(result.stdout)
    assert told["int8"] is True
    assert told["files"][names.SPEAK] == (tmp_path / "graphs" / names.SPEAK).stat().st_size
    assert OnnxSteps(tmp_path / "graphs", 1).vocabulary.pieces == drawn(SMALL).vocabulary.pieces
