"""One side built in whatever process: its row, its counts, its problems, and the file that it leaves."""

from __future__ import annotations

import hashlib
import json
import pickle
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duplexforge.duplex import sides as module
from duplexforge.duplex.corpus import Audio, Conversation, Track, Utterance
from duplexforge.duplex.plan import Seat
from duplexforge.duplex.sides import Built, SideWork
from duplexforge.duplex.tokens import Tokenizer, bind
from duplexforge.framing import DuplexFormat
from duplexforge.loading.packing import pcm_sha256, unpack
from duplexforge.loading.schema import Totals, storage_schema
from duplexforge.loading.sequence import parse_events, stream_of
from duplexforge.loading.tables import batches_of
from tests.duplex.network import speaker_network
from tests.unit.duplex.building import Tone, said, talk

CHUNK = 0.32


@pytest.fixture
def work(model: Path, tokenizer: Tokenizer, tmp_path: Path) -> SideWork:
    return SideWork(bind(DuplexFormat(model=str(model)), tokenizer), "flac", "none", tmp_path)


def seat(*tracks: Track, **fields: Any) -> Seat:
    """The second of two tracks as the agent."""
    return Seat(Conversation("talk", (tracks[0], tracks[1]), **fields), 1, "train")


def row_of(built: Built) -> dict[str, Any]:
    assert built.path is not None
    (batch,) = batches_of(built.path)
    assert batch.schema.equals(storage_schema())
    (row,) = batch.to_pylist()
    return dict(row)


