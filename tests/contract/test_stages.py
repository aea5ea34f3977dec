"""What every stage with every engine must do; a new engine is held to it by its line in the table."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from threadpoolctl import threadpool_limits

from Emilia.config import load_config
from Emilia.recording import Recording, Waveform
from Emilia.stage import STAGES, Stage, find_stage
from tests.unit.emilia import synth, tiny_ast, tiny_mdx, tiny_pyannote, tiny_whisper

SECTIONS = {name: "vad" if name == "segment" else name for name in STAGES}
ENGINES = [
    (stage, engine) for stage, where in STAGES.items() for engine in import_module(where.partition(":")[0]).ENGINES
]
# Engines that want torch.
HEAVY = {("events", "ast"), ("separate", "mdx"), ("diarize", "pyannote")}
PARAMS = [pytest.param(pair, id="-".join(pair), marks=[pytest.mark.heavy] if pair in HEAVY else []) for pair in ENGINES]
FIELDS = ("wave", "narrow", "events", "voiced", "turns", "voices", "segments", "files", "duration")
EMPTY: dict[str, Any] = {**dict.fromkeys(FIELDS), "duration": 0.0, "voices": {}}
KINDS = {
    "silent": lambda: np.zeros(32000, np.float32),
    "short": lambda: synth.dialogue([(synth.MAN, 0.6)], 0.2),
    "normal": lambda: synth.dialogue([(synth.MAN, 3.2), (synth.WOMAN, 3.2)], 0.4),
}
Prepared = Callable[[str, str], Recording]


@pytest.fixture(scope="module", autouse=True)
def _one_thread() -> Iterator[None]:
    """As the pipeline runs its stages."""
    with threadpool_limits(1):
        yield


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """Overrides that point every engine at weights it can load here."""
    folder = tmp_path_factory.mktemp("weights")
    return {
        "transcribe.whisper_model": str(tiny_whisper.write(folder / "whisper")),
        "mdx.model": str(tiny_mdx.identity(folder / "mdx.onnx")),
    }


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the diarizer ``pyannote``."""
    return tiny_pyannote.write(tmp_path_factory.mktemp("pyannote"))


def built(stage: str, overrides: dict[str, object]) -> Stage:
    made = find_stage(stage)(load_config(None, overrides=overrides))
    made.load("cpu")
    return made


@pytest.fixture(scope="module")
def before(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """Gives a recording of a kind as it is when a stage gets it from the stages before, run with quick engines."""
    quick: dict[str, object] = {"transcribe.engine": "none", "score.engine": "signal", "export.engine": "flac"}
    stages = [built(name, quick) for name in STAGES]
    states: dict[tuple[str, str], Recording] = {}
    for kind, samples in KINDS.items():
        folder = tmp_path_factory.mktemp(kind)
        sf.write(folder / "a.wav", samples(), synth.RATE, subtype="FLOAT")
        recording = Recording(folder / "a.wav", "ep", folder, folder, "en")
        for stage in stages:
            states[stage.name, kind] = copy.deepcopy(recording)
            stage.run(recording, lambda _share: None)
    return lambda stage, kind: copy.deepcopy(states[stage, kind])


@pytest.fixture(params=PARAMS, scope="module")
def stage(request: pytest.FixtureRequest, weights: dict[str, object]) -> Iterator[Stage]:
    name, engine = request.param
    if engine == "pyannote":  # only then: making it wants torch
        weights = {**weights, "pyannote.folder": str(request.getfixturevalue("networks"))}
    if engine == "ast":
        folder = tiny_ast.write(request.getfixturevalue("tmp_path_factory").mktemp("ast") / "tiny")
        weights = {**weights, "events.folder": str(folder), "events.window": 1.0}
    made = built(name, {**weights, f"{SECTIONS[name]}.engine": engine})
    yield made
    made.close()


def ran(stage: Stage, recording: Recording, folder: Path) -> Recording:
    """Run ``stage`` on ``recording`` stripped of everything that it does not declare to need."""
    for name in FIELDS:
        if name not in stage.needs and name not in stage.adds:
            setattr(recording, name, EMPTY[name])
    folder.mkdir()
    recording.out = recording.scratch = folder
    stage.run(recording, lambda _share: None)
    return recording


def content(value: object) -> object:
    """A field as something that can be compared: waveforms by their samples, files by their bytes."""
    if isinstance(value, Waveform):
        return value.rate, value.read(0, value.frames).tobytes()
    if isinstance(value, list) and value and isinstance(value[0], Path):
        return [(path.name, path.read_bytes()) for path in value]
    return value


def state(recording: Recording) -> dict[str, object]:
    fields = {name: content(getattr(recording, name)) for name in FIELDS}
    return {**fields, "facts": recording.facts, "outcome": recording.outcome}


@pytest.mark.parametrize("kind", list(KINDS))
def test_declared_needs_suffice_and_declared_adds_are_filled(
    stage: Stage, before: Prepared, kind: str, tmp_path: Path
) -> None:
    recording = before(stage.name, kind)
    kept = {name: content(getattr(recording, name)) for name in FIELDS if name in stage.needs}
    ran(stage, recording, tmp_path / "a")
    for name in stage.adds:
        assert getattr(recording, name) not in (None, 0.0), name
    for name in FIELDS:
        if name not in stage.adds:
            assert content(getattr(recording, name)) == kept.get(name, EMPTY[name]), name


def test_every_declared_need_is_needed(stage: Stage, before: Prepared) -> None:
    """A stage that declares what it does not read would be ordered too strictly."""
    if stage.engine == "none" and stage.name == "separate":
        return  # keeping the mix reads nothing; the need is the separators'
    for name in ("narrow", "wave", "segments"):
        if name in stage.needs and not (name == "narrow" and stage.engine == "none"):
            recording = before(stage.name, "normal")
            setattr(recording, name, None)
            with pytest.raises(RuntimeError, match="has not run"):
                stage.run(recording, lambda _share: None)


def test_same_in_same_out_whatever_came_between(stage: Stage, before: Prepared, tmp_path: Path) -> None:
    first = state(ran(stage, before(stage.name, "normal"), tmp_path / "a"))
    ran(stage, before(stage.name, "short"), tmp_path / "between")
    assert state(ran(stage, before(stage.name, "normal"), tmp_path / "b")) == first


def test_every_segment_is_kept_and_can_be_stored(stage: Stage, before: Prepared, tmp_path: Path) -> None:
    recording = before(stage.name, "normal")
    there = [(s.start, s.end, s.speaker, s.segment_id) for s in recording.segments or []]
    ran(stage, recording, tmp_path / "a")
    if "segments" in stage.needs:
        assert len(there) == 2
        assert [(s.start, s.end, s.speaker, s.segment_id) for s in recording.pieces()] == there
    rows = [segment.to_json() for segment in recording.segments or []]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert json.loads(json.dumps(recording.facts, allow_nan=False)) == recording.facts


def test_progress_rises_and_an_exception_passes_through(stage: Stage, before: Prepared, tmp_path: Path) -> None:
    told: list[float] = []
    recording = before(stage.name, "normal")
    recording.out = recording.scratch = tmp_path
    stage.run(recording, told.append)
    assert all(0.0 <= share <= 1.0 for share in told)
    assert told == sorted(told)
    if told:
        with pytest.raises(InterruptedError):
            stage.run(recording, _stop)


def _stop(_share: float) -> None:
    raise InterruptedError


def test_models_are_named_with_versions(stage: Stage) -> None:
    assert all(name and version for name, version in stage.models.items())
    assert stage.name in STAGES
    assert stage.engine
