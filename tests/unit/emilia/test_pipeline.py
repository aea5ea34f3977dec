"""The pipeline as a whole: files, hours, determinism, stopping, cleaning up."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

import Emilia
from Emilia.config import Config, load_config
from Emilia.pipeline import Pipeline, Result
from Emilia.pipeline import _Teller as Teller
from Emilia.recording import Recording, Segment
from tests.unit.emilia import synth

# DNSMOS costs half a second a window on one core; the score stage has its own tests.
QUICK = {"score.engine": "signal"}


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    pipeline = Pipeline(load_config(None, overrides=QUICK))
    pipeline.load()
    return pipeline


def run(pipeline: Pipeline, source: Path, folder: Path, progress: object = None, language: str | None = "en") -> Result:
    return pipeline.run(
        source,
        episode="ep",
        out=folder / "out",
        scratch=folder / "scratch",
        language=language,
        progress=progress or (lambda _stage, _share: None),  # type: ignore[arg-type]
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def done(pipeline: Pipeline, talk: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Result, Path]:
    folder = tmp_path_factory.mktemp("done")
    return run(pipeline, talk, folder), folder


def test_result_and_files(done: tuple[Result, Path], pipeline: Pipeline) -> None:
    result, folder = done
    assert result.outcome == "ok"
    assert result.duration == pytest.approx(12.0, abs=0.01)
    assert result.facts["speakers"] == 2
    assert result.facts["separation"] == "none"
    assert result.facts["engines"] == {
        "standardize": "av", "events": "none", "separate": "none", "diarize": "clusters", "segment": "silero",
        "transcribe": "pocketsphinx", "score": "signal", "export": "mp3",
    }  # fmt: skip
    assert list(result.seconds) == list(pipeline.config.pipeline.order)
    assert sorted(pipeline.models) == list(pipeline.models) == ["pocketsphinx", "silero-vad"]
    names = {segment.audio for segment in result.segments}
    assert set(contents(folder / "out")) == names | {"all_segments.json", "filtered_segments.json"}
    assert not list((folder / "scratch").iterdir())


def test_stored_segments_are_the_contract(done: tuple[Result, Path]) -> None:
    result, folder = done
    stored = json.loads((folder / "out" / "all_segments.json").read_text())
    assert [list(row) for row in stored] == [
        ["segment_id", "index", "text", "start", "end", "speaker", "language", "dnsmos", "dnsmos_sig", "dnsmos_bak",
         "overlap", "asr", "flags", "audio", "sha256", "extra"]
    ] * len(result.segments)  # fmt: skip
    for index, row in enumerate(stored):
        assert row["segment_id"] == f"ep_{index:06d}"
        assert row["index"] == index
        assert row["audio"] == f"ep_{index:06d}.mp3"
        assert row["speaker"] in ("ep/S00", "ep/S01")
        assert list(row["asr"]) == ["avg_logprob", "no_speech_prob", "compression_ratio", "language_probability"]
        assert row["flags"] == sorted(row["flags"])
        assert row["overlap"] is None
        assert row["start"] == round(row["start"], 3)
    assert [row["start"] for row in stored] == sorted(row["start"] for row in stored)
    kept = json.loads((folder / "out" / "filtered_segments.json").read_text())
    assert kept == [row for row in stored if not row["flags"]]


def test_hours_are_those_of_the_segments(done: tuple[Result, Path]) -> None:
    result, _ = done
    hours = result.hours
    assert hours["published"] + hours["flagged"] + hours["no_speech"] == hours["source"]
    assert hours["flagged"] == pytest.approx(sum(s.end - s.start for s in result.segments) / 3600, abs=1e-6)


def test_second_run_and_second_pipeline_give_the_same_bytes(
    done: tuple[Result, Path], pipeline: Pipeline, talk: Path, tmp_path: Path
) -> None:
    _, folder = done
    run(pipeline, talk, tmp_path / "again")
    fresh = Pipeline(load_config(None, overrides=QUICK))
    fresh.load()
    run(fresh, talk, tmp_path / "fresh")
    fresh.close()
    assert contents(tmp_path / "again" / "out") == contents(folder / "out") == contents(tmp_path / "fresh" / "out")


@pytest.mark.parametrize("stage", ["standardize", "diarize", "transcribe", "export"])
def test_stopping_leaves_nothing(pipeline: Pipeline, talk: Path, tmp_path: Path, stage: str) -> None:
    class Preempted(Exception):
        pass

    def stop(name: str, share: float) -> None:
        if name == stage and share > 0:
            raise Preempted

    with pytest.raises(Preempted):
        run(pipeline, talk, tmp_path, stop)
    assert contents(tmp_path / "out") == {}
    assert not list((tmp_path / "scratch").iterdir())


def test_progress_names_every_stage_from_start_to_end(pipeline: Pipeline, talk: Path, tmp_path: Path) -> None:
    told: list[tuple[str, float]] = []
    run(pipeline, talk, tmp_path, lambda stage, share: told.append((stage, share)))
    for stage in pipeline.config.pipeline.order:
        shares = [share for name, share in told if name == stage]
        assert shares[0] == 0.0
        assert shares[-1] == 1.0
        assert shares == sorted(shares)


def test_bad_audio_leaves_nothing(pipeline: Pipeline, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").write_bytes(b"<html></html>")
    with pytest.raises(Emilia.BadAudio) as caught:
        run(pipeline, tmp_path / "a.mp3", tmp_path)
    assert caught.value.reason == "not_audio"
    assert contents(tmp_path / "out") == {}
    assert not list((tmp_path / "scratch").iterdir())


def hum(seconds: float) -> np.ndarray:
    return 0.2 * np.sin(2 * np.pi * 50 * np.arange(round(16000 * seconds)) / 16000)


NOTHING = {
    "silence": (np.zeros(32000), "no_speech"),
    "offset": (np.full(32000, 0.25), "no_speech"),
    "hum": (hum(3.0), "no_speech"),
    "click": (np.eye(1, 32000, 5000)[0], "no_speech"),
    "moment": (hum(0.05), "too_short"),
}


@pytest.mark.parametrize("kind", list(NOTHING))
def test_nothing_said_is_an_outcome(pipeline: Pipeline, tmp_path: Path, kind: str) -> None:
    samples, outcome = NOTHING[kind]
    sf.write(tmp_path / "a.wav", samples, 16000)
    result = run(pipeline, tmp_path / "a.wav", tmp_path)
    assert result.outcome == outcome
    assert result.segments == []
    assert result.hours["no_speech"] == result.hours["source"]
    assert contents(tmp_path / "out") == {"all_segments.json": b"[]\n", "filtered_segments.json": b"[]\n"}


def test_other_language_is_kept_without_text(pipeline: Pipeline, talk: Path, tmp_path: Path) -> None:
    result = run(pipeline, talk, tmp_path, language="ko")
    assert result.outcome == "ok"
    assert {segment.language for segment in result.segments} == {"ko"}
    assert all("no_asr" in segment.flags for segment in result.segments)


def test_order_is_checked(config: Config) -> None:
    with pytest.raises(Emilia.BadConfig, match="segment"):
        Pipeline(load_config(None, overrides={"pipeline.order": ["standardize", "segment"]}))
    with pytest.raises(Emilia.BadConfig, match="no stage"):
        Pipeline(load_config(None, overrides={"pipeline.order": ["standardise"]}))


@pytest.mark.parametrize("section", ["standardize", "separate", "vad", "diarize", "transcribe", "score", "export"])
def test_unknown_engine_is_refused_by_name(section: str) -> None:
    with pytest.raises(Emilia.BadConfig, match="'magic'"):
        Pipeline(load_config(None, overrides={f"{section}.engine": "magic"})).load()


def test_compat_runs_whole_and_pads_nothing(talk: Path, tmp_path: Path) -> None:
    config = load_config(None, overrides={**QUICK, "pipeline.compat": True, "transcribe.engine": "none"})
    pipeline = Pipeline(config)
    pipeline.load()
    result = run(pipeline, talk, tmp_path)
    assert len(result.segments) == 4
    assert result.segments[0].end - result.segments[0].start < 3.7


def test_marked_overlap_is_measured_and_flagged(recording: Callable[[Path], Recording], talk: Path) -> None:
    from Emilia.recording import Turn
    from Emilia.stages.segment import Segmentation
    from Emilia.stages.standardize import Standardize

    made = recording(talk)
    config = load_config(None)
    stages = [Standardize(config), Segmentation(config)]
    for stage in stages:
        stage.load("cpu")
    stages[0].run(made, lambda _share: None)
    made.turns = [Turn(0.0, 4.0, "S00"), Turn(3.0, 7.0, "S01"), Turn(8.0, 11.5, "S00")]
    made.facts["overlap"] = "marked"
    stages[1].run(made, lambda _share: None)
    first, second, third = made.pieces()
    assert first.overlap == pytest.approx(1.0 / (first.end - first.start), abs=0.03)
    assert "overlap" in first.flags
    assert "overlap" in second.flags
    assert third.overlap == 0.0
    assert third.flags == []


def test_long_monologue_is_cut_below_the_limit(recording: Callable[[Path], Recording], tmp_path: Path) -> None:
    from Emilia.recording import Turn
    from Emilia.stages.segment import Segmentation
    from Emilia.stages.standardize import Standardize

    samples = synth.speech(40.0)
    samples[17 * 16000 : 17 * 16000 + 1600] *= 1e-3
    sf.write(tmp_path / "long.wav", samples, 16000)
    made = recording(tmp_path / "long.wav")
    config = load_config(None)
    stages = [Standardize(config), Segmentation(config)]
    for stage in stages:
        stage.load("cpu")
    stages[0].run(made, lambda _share: None)
    made.turns, made.voiced = [Turn(0.0, 40.0, "S00")], [Emilia.Span(0.0, 40.0)]
    stages[1].run(made, lambda _share: None)
    first, second = made.pieces()
    assert first.end == second.start
    # The quietest place is the one that was made quiet.
    assert 17.0 <= first.end <= 17.1


def test_public_names_are_all_there() -> None:
    assert Emilia.API_VERSION == 1
    assert all(getattr(Emilia, name) is not None for name in Emilia.__all__)
    with pytest.raises(AttributeError):
        _ = Emilia.Separator


def test_flags_are_sorted_and_single() -> None:
    segment = Segment(0.0, 1.0, "S")
    for reason in ("too_short", "low_mos", "too_short"):
        segment.flag(reason)
    assert segment.flags == ["low_mos", "too_short"]


def test_episodes_side_by_side_give_the_bytes_of_each_alone(
    done: tuple[Result, Path], pipeline: Pipeline, talk: Path, tmp_path: Path
) -> None:
    results: list[Result] = []

    def one(number: int) -> None:
        results.append(run(pipeline, talk, tmp_path / str(number)))

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(results) == 4
    for number in range(4):
        assert contents(tmp_path / str(number) / "out") == contents(done[1] / "out")
        assert not list((tmp_path / str(number) / "scratch").iterdir())


def test_stages_take_one_episode_at_a_time_and_different_ones_at_once(talk: Path, tmp_path: Path) -> None:
    """Stand-in stages that sleep: with four episodes under way, the slowest stage is all there is to wait for."""
    pipeline = Pipeline(load_config(None, overrides=QUICK))
    inside: dict[str, int] = {}
    both = threading.Event()

    class Sleeper:
        engine, models, needs, adds = "sleep", {}, ("source",), ("source",)

        def __init__(self, name: str) -> None:
            self.name = name

        def run(self, recording: Recording, progress: object) -> None:
            inside[self.name] = inside.get(self.name, 0) + 1
            assert inside[self.name] == 1
            if sum(inside.values()) > 1:
                both.set()
            both.wait(0.2)
            inside[self.name] -= 1

        def load(self, device: str) -> None: ...

        def close(self) -> None: ...

    pipeline.stages = [Sleeper(name) for name in ("standardize", "separate", "export")]  # type: ignore[misc]
    errors: list[BaseException] = []

    def one(number: int) -> None:
        try:
            run(pipeline, talk, tmp_path / str(number))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not errors
    assert both.is_set()


def test_speed_is_among_the_facts(done: tuple[Result, Path]) -> None:
    result, _ = done
    assert result.facts["real_time_factor"] == pytest.approx(sum(result.seconds.values()) / result.duration, abs=1e-3)
    assert float(str(result.facts["overlap_ratio"])) >= 1.0


def test_a_stage_that_stands_still_is_told_as_waiting() -> None:
    """So that a worker can tell a stage that hangs from one that moves."""
    told: list[tuple[str, float]] = []
    tell = Teller("diarize", lambda name, share: told.append((name, share)))
    for share in (0.1, 0.1, 0.05, 0.2):
        tell(share)
    assert told == [("diarize", 0.1), ("waiting", 0.1), ("waiting", 0.1), ("diarize", 0.2)]