@pytest.mark.parametrize(
    ("user", "agent", "chunks", "uneven"),
    [
        (CHUNK, CHUNK, 1, False),
        (CHUNK + 1 / 16_000, CHUNK, 2, False),
        (CHUNK, CHUNK + 1 / 24_000, 2, False),
        (1.0, 1.0 + 2 * CHUNK, 6, True),
        (0.01, 0.0, 1, False),
        (3.0, 0.0, 10, True),
    ],
)
def test_both_tracks_are_filled_to_the_longer_one(
    user: float, agent: float, chunks: int, uneven: bool, work: SideWork
) -> None:
    built = work(seat(Track("ann", Tone(user), ()), Track("bob", Tone(agent), said(0.0))))
    row = row_of(built)
    assert (row["chunks"], "track_lengths_differ" in row["flags"]) == (chunks, uneven)
    for column, digest, rate, seconds in (
        ("user_audio", "user_sha256", 16_000, user),
        ("target_audio", "target_sha256", 24_000, agent),
    ):
        pcm, told = unpack(row[column])
        assert (told, len(pcm)) == (rate, chunks * rate * 8 // 25)
        assert pcm_sha256(pcm) == row[digest]
        assert not pcm[round(seconds * rate) :].any()
        expected = list(Tone(seconds).blocks(rate))
        if expected:
            np.testing.assert_array_equal(pcm[: round(seconds * rate)], np.rint(np.concatenate(expected) * 32768))


def test_counts_are_those_of_the_sequence(work: SideWork, tokenizer: Tokenizer) -> None:
    # The second utterance begins in the last chunk, where two of its tokens find a place.
    spoken = (*said(0.0), *said(1.9))
    built = work(seat(Track("ann", Tone(2.0), ()), Track("bob", Tone(2.0), spoken)))
    row, each = row_of(built), len(tokenizer.ids(spoken[0].text))
    events = parse_events(row["events_json"], "it")
    stream = stream_of(events, work.fmt, row["chunks"])
    assert row["events_sha256"] == hashlib.sha256(row["events_json"].encode()).hexdigest()
    assert (row["tokens"], row["capped"]) == (2 * each - stream.capped, stream.capped)
    assert row["capped"] > 0
    assert "tokens_capped" in row["flags"]
    assert built.totals == Totals(
        sides=1, chunks=7, placeholders=28, events=2, tokens=row["tokens"], capped=row["capped"],
        silent_chunks=stream.silent, user_samples=7 * 5120, agent_samples=7 * 7680, speakers=["ann", "bob"],
        conversations=["talk"],
    )  # fmt: skip


def test_times_of_words_that_are_not_known_are_told_once_a_side(
    model: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    fmt = bind(DuplexFormat(model=str(model), alignment="words"), tokenizer)
    built = SideWork(fmt, "flac", "none", tmp_path)(
        seat(Track("ann", Tone(6.0), said(0.0)), Track("bob", Tone(6.0), said(0.0, 2.0, 4.0)))
    )
    (problem,) = built.problems
    assert (problem.file, problem.reason, problem.kept, problem.lost) == ("talk: bob", "no_word_times", True, False)
    assert problem.message.startswith("3 utterances have no word times")


def test_samples_that_are_no_numbers_are_told_for_the_track_they_are_in(work: SideWork) -> None:
    built = work(seat(Track("ann", Tone(1.0, fails="holes"), ()), Track("bob", Tone(1.0), said(0.0))))
    (problem,) = built.problems
    assert (problem.file, problem.reason, problem.kept) == ("talk: ann", "broken_samples", True)
    assert problem.message.startswith("160 samples are no numbers")
    assert not unpack(row_of(built)["user_audio"])[0][:160].any()


@pytest.mark.parametrize("which", [0, 1])
def test_input_that_cannot_be_read_is_a_problem_and_leaves_no_file(which: int, work: SideWork) -> None:
    tracks = [Track("ann", Tone(1.0), ()), Track("bob", Tone(1.0), said(0.0))]
    tracks[which] = replace(tracks[which], audio=Tone(1.0, fails="input"))
    built = work(seat(*tracks))
    assert (built.path, built.totals) == (None, Totals())
    assert [(one.file, one.reason, one.lost) for one in built.problems] == [("talk", "corrupt", True)]
    assert list(work.folder.iterdir()) == []


def test_two_empty_tracks_are_no_side(work: SideWork) -> None:
    built = work(seat(Track("ann", Tone(0.0), ()), Track("bob", Tone(0.0), ())))
    assert (built.path, [one.reason for one in built.problems]) == (None, ["empty"])


def test_a_track_that_no_cell_can_hold_is_refused(work: SideWork, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_BYTES", 2000)
    (problem,) = work(seat(Track("ann", Tone(1.0), ()), Track("bob", Tone(1.0), ()))).problems
    assert problem.reason == "too_long"


@dataclass(frozen=True)
class Silent:
    """Nothing to hear, for some seconds."""

    seconds: float

    def blocks(self, rate: int) -> Any:
        yield np.zeros(round(self.seconds * rate), np.float32)


def test_a_voice_is_measured_where_the_agent_speaks(
    model: Path, tokenizer: Tokenizer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    engine = f"onnx:{speaker_network(tmp_path / 'net.onnx').name}"
    work = SideWork(bind(DuplexFormat(model=str(model)), tokenizer), "wav", engine, tmp_path)

    def built(audio: Audio, *spoken: Utterance) -> dict[str, Any]:
        return row_of(work(seat(Track("ann", Tone(4.0, 90.0), said(0.0)), Track("bob", audio, spoken))))

    heard = built(Tone(4.0), *said(0.5, 2.0))
    vector = np.asarray(heard["speaker_embedding"], np.float32)
    assert vector.shape == (192,)
    assert abs(np.linalg.norm(vector) - 1) < 1e-5
    assert heard["embedding_engine"].startswith("onnx:net.onnx@")
    assert heard["flags"] == []
    other = np.asarray(built(Tone(4.0, 800.0), *said(0.5, 2.0))["speaker_embedding"], np.float32)
    assert vector @ other < 0.999
    # Too little is said, or nothing is heard: null and a flag, and never zeros.
    for nobody in (built(Tone(4.0), Utterance(0.0, 0.5, "yeah")), built(Silent(4.0), *said(0.5))):
        assert (nobody["speaker_embedding"], "no_speaker_embedding" in nobody["flags"]) == (None, True)
        assert nobody["embedding_engine"] == heard["embedding_engine"]


def test_what_tells_of_the_source_is_kept(work: SideWork) -> None:
    about = {"group": "g1", "language": "de", "licence": "cc0", "provenance": {"title": "Größe", "a": [1]}}
    row = row_of(work(seat(*talk("x", seconds=20.0).tracks, flags=("doubtful_text",), **about)))
    assert (row["session_id"], row["conversation_id"], row["split"]) == ("talk--bob", "talk", "train")
    assert (row["user_speaker"], row["agent_speaker"]) == ("ann", "bob")
    assert (row["group"], row["language"], row["licence"]) == ("g1", "de", "cc0")
    assert json.loads(row["provenance_json"]) == about["provenance"]
    assert row["flags"] == ["doubtful_text", "no_speaker_embedding"]


def test_a_pickled_copy_does_the_same(work: SideWork) -> None:
    one = seat(*talk("x").tracks)
    first = row_of(work(one))
    again = pickle.loads(pickle.dumps((replace(work), one)))
    assert row_of(again[0](again[1])) == first
