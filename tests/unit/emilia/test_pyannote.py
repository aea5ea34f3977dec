"""The diarizer ``pyannote`` through the real pipeline, with networks whose answers are known and with random ones."""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from Emilia.config import load_config
from Emilia.errors import DeviceLost
from Emilia.models.pyannote import PyannoteDiarizer
from Emilia.recording import Recording, Turn, Waveform
from Emilia.stages.diarize import Diarize, named
from tests.unit.emilia import synth, tiny_pyannote
from tests.unit.emilia.conftest import hush
from tests.unit.emilia.tiny_pyannote import Said

pytestmark = pytest.mark.heavy

Wave = Callable[..., Waveform]
COMMUNITY = {"pyannote.variant": "community-1", "pyannote.threshold": 0.6}
# Constants as published with the pipeline, stated again.
PUBLISHED = {
    "segmentation": {"min_duration_off": 0.0},
    "clustering": {"method": "centroid", "min_cluster_size": 12, "threshold": 0.7045654963945799},
}


@pytest.fixture(scope="module")
def bands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pyannote.write_bands(tmp_path_factory.mktemp("bands"))


@pytest.fixture(scope="module")
def random(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_pyannote.write(tmp_path_factory.mktemp("random"))


@pytest.fixture(autouse=True)
def _offline(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing here may open a connection, whoever asks for it."""

    def refuse(*_arguments: object) -> NoReturn:
        raise AssertionError("a connection was asked for")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.fixture
def diarizer(bands: Path) -> Iterator[Callable[..., PyannoteDiarizer]]:
    """Makes a loaded diarizer of blocks of a minute, closed at the end."""
    made: list[PyannoteDiarizer] = []

    def make(folder: Path = bands, **sections: object) -> PyannoteDiarizer:
        overrides = {"pyannote.folder": str(folder), "pyannote.block": 60.0, **sections}
        made.append(PyannoteDiarizer(load_config(None, overrides=overrides)))
        made[-1].load("cpu")
        return made[-1]

    yield make
    for one in made:
        one.close()


def of(waveform: Waveform) -> Recording:
    return Recording(waveform.path, "ep", waveform.path.parent, waveform.path.parent, narrow=waveform)


def error_rate(said: list[Said], turns: list[Turn], seconds: float) -> float:
    from pyannote.core import Annotation
    from pyannote.core import Segment as Stretch
    from pyannote.metrics.diarization import DiarizationErrorRate

    truth, found = Annotation(), Annotation()
    for number, one in enumerate(said):
        truth[Stretch(one.start, one.end), number] = one.speaker
    for number, turn in enumerate(turns):
        found[Stretch(turn.start, turn.end), number] = turn.speaker
    return float(DiarizationErrorRate(collar=0.0)(truth, found, uem=Stretch(0, seconds)))


@pytest.mark.parametrize(("variant", "seconds"), [({}, 1290.0), (COMMUNITY, 330.0)], ids=["3.1", "community-1"])
def test_two_speakers_are_told_apart_over_many_blocks(
    diarizer: Callable[..., PyannoteDiarizer],
    wave: Wave,
    capsys: pytest.CaptureFixture[str],
    variant: dict[str, object],
    seconds: float,
) -> None:
    said = tiny_pyannote.script(seconds, seed=1)
    recording = of(wave(tiny_pyannote.talk(said, seconds, seed=1)))
    turns = diarizer(**variant).turns(recording, hush)
    assert len({turn.speaker for turn in turns}) == 2
    assert error_rate(said, turns, seconds) < 0.01
    spoken_together = tiny_pyannote.overlap_share(said)
    assert spoken_together > 0.02
    assert tiny_pyannote.overlap_share(turns) == pytest.approx(spoken_together, abs=0.003)
    assert set(recording.voices) == {turn.speaker for turn in turns}
    assert capsys.readouterr().out == ""


def test_voices_are_of_those_who_spoke(diarizer: Callable[..., PyannoteDiarizer], wave: Wave) -> None:
    said = tiny_pyannote.script(150.0, seed=2)
    recording = of(wave(tiny_pyannote.talk(said, 150.0, seed=2)))
    stage = Diarize(load_config(None))
    stage._diarizer = diarizer()
    stage.run(recording, hush)
    first, second = (np.array(recording.voices[name]) for name in ("S00", "S01"))
    # The first four of the eight bands are below 1 kHz; who begins is S00.
    low, high = (first, second) if said[0].speaker == "low" else (second, first)
    assert np.linalg.norm(low[:4]) > 20 * np.linalg.norm(low[5:])
    assert np.linalg.norm(high[5:]) > 20 * np.linalg.norm(high[:4])
    assert recording.voices["S00"] == [round(x, 6) for x in recording.voices["S00"]]
    assert recording.facts["overlap"] == "marked"
    assert recording.facts["speakers"] == 2


def test_a_block_is_the_same_alone_and_inside_a_longer_recording(
    diarizer: Callable[..., PyannoteDiarizer], wave: Wave
) -> None:
    said = tiny_pyannote.script(200.0, seed=3)
    samples = tiny_pyannote.talk(said, 200.0, seed=3)
    whole = named(diarizer().turns(of(wave(samples)), hush))
    for start in (0, 60, 120):
        end = min(start + 60, 200) if start < 120 else 200
        alone = diarizer().turns(of(wave(samples[start * 16000 : end * 16000])), hush)
        inside = [t for t in whole if t.start < end - 0.1 and t.end > start + 0.1]
        assert len(alone) == len(inside) > 4
        names = set()
        for one, other in zip(sorted(alone), inside, strict=True):
            names.add((one.speaker, other.speaker))
            # A turn that goes on over a border is longer inside.
            if other.start >= start:
                assert one.start + start == pytest.approx(other.start, abs=1e-6)
            if other.end <= end:
                assert one.end + start == pytest.approx(other.end, abs=1e-6)
        assert len(names) == len({speaker for speaker, _ in names}) == 2


def test_a_turn_over_a_border_is_one(diarizer: Callable[..., PyannoteDiarizer], wave: Wave) -> None:
    said = [Said(5.0, 30.0, "low"), Said(32.0, 140.0, "high"), Said(142.0, 170.0, "low")]
    turns = named(diarizer().turns(of(wave(tiny_pyannote.talk(said, 180.0, seed=4))), hush))
    assert [turn.speaker for turn in turns] == ["S00", "S01", "S00"]
    for turn, one in zip(turns, said, strict=True):
        assert turn.start == pytest.approx(one.start, abs=0.03)
        assert turn.end == pytest.approx(one.end, abs=0.03)


@pytest.mark.parametrize("kind", ["bands", "random"])
def test_compat_is_the_published_pipeline_on_the_whole_file(
    diarizer: Callable[..., PyannoteDiarizer], wave: Wave, request: pytest.FixtureRequest, kind: str
) -> None:
    import torch
    from pyannote.audio.core.model import Model
    from pyannote.audio.pipelines import SpeakerDiarization

    folder: Path = request.getfixturevalue(kind)
    seconds = 130.0 if kind == "bands" else 25.0
    samples = tiny_pyannote.talk(tiny_pyannote.script(seconds, seed=5), seconds, seed=5)
    recording = of(wave(samples))
    ours = diarizer(folder, **{"pipeline.compat": True, "pyannote.block": 20.0}).turns(recording, hush)
    published = SpeakerDiarization(
        segmentation=Model.from_pretrained(folder / "segmentation" / "pytorch_model.bin"),
        embedding=Model.from_pretrained(folder / "embedding" / "pytorch_model.bin"),
        embedding_exclude_overlap=True,
        plda=str(folder / "plda"),
        clustering="AgglomerativeClustering",
        segmentation_batch_size=32,
        embedding_batch_size=32,
    ).instantiate(PUBLISHED)
    answer = published({"waveform": torch.from_numpy(samples)[None], "sample_rate": 16000})
    theirs = [(t.start, t.end, label) for t, _, label in answer.speaker_diarization.itertracks(yield_label=True)]
    assert len(ours) == len(theirs) > 5
    labels = answer.speaker_diarization.labels()
    names: dict[str, str] = {}
    for turn, (start, end, label) in zip(sorted(ours), sorted(theirs), strict=True):
        assert names.setdefault(label, turn.speaker) == turn.speaker
        assert turn.start == pytest.approx(start, abs=5.1e-4)
        assert turn.end == pytest.approx(min(end, seconds), abs=5.1e-4)
    for label, embedding in zip(labels, answer.speaker_embeddings, strict=True):
        # pyannote gives zeros for a speaker who is only ever heard together with another.
        assert recording.voices.get(names[label], np.zeros_like(embedding)) == pytest.approx(embedding, abs=1e-5)


def test_nobody_speaks(diarizer: Callable[..., PyannoteDiarizer], wave: Wave) -> None:
    recording = of(wave(synth.silence(70.0)))
    assert diarizer().turns(recording, hush) == []
    assert recording.voices == {}


@pytest.mark.parametrize("variant", [{}, COMMUNITY], ids=["3.1", "community-1"])
def test_random_networks_of_the_real_kinds_load_and_run(
    diarizer: Callable[..., PyannoteDiarizer], wave: Wave, random: Path, variant: dict[str, object]
) -> None:
    made = diarizer(random, **variant)
    parts = ["segmentation", "embedding"] + (["plda"] if variant else [])
    assert set(made.models) == {"pyannote", *(f"pyannote-{part}" for part in parts)}
    assert all(made.models[f"pyannote-{part}"].startswith("sha256:") for part in parts)
    waveform = wave(synth.dialogue([(synth.MAN, 6.0), (synth.WOMAN, 6.0)]))
    first, second = of(waveform), of(waveform)
    turns = made.turns(first, hush)
    assert turns
    assert all(0.0 <= turn.start < turn.end <= waveform.seconds for turn in turns)
    made.turns(of(wave(synth.speech(3.0))), hush)
    assert made.turns(second, hush) == turns
    assert second.voices == first.voices
    assert all(len(voice) == 32 for voice in first.voices.values())


def test_audio_shorter_than_the_networks_window(diarizer: Callable[..., PyannoteDiarizer], wave: Wave) -> None:
    said = [Said(0.2, 1.7, "low")]
    turns = diarizer().turns(of(wave(tiny_pyannote.talk(said, 2.0, seed=6))), hush)
    assert [turn.start for turn in turns] == pytest.approx([0.2], abs=0.03)
    assert diarizer().turns(of(wave(tiny_pyannote.talk([], 0.1, seed=6))), hush) == []


def test_nothing_is_reported_to_anybody(
    diarizer: Callable[..., PyannoteDiarizer], wave: Wave, monkeypatch: pytest.MonkeyPatch
) -> None:
    from pyannote.audio.telemetry import metrics

    told: list[object] = []
    monkeypatch.setenv("PYANNOTE_METRICS_ENABLED", "true")
    monkeypatch.setattr(metrics, "tracer", type("Tracer", (), {"start_as_current_span": told.append})())
    diarizer().turns(of(wave(synth.silence(12.0))), hush)
    assert not metrics.is_metrics_enabled()
    assert told == []


def test_progress_rises_to_the_end_and_may_stop_the_run(diarizer: Callable[..., PyannoteDiarizer], wave: Wave) -> None:
    recording = of(wave(tiny_pyannote.talk(tiny_pyannote.script(150.0, seed=7), 150.0, seed=7)))
    told: list[float] = []
    diarizer().turns(recording, told.append)
    assert told == sorted(told)
    assert told[0] == 0.0
    assert told[-1] == pytest.approx(1.0)
    assert all(type(share) is float for share in told)

    def stop(_share: float) -> NoReturn:
        raise InterruptedError

    with pytest.raises(InterruptedError):
        diarizer().turns(recording, stop)


class Failing:
    """The pipeline behind something that fails as a card does, as often as ``errors`` says."""

    def __init__(self, pipeline: Any, *errors: Exception) -> None:
        self._pipeline, self._errors = pipeline, list(errors)
        self.segmentation_batch_size, self.embedding_batch_size = 32, 5
        self.batches: list[tuple[int, int]] = []

    def __call__(self, file: object, hook: object) -> object:
        self.batches.append((self.segmentation_batch_size, self.embedding_batch_size))
        if self._errors:
            raise self._errors.pop(0)
        return self._pipeline(file, hook=hook)


SHORT = [
    RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    MemoryError("batch_size ( 32) is probably too large. Try with a smaller value until memory error disappears."),
]


@pytest.mark.parametrize("error", SHORT, ids=["embedding", "segmentation"])
def test_short_memory_halves_the_batches_once(
    diarizer: Callable[..., PyannoteDiarizer], wave: Wave, error: Exception
) -> None:
    said = [Said(1.0, 8.0, "low"), Said(9.0, 15.0, "high")]
    recording = of(wave(tiny_pyannote.talk(said, 20.0, seed=8)))
    made = diarizer()
    expected = made.turns(recording, hush)
    failing = made._pipeline = Failing(made._pipeline, error)
    assert made.turns(recording, hush) == expected
    assert failing.batches == [(32, 5), (16, 2)]
    made._pipeline = Failing(failing._pipeline, error, error)
    with pytest.raises(type(error)):
        made.turns(recording, hush)


def test_other_errors_of_the_card(diarizer: Callable[..., PyannoteDiarizer], wave: Wave) -> None:
    recording = of(wave(synth.silence(12.0)))
    made = diarizer()
    made._pipeline = Failing(None, RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(DeviceLost):
        made.turns(recording, hush)
    made._pipeline = Failing(None, RuntimeError("shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="multiplied"):
        made.turns(recording, hush)
    assert len(made._pipeline.batches) == 1
