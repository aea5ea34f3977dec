"""Checkpoints: an interrupted episode goes on where it was and ends with the same bytes; a useless one is ignored."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from Emilia.checkpoints import capture, restore
from Emilia.config import load_config
from Emilia.pipeline import Pipeline
from Emilia.recording import Asr, Recording, Segment, Span, Turn, Word
from tests.unit.emilia.test_pipeline import QUICK, contents

seconds = st.floats(0, 50_000, allow_nan=False)
texts = st.text(max_size=20)
shares = st.none() | st.floats(-5, 1, allow_nan=False)
segments = st.builds(
    Segment,
    start=seconds,
    end=seconds,
    speaker=texts,
    index=st.integers(0, 9999),
    text=texts,
    dnsmos=shares,
    overlap=shares,
    asr=st.builds(Asr, avg_logprob=shares, no_speech_prob=shares),
    flags=st.lists(texts, max_size=3),
    extra=st.dictionaries(texts, st.floats(-9, 99, allow_nan=False), max_size=2),
    words=st.lists(st.builds(Word, seconds, seconds, texts, seconds), max_size=3),
)
IDENTITY = {"config": "c0ffee", "models": {"toy": "1"}, "language": None}


def blank() -> Recording:
    return Recording(Path("a"), "ep", Path("out"), Path("scratch"))


@given(
    segments=st.none() | st.lists(segments, max_size=3),
    turns=st.lists(st.builds(Turn, seconds, seconds, texts), max_size=3),
    voiced=st.none() | st.lists(st.builds(Span, seconds, seconds), max_size=3),
)
def test_what_is_captured_comes_back(
    segments: list[Segment] | None, turns: list[Turn], voiced: list[Span] | None
) -> None:
    before = blank()
    before.segments, before.turns, before.voiced = segments, turns, voiced
    before.facts, before.voices, before.outcome = {"speakers": 2}, {"S00": [0.5]}, "unsupported_language"
    after = blank()
    assert restore(after, capture(before, "diarize", IDENTITY), IDENTITY) == "diarize"
    assert after == before


@pytest.mark.parametrize("content", [None, b"", b"{", b"[]", b"null", b'{"version": 1}', b'{"version": 99}', b"\xff"])
def test_nonsense_is_ignored(content: bytes | None) -> None:
    recording = blank()
    assert restore(recording, content, IDENTITY) is None
    assert recording == blank()


@pytest.mark.parametrize("change", [{"config": "other"}, {"models": {"toy": "2"}}, {"language": "de"}])
def test_findings_of_another_configuration_are_ignored(change: dict[str, object]) -> None:
    recording = blank()
    assert restore(recording, capture(blank(), "diarize", {**IDENTITY, **change}), IDENTITY) is None


class Memory:
    """Checkpoints in memory."""

    def __init__(self, every: float = 0.0) -> None:
        self.every = every
        self.content: bytes | None = None
        self.saved: list[str] = []

    def load(self) -> bytes | None:
        return self.content

    def save(self, content: bytes) -> None:
        self.content = content
        self.saved.append(json.loads(content)["after"])


class Stopped(Exception):
    """The worker was asked to stop."""


Run = Callable[..., list[str]]


@pytest.fixture(scope="module")
def run(talk: Path) -> Run:
    """Runs the dialogue into a folder and tells which stages worked; stops as the stage ``stop`` begins."""
    pipeline = Pipeline(load_config(None, overrides=QUICK))
    pipeline.load()

    def run(folder: Path, memory: Memory | None, stop: str = "") -> list[str]:
        told: list[str] = []

        def progress(stage: str, share: float) -> None:
            if stage == stop:
                raise Stopped
            if share == 0.0 and stage != "waiting":
                told.append(stage)

        pipeline.run(
            talk,
            episode="ep",
            out=folder / "out",
            scratch=folder / "scratch",
            language="en",
            progress=progress,
            checkpoints=memory,
        )
        return told

    return run


@pytest.fixture(scope="module")
def whole(run: Run, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    folder = tmp_path_factory.mktemp("whole")
    run(folder, None)
    return contents(folder / "out")


@pytest.mark.parametrize(
    ("stop", "again"),
    [
        ("diarize", ["standardize", "events", "separate", "diarize", "segment", "transcribe", "score", "export"]),
        ("segment", ["standardize", "separate", "segment", "transcribe", "score", "export"]),
        ("score", ["standardize", "separate", "score", "export"]),
        ("export", ["standardize", "separate", "export"]),
    ],
)
def test_a_stopped_episode_goes_on_and_ends_with_the_same_bytes(
    run: Run, whole: dict[str, bytes], tmp_path: Path, stop: str, again: list[str]
) -> None:
    memory = Memory()
    with pytest.raises(Stopped):
        run(tmp_path, memory, stop)
    assert contents(tmp_path / "out") == {}
    assert run(tmp_path, memory) == again
    assert contents(tmp_path / "out") == whole


def test_little_work_is_not_saved(run: Run, tmp_path: Path) -> None:
    memory = Memory(every=1e6)
    run(tmp_path, memory)
    assert memory.saved == []
    often = Memory()
    run(tmp_path / "often", often)
    assert often.saved == ["diarize", "segment", "transcribe", "score"]
