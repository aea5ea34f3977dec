"""Events: where windows lie, what is one event, and what is said when nobody listens."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from Emilia import files
from Emilia.checkpoints import capture, restore
from Emilia.config import load_config
from Emilia.errors import BadConfig
from Emilia.pipeline import Pipeline
from Emilia.recording import Event, Recording, Waveform
from Emilia.stages.events import Cell, Events, Heard, Scores, best, cells, merged
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import hush

Make = Callable[..., Waveform]
LABELS = ("Speech", "Laughter", "Giggle", "Applause")
WORDS = {"laughter": ("Laughter", "Giggle", "Belly laugh"), "applause": ("Applause",), "music": ("Music",)}
QUICK = {"score.engine": "signal", "transcribe.engine": "none", "diarize.chunk": 2.0}


class Loudness:
    """A listener that takes loud windows for laughter and quiet ones for applause."""

    adds: tuple[str, ...] = ("events",)
    labels: Sequence[str] = LABELS
    events = WORDS

    def __init__(self, batch: int = 3) -> None:
        self.models = {"loudness": "1"}
        self.batch = batch

    def load(self, device: str) -> None:
        self.device = device

    def scores(self, wave: Waveform, cells: Sequence[Cell]) -> Iterator[Scores]:
        for at in range(0, len(cells), self.batch):
            rows = []
            for cell in cells[at : at + self.batch]:
                level = float(np.abs(wave.read(cell.low, cell.high)).mean()) * 20
                rows.append([0.1, min(level, 1.0), 0.2, 1.0 - min(level, 1.0)])
            yield np.array(rows, np.float32)

    def close(self) -> None:
        self.device = ""


def listening(**options: object) -> Events:
    stage = Events(load_config(None, overrides={f"events.{name}": value for name, value in options.items()}))
    stage._listener = Loudness()
    stage.adds = stage._listener.adds
    return stage


def of(wave: Waveform) -> Recording:
    return Recording(wave.path, "ep", wave.path.parent, wave.path.parent, narrow=wave)


# -- nobody listens ----------------------------------------------------------------------------------------------------


def test_nobody_listened_is_not_silence(wave: Make, tmp_path: Path) -> None:
    stage, recording = Events(load_config(None)), of(wave(synth.speech(1.0)))
    stage.load("cpu")
    stage.run(recording, hush)
    stage.close()
    assert recording.events is None
    assert recording.facts == {"events": "none"}
    assert stage.models == {}
    files.write(tmp_path, [], {}, recording.events)
    assert not (tmp_path / files.EVENTS).exists()
    files.write(tmp_path, [], {}, [])
    assert json.loads((tmp_path / files.EVENTS).read_text()) == []


def test_presets_without_events_keep_the_hash_of_the_time_before_them() -> None:
    hashes = {name: load_config(None, name).hash() for name in ("lite", "emilia", "emilia-community-1")}
    assert hashes == {"lite": "b2eb7d4a9f7c", "emilia": "17d4d614b06b", "emilia-community-1": "44b05fd0f43e"}
    old = load_config(None, overrides={"pipeline.order": list(load_config(None).pipeline.order[:1])}).hash()
    assert load_config(None, overrides={"pipeline.order": ["standardize", "events"]}).hash() == old


def test_every_option_of_a_listener_that_changes_the_result_changes_the_hash() -> None:
    on = {"events.engine": "ast"}
    hashes = {load_config(None, overrides=on).hash(), load_config(None).hash()}
    for name, value in asdict(load_config(None).events).items():
        if name == "engine":
            continue
        other = load_config(None, overrides={**on, f"events.{name}": value + ("x" if isinstance(value, str) else 1)})
        assert (other.hash() == load_config(None, overrides=on).hash()) == (name in ("device", "batch")), name
        hashes.add(other.hash())
    assert len(hashes) == 2 + 5
    assert load_config(None, "emilia-events").events.engine == "ast"


# -- windows -----------------------------------------------------------------------------------------------------------


@settings(deadline=None)
@given(frames=st.integers(0, 100_000), window=st.integers(1, 300), hop=st.integers(1, 200))
def test_cells_cover_the_recording_once_and_windows_lie_around_them(frames: int, window: int, hop: int) -> None:
    window, hop = window * 160, hop * 160
    found = cells(frames, window, hop)
    assert [cell.start for cell in found] == list(range(0, frames, hop))
    assert [cell.stop for cell in found] == [*[cell.start for cell in found[1:]], *([frames] if found else [])]
    for cell in found:
        assert 0 <= cell.low < cell.high <= frames
        assert cell.low % 160 == 0
        # Whole windows, but for recordings that are shorter than one and the grid's rounding at the end.
        assert cell.high - cell.low >= min(window, frames) - 160
        if window >= hop + 160 and frames >= window:
            assert cell.low <= cell.start
            assert cell.high >= cell.stop - 160


def test_windows_of_three_seconds_every_second() -> None:
    found = [tuple(n / 16000 for n in cell) for cell in cells(16000 * 5, 48000, 16000)]
    assert found == [(0, 1, 0, 3), (1, 2, 0, 3), (2, 3, 1, 4), (3, 4, 2, 5), (4, 5, 2, 5)]


@pytest.mark.parametrize("change", [{"hop": 0.0}, {"window": 0.05}, {"gap": -1.0}, {"engine": "ears"}])
def test_senseless_options_are_refused(change: dict[str, object]) -> None:
    with pytest.raises(BadConfig):
        Events(load_config(None, overrides={f"events.{name}": value for name, value in change.items()}))


# -- what is one event -------------------------------------------------------------------------------------------------


def test_the_best_class_speaks_for_its_word() -> None:
    row = np.array([0.9, 0.25, 0.5, 0.5], np.float32)
    heard = list(best(Cell(16000, 32000, 0, 48000), row, {"laughter": [1, 2], "applause": [3]}, LABELS, 16000))
    assert heard == [Heard("laughter", "Giggle", 1.0, 2.0, 0.5), Heard("applause", "Applause", 1.0, 2.0, 0.5)]


def heard_at(*scores: float, word: str = "laughter", label: str = "Laughter") -> list[Heard]:
    return [Heard(word, label, float(n), n + 1.0, score) for n, score in enumerate(scores)]


def test_neighbours_are_one_event_with_the_best_cells_label() -> None:
    rows = heard_at(0.1, 0.4, 0.6, 0.0, 0.5, 0.0, 0.0, 0.9)
    rows[2] = rows[2]._replace(label="Giggle")
    assert merged(rows, 0.3, 1.0) == [
        Event("laughter", "Giggle", 1.0, 5.0, 0.6),
        Event("laughter", "Laughter", 7.0, 8.0, 0.9),
    ]
    assert [event.start for event in merged(rows, 0.3, 0.0)] == [1.0, 4.0, 7.0]
    assert merged(rows, 0.91, 1.0) == []


def test_words_do_not_disturb_each_other() -> None:
    both = [*heard_at(0.5, 0.5, 0.5), *heard_at(0.0, 0.8, 0.0, word="applause", label="Applause")]
    assert merged(both, 0.3, 0.0) == [
        Event("laughter", "Laughter", 0.0, 3.0, 0.5),
        Event("applause", "Applause", 1.0, 2.0, 0.8),
    ]


tracks = st.lists(st.sampled_from((0.0, 0.2, 0.3, 0.5, 0.9)), max_size=30)


@settings(deadline=None)
@given(laughter=tracks, applause=tracks, threshold=st.sampled_from((0.0, 0.3, 0.5, 1.0)), gap=st.floats(0, 4))
def test_nothing_heard_is_lost_and_nothing_is_made_up(
    laughter: list[float], applause: list[float], threshold: float, gap: float
) -> None:
    rows = [*heard_at(*laughter), *heard_at(*applause, word="applause", label="Applause")]
    events = merged(rows, threshold, gap)
    assert events == sorted(events, key=lambda e: (e.start, e.end, e.event))
    loud = [row for row in rows if row.score >= threshold]
    for row in loud:
        assert any(e.event == row.event and e.start <= row.start and row.end <= e.end for e in events)
    for event in events:
        inside = [row for row in loud if row.event == event.event and event.start <= row.start < event.end]
        assert event.score == max(row.score for row in inside)
        assert (event.start, event.end) == (inside[0].start, inside[-1].end)
        assert all(b.start - a.end <= gap + 1e-9 for a, b in itertools.pairwise(inside))
    for word in ("laughter", "applause"):
        own = [event for event in events if event.event == word]
        assert all(b.start - a.end > gap for a, b in itertools.pairwise(own))


# -- the stage ---------------------------------------------------------------------------------------------------------


def test_a_recording_that_is_listened_to(wave: Make) -> None:
    noise = (0.1 * np.random.default_rng(1).standard_normal(5 * 16000)).astype(np.float32)
    samples = np.concatenate([synth.silence(10.0), noise, synth.silence(5.0)])
    stage, recording = listening(window=1.0, hop=0.5, threshold=0.6, gap=0.5), of(wave(samples))
    told: list[float] = []
    stage.load("cpu")
    stage.run(recording, told.append)
    first, *rest = recording.events or []
    assert (first.event, first.label, first.start) == ("applause", "Applause", 0.0)
    assert first.end == pytest.approx(10.0, abs=0.6)
    assert {event.event for event in rest} == {"laughter", "applause"}
    laughter = [event for event in rest if event.event == "laughter"]
    assert laughter[0].start == pytest.approx(10.0, abs=0.6)
    assert laughter[-1].end == pytest.approx(15.0, abs=0.6)
    assert all(0.6 <= event.score <= 1.0 for event in recording.events or [])
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_the_stage_has_its_own_device() -> None:
    for own, expected in (("", "cpu"), ("cuda:1", "cuda:1")):
        stage = listening(device=own)
        stage.load("cpu")
        assert stage._listener.device == expected  # type: ignore[attr-defined]


def test_events_travel_through_a_checkpoint() -> None:
    identity = {"config": "c0ffee"}
    for events in (None, [], [Event("laughter", "Giggle", 1.0, 2.5, 0.5)]):
        before = Recording(Path("a"), "ep", Path("out"), Path("scratch"), events=events)
        after = Recording(Path("a"), "ep", Path("out"), Path("scratch"))
        assert restore(after, capture(before, "events", identity), identity) == "events"
        assert after == before


def test_the_pipeline_writes_what_was_heard_and_takes_it_away_when_stopped(talk: Path, tmp_path: Path) -> None:
    pipeline = Pipeline(load_config(None, overrides={**QUICK, "events.threshold": 0.0}))
    stage = next(stage for stage in pipeline.stages if isinstance(stage, Events))
    stage._listener, stage.adds, stage.engine = Loudness(), ("events",), "loudness"
    pipeline.load()
    folders = {"out": tmp_path / "out", "scratch": tmp_path / "scratch"}
    result = pipeline.run(talk, episode="ep", language="en", progress=lambda _stage, _share: None, **folders)
    rows = json.loads((tmp_path / "out" / "events.json").read_text())
    assert [list(row) for row in rows] == [["event", "label", "start", "end", "score"]] * 2
    assert {row["event"] for row in rows} == {"laughter", "applause"}
    assert all((row["start"], row["end"]) == (0.0, result.duration) for row in rows)
    assert result.facts["events"] == "loudness"
    assert pipeline.models["loudness"] == "1"
    (tmp_path / "out" / "events.json").unlink()

    def stop(stage: str, share: float) -> None:
        if stage == "export" and share == 1.0:
            (tmp_path / "out" / "events.json").write_text("[]")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        pipeline.run(talk, episode="ep", language="en", progress=stop, **folders)
    assert not (tmp_path / "out" / "events.json").exists()
    pipeline.close()
