"""A data set built: what is in it against a plain restatement, the same bytes always, and what stops a build."""

from __future__ import annotations

import json
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from datasets import load_from_disk

from duplexforge.duplex.build import BuildSettings, build
from duplexforge.duplex.corpus import Corpus, Problem, Utterance, Word
from duplexforge.duplex.magichub import MagicHub
from duplexforge.duplex.report import Report
from duplexforge.duplex.tokens import Tokenizer
from duplexforge.duplex.validate import validate
from duplexforge.errors import ConfigError, InputError, ModelError, RetryLater, StoreError, UsageError
from duplexforge.framing import DuplexFormat
from duplexforge.loading.dataset import easy_load
from duplexforge.loading.packing import pcm_sha256, unpack
from duplexforge.loading.schema import SPLITS, DuplexManifest
from duplexforge.loading.sequence import parse_events, stream_of
from duplexforge.records import parse
from tests.duplex.magichub import Truth, make_corpus
from tests.duplex.tokenizer import SPECIALS
from tests.unit.duplex.building import Made, Tone, said, settings, sides, talk, tree, walk

FORMATS = ((16_000, 1), (44_100, 2), (48_000, 1), (24_000, 2))


@pytest.fixture(scope="module")
def truth(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_corpus(tmp_path_factory.mktemp("corpus") / "talks", sessions=4, seconds=12.0, formats=FORMATS)


@pytest.fixture(scope="module")
def built(truth: Truth, model: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    """The made corpus with windows, shards and all three splits."""
    out = tmp_path_factory.mktemp("built") / "set"
    return out, _build(MagicHub(truth.folder), settings(model, **WANTED), out)


WANTED: dict[str, Any] = {"window": 4.0, "overlap": 0.96, "splits": (0.5, 0.25, 0.25), "shards": True}


def _build(corpus: Corpus, wanted: BuildSettings, out: Path, **ways: Any) -> Report:
    return build(corpus, wanted, out, source="talks", **ways)


# -- what is in it -----------------------------------------------------------------------------------------------------


def test_streams_are_those_of_the_plain_rule(built: tuple[Path, Report], truth: Truth, tokenizer: Tokenizer) -> None:
    rows, fmt = sides(built[0]), DuplexFormat(silence_token_id=tokenizer.ids("<|object_ref_start|>")[0])
    assert set(rows) == {f"{one.conversation_id}--{track.speaker}" for one in truth.sessions for track in one.tracks}
    for session in truth.sessions:
        for track in session.tracks:
            row = rows[f"{session.conversation_id}--{track.speaker}"]
            assert row["chunks"] == 38  # 12 s
            found = stream_of(parse_events(row["events_json"], "it"), fmt, 38)
            plain = walk(track.utterances, tokenizer.ids, 38, 2, fmt.silence_token_id)
            assert found.sequence.tolist() == plain
            spoken = sum(len(tokenizer.ids(one.text)) for one in track.utterances)
            assert (row["tokens"] + row["capped"], row["capped"]) == (spoken, found.capped)
            silent = [plain[at + 4] for at in found.starts[:-1]].count(fmt.silence_token_id)
            assert row["silent_chunks"] == silent


def test_both_directions_hold_the_same_sound(built: tuple[Path, Report], truth: Truth) -> None:
    rows = sides(built[0])
    for session in truth.sessions:
        one, two = (rows[f"{session.conversation_id}--{track.speaker}"] for track in session.tracks)
        assert (one["user_speaker"], one["agent_speaker"]) == (two["agent_speaker"], two["user_speaker"])
        for row, rate, column in ((one, 16_000, "user"), (one, 24_000, "target"), (two, 16_000, "user")):
            pcm, told = unpack(row[f"{column}_audio"])
            assert (told, len(pcm)) == (rate, 38 * rate * 8 // 25)
            assert pcm_sha256(pcm) == row[f"{column}_sha256"]
        # The agent of the one is the user of the other: the same voice, loud and quiet at the same time.
        agent, user = unpack(one["target_audio"])[0], unpack(two["user_audio"])[0]
        loud = [np.abs(part.astype(float)).reshape(38, -1).mean(axis=1) for part in (agent, user)]
        assert np.corrcoef(loud[0], loud[1])[0, 1] > 0.99


def test_datasets_opens_every_part(built: tuple[Path, Report]) -> None:
    out, report = built
    assert len(load_from_disk(str(out / "storage"))) == 8
    indexes = {split: load_from_disk(str(out / split)) for split in SPLITS}
    for split, index in indexes.items():
        assert len(index) == report.totals[split].windows > 0
        wholes = [row for row in index if row["seq_id"] == 0]
        assert {(row["start_sample"], row["end_sample"]) for row in wholes} == {(0, 38 * 5120)}
        assert len(wholes) == report.totals[split].sides
        assert all(row["end_sample"] - row["start_sample"] <= 12 * 5120 for row in index if row["seq_id"])
    spoken = {split: {row["session_id"].split("--")[1] for row in index} for split, index in indexes.items()}
    assert sum(map(len, spoken.values())) == len(set().union(*spoken.values())) == 8


def test_the_manifest_tells_all(built: tuple[Path, Report], truth: Truth) -> None:
    out, report = built
    manifest = parse(DuplexManifest, (out / "manifest.json").read_bytes(), "it")
    assert {one.name: one.sha256 for one in manifest.files} == {
        name: digest for name, digest in tree(out).items() if name != "manifest.json"
    }
    assert report.files == len(manifest.files) + 1
    assert sum(totals.chunks for totals in manifest.totals.values()) == 8 * 38
    assert sum(totals.placeholders for totals in manifest.totals.values()) == 8 * 38 * 4
    spoken = sum(len(track.utterances) for session in truth.sessions for track in session.tracks)
    assert sum(totals.events for totals in manifest.totals.values()) == spoken
    assert [(one.name, one.rows) for one in manifest.storage] == [("storage/data-00000-of-00001.arrow", 8)]
    assert (manifest.storage[0].first, manifest.storage[0].last) == (min(sides(out)), max(sides(out)))
    assert (manifest.settings["window"], manifest.settings["splits"]) == (4.0, [0.5, 0.25, 0.25])
    assert not {"workers", "overwrite"} & set(manifest.settings)
    assert (report.exit_code, manifest.problems) == (0, {})


def test_it_is_valid_and_loads(built: tuple[Path, Report], model: Path, tokenizer: Tokenizer, truth: Truth) -> None:
    checked = validate(built[0], model=str(model))
    assert checked.findings == []
    item = easy_load(str(built[0]), "test")[0]
    track = next(
        track
        for session in truth.sessions
        for track in session.tracks
        if item["session_id"] == f"{session.conversation_id}--{track.speaker}"
    )
    silence = tokenizer.ids("<|object_ref_start|>")[0]
    assert item["input_sequence"].tolist() == walk(track.utterances, tokenizer.ids, 38, 2, silence)
    assert (item["input_audios"].shape, item["target_audios"].shape) == ((38, 5120), (38, 7680))
    assert item["speaker_embedding"] is None


def test_names_and_flags_of_a_side(model: Path, tmp_path: Path) -> None:
    quiet = talk("b", ("cid", "dot"), flags=("overlap_in_both_tracks",), group="g", language="en", licence="cc0")
    quiet = type(quiet)(**{**vars(quiet), "tracks": (quiet.tracks[0], type(quiet.tracks[1])("dot", Tone(2.0), ()))})
    _build(Made([talk("a"), quiet]), settings(model), tmp_path / "set")
    rows = sides(tmp_path / "set")
    assert rows["a--ann"]["flags"] == ["no_speaker_embedding"]
    assert (rows["a--ann"]["group"], rows["a--ann"]["licence"], rows["a--ann"]["language"]) == (None, None, "unknown")
    silent = rows["b--dot"]
    flags = ["no_speaker_embedding", "no_text", "overlap_in_both_tracks", "track_lengths_differ"]
    assert (silent["flags"], silent["tokens"], silent["silent_chunks"], silent["chunks"]) == (flags, 0, 19, 19)
    assert (silent["group"], silent["licence"], silent["language"]) == ("g", "cc0", "en")
    assert (silent["speaker_embedding"], silent["embedding_engine"]) == (None, "none")
    # The shorter track is filled with silence.
    assert not unpack(silent["target_audio"])[0][2 * 24_000 :].any()
    assert unpack(silent["user_audio"])[0][5 * 16_000 : 6 * 16_000].any()


# -- settings ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("wanted", "per_chunk"), [({"text_tokens": 4}, 4), ({"text_tokens": 1}, 1), ({"max_event_tokens": 3}, 2)]
)
def test_text_tokens_and_caps(
    wanted: dict[str, Any], per_chunk: int, model: Path, tokenizer: Tokenizer, tmp_path: Path
) -> None:
    report = _build(Made([talk("a")]), settings(model, **wanted), tmp_path / "set")
    most = wanted.get("max_event_tokens")
    row = sides(tmp_path / "set")["a--ann"]
    fmt = parse(DuplexFormat, (tmp_path / "set" / "format.json").read_bytes(), "it")
    assert (fmt.text_tokens, fmt.tokenizer_sha256) == (per_chunk, tokenizer.checksum)
    found = stream_of(parse_events(row["events_json"], "it"), fmt, row["chunks"]).sequence.tolist()
    silence = tokenizer.ids("<|object_ref_start|>")[0]
    spoken = talk("a").tracks[0].utterances
    assert found == walk(spoken, lambda text: tokenizer.ids(text)[:most], row["chunks"], per_chunk, silence)
    assert report.by_reason() == ({"event_tokens_capped": 2} if most else {})
    assert ("tokens_capped" in row["flags"]) == bool(most or row["capped"])
    assert report.exit_code == 0
    assert validate(tmp_path / "set", model=str(model)).findings == []


def test_alignment_with_words_and_without(model: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    words = (Word("hello", 0.1, 0.4), Word("there", 3.3, 3.6))
    timed = talk("a")
    track = type(timed.tracks[0])("ann", Tone(6.0), (Utterance(0.1, 3.6, "hello there", words), *said(4.0)))
    corpus = Made([type(timed)("a", (track, timed.tracks[1]))])
    report = _build(corpus, settings(model, alignment="words"), tmp_path / "set")
    first, second = parse_events(sides(tmp_path / "set")["a--ann"]["events_json"], "it")
    count = len(tokenizer.ids("hello"))
    assert first.due == [0] * count + [10] * (len(first.input_ids) - count)
    assert second.due is not None
    assert (min(second.due), max(second.due)) == (12, int((4.0 + 1.5 * (1 - 1 / len(second.due))) / 0.32))
    assert report.by_reason() == {"no_word_times": 2}
    assert validate(tmp_path / "set", model=str(model)).findings == []


def test_long_names_survive(model: Path, tmp_path: Path) -> None:
    name, speaker = "a" * 200, "b" * 200
    _build(Made([talk(name, (speaker, "c"))]), settings(model, shards=True), tmp_path / "set")
    assert sorted(sides(tmp_path / "set")) == [f"{name}--{speaker}", f"{name}--c"]
    assert validate(tmp_path / "set", model=str(model)).findings == []


def test_another_silence_token_by_name_and_by_id(model: Path, tokenizer: Tokenizer, tmp_path: Path) -> None:
    number = tokenizer.ids("<|quad_end|>")[0]
    _build(Made([talk("a")]), settings(model, silence_token="<|quad_end|>"), tmp_path / "name")
    _build(Made([talk("a")]), settings(model, silence_token_id=number), tmp_path / "id")
    assert tree(tmp_path / "name") == tree(tmp_path / "id")
    kept = json.loads((tmp_path / "id" / "format.json").read_text())
    assert (kept["silence_token"], kept["silence_token_id"]) == ("<|quad_end|>", number)


def test_one_agent_in_wav(model: Path, tmp_path: Path) -> None:
    corpus = Made([talk("a"), talk("b", ("cid", "dot"))])
    report = _build(corpus, settings(model, agent_speaker="bob", packing="wav"), tmp_path / "set")
    rows = sides(tmp_path / "set")
    assert (set(rows), report.skipped, report.conversations) == ({"a--bob"}, 1, 2)
    assert rows["a--bob"]["user_audio"][:4] == b"RIFF"
    # The same sound as in a build of both directions and another packing.
    _build(corpus, settings(model), tmp_path / "both")
    both = sides(tmp_path / "both")["a--bob"]
    assert [both[name] for name in ("user_sha256", "target_sha256", "events_json")] == [
        rows["a--bob"][name] for name in ("user_sha256", "target_sha256", "events_json")
    ]


@pytest.mark.parametrize("frames", [8, 16])
def test_longer_chunks(frames: int, model: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="tokens in the encoder") if frames == 16 else nullcontext():
        _build(Made([talk("a")]), settings(model, frames_per_chunk=frames), tmp_path / "set")
        assert sides(tmp_path / "set")["a--ann"]["chunks"] == 10


# -- what goes wrong ---------------------------------------------------------------------------------------------------


def test_a_conversation_that_cannot_be_read_is_left_out(model: Path, tmp_path: Path) -> None:
    corpus = Made([talk("a"), talk("b", ("cid", "dot"), fails="input"), talk("c", ("eve", "fay"), fails="holes")])
    report = _build(corpus, settings(model), tmp_path / "set")
    assert set(sides(tmp_path / "set")) == {"a--ann", "a--bob", "c--eve", "c--fay"}
    assert report.by_reason() == {"broken_samples": 2, "corrupt": 1}
    assert report.exit_code == 65
    lines = [json.loads(line) for line in (tmp_path / "set" / "report.jsonl").read_text().splitlines()]
    told = [(line["file"], line["reason"], line["kept"]) for line in lines]
    assert told[0] == ("b", "corrupt", False)
    assert {line[1:] for line in told[1:]} == {("broken_samples", True)}
    assert "left out: corrupt: 1" in report.to_text()
    assert "b: it ends in the middle of a frame" in report.to_text()


def test_text_that_makes_a_control_token_is_left_out(model: Path, tmp_path: Path) -> None:
    loud = talk("a")
    track = type(loud.tracks[0])("ann", Tone(6.0), (*said(1.0), *said(3.0, text=f"oh {SPECIALS[3]} no")))
    report = _build(Made([type(loud)("a", (track, loud.tracks[1]))]), settings(model), tmp_path / "set")
    assert (report.by_reason(), report.exit_code) == ({"control_token": 1}, 65)
    assert report.problems[0].file == "a: ann"
    assert len(parse_events(sides(tmp_path / "set")["a--ann"]["events_json"], "it")) == 1


def test_what_was_mended_or_not_wanted_is_no_failure(model: Path, tmp_path: Path) -> None:
    told = [
        Problem("a.txt", 3, "out_of_order", "sorted in", kept=True),
        Problem("m", None, "low_mos", "2", by_rule=True),
    ]
    report = _build(Made([talk("a")], told), settings(model), tmp_path / "set")
    assert report.exit_code == 0
    assert "kept all the same: out_of_order: 1\nnot wanted: low_mos: 1" in report.to_text()
    assert report.to_json()["left_out"] == 0


def test_nothing_could_be_built(model: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="none of 1 conversations could be built: it ends in the middle"):
        _build(Made([talk("a", fails="input")]), settings(model), tmp_path / "set")
    assert not (tmp_path / "set" / "manifest.json").exists()
    assert json.loads((tmp_path / "set" / "report.jsonl").read_text())["reason"] == "corrupt"


@pytest.mark.parametrize(
    ("fails", "error", "told"),
    [
        ("store", StoreError, "the store did not answer"),
        ("disk", RetryLater, "there is no space left for .*set"),
        ("stop", KeyboardInterrupt, None),
    ],
)
def test_other_failures_stop_the_build(
    fails: str, error: type[BaseException], told: str | None, model: Path, tmp_path: Path
) -> None:
    with pytest.raises(error, match=told) as caught:
        _build(Made([talk("a"), talk("b", ("cid", "dot"), fails=fails)]), settings(model), tmp_path / "set")
    assert getattr(caught.value, "exit_code", 75) == 75
    assert not (tmp_path / "set" / "manifest.json").exists()
    assert not [path for path in (tmp_path / "set").iterdir() if path.name.startswith(".building")]
    # What is left there is no obstacle.
    _build(Made([talk("a")]), settings(model), tmp_path / "set")
    _build(Made([talk("a")]), settings(model), tmp_path / "new")
    assert tree(tmp_path / "set") == tree(tmp_path / "new")


def test_a_finished_set_is_only_replaced_when_told(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "set"
    _build(Made([talk("a"), talk("b")]), settings(model, shards=True), out)
    before = tree(out)
    with pytest.raises(UsageError, match="holds a finished data set"):
        _build(Made([talk("a")]), settings(model), out)
    # Nor is it touched by a build that cannot begin.
    with pytest.raises(ModelError):
        _build(Made([talk("a")]), settings(tmp_path / "absent", overwrite=True), out)
    with pytest.raises(InputError):
        _build(Made([]), settings(model, overwrite=True), out)
    assert tree(out) == before
    _build(Made([talk("a")]), settings(model, overwrite=True), out)
    assert set(sides(out)) == {"a--ann", "a--bob"}
    assert not (out / "shards").exists()


def test_nobody_elses_files_are_cleared(model: Path, tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "thesis.tex").write_text("all of it")
    with pytest.raises(UsageError, match=r"holds other things \(thesis.tex\)"):
        _build(Made([talk("a")]), settings(model, overwrite=True), tmp_path / "set")
    with pytest.raises(UsageError, match="is a file"):
        _build(Made([talk("a")]), settings(model), tmp_path / "set" / "thesis.tex")
    assert [path.name for path in (tmp_path / "set").iterdir()] == ["thesis.tex"]


@pytest.mark.parametrize(
    ("wanted", "error"),
    [
        ({"silence_token": "hello there"}, ConfigError),
        ({"silence_token_id": 10**6}, ConfigError),
        ({"window": 1.0, "overlap": 1.0}, UsageError),
        ({"embedding": "magic"}, ConfigError),
        ({"embedding": "onnx:absent.onnx"}, ModelError),
        ({"splits": (0.0, 0.0, 0.0)}, UsageError),
        ({"splits": (1.0, -1.0, 0.0)}, UsageError),
        ({"agent_speaker": "eve"}, UsageError),
    ],
)
def test_wrong_settings_leave_no_trace(
    wanted: dict[str, Any], error: type[Exception], model: Path, tmp_path: Path
) -> None:
    with pytest.raises(error):
        _build(Made([talk("a")]), settings(model, **wanted), tmp_path / "set")
    assert not (tmp_path / "set").exists()


def test_a_dry_run_counts_and_writes_nothing(model: Path, tmp_path: Path) -> None:
    corpus = Made([talk("a"), talk("b", ("cid", "dot"), fails="input")])
    told = _build(corpus, settings(model, splits=(0.5, 0.5, 0.0)), tmp_path / "set", dry_run=True)
    assert not (tmp_path / "set").exists()
    assert (told.dry_run, told.conversations, told.totals["train"].sides, told.totals["validation"].sides) == (
        True, 2, 2, 2,
    )  # fmt: skip
    done = _build(Made([talk("a")]), settings(model), tmp_path / "set")
    for name in ("events", "speakers", "conversations"):
        assert getattr(told.totals["train"], name) == getattr(done.totals["train"], name)
    # Where the audio ends, and which tokens come too late for it, only decoding tells.
    assert told.totals["train"].tokens == done.totals["train"].tokens + done.totals["train"].capped
    assert "nothing written" in told.to_text()


# -- the same bytes ----------------------------------------------------------------------------------------------------


def test_a_second_build_and_another_place_give_the_same_bytes(
    built: tuple[Path, Report], truth: Truth, model: Path, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    moved = truth.folder.rename(tmp_path / "elsewhere" / "talks")
    try:
        _build(MagicHub(moved), settings(model, **WANTED), tmp_path / "set")
    finally:
        moved.rename(truth.folder)
    assert tree(tmp_path / "set") == tree(built[0])


@pytest.mark.slow  # test_cli.py does it with two
@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_gives_the_same_bytes(
    workers: int, built: tuple[Path, Report], truth: Truth, model: Path, tmp_path: Path
) -> None:
    _build(MagicHub(truth.folder), settings(model, workers=workers, **WANTED), tmp_path / "set")
    assert tree(tmp_path / "set") == tree(built[0])
