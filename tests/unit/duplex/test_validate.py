"""A made data set is valid; each way in which a row can drift is found, and the finding names the row."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from duplexforge.duplex.build import BuildSettings, Where, run
from duplexforge.duplex.checks import leaks, misframed
from duplexforge.duplex.stretches import StretchRules
from duplexforge.duplex.validate import validate
from duplexforge.errors import InputError
from duplexforge.framing import DuplexFormat, Stream
from duplexforge.loading.packing import pack, pcm_sha256, unpack
from duplexforge.loading.schema import FORMAT, MANIFEST, STORAGE
from duplexforge.loading.sequence import stream_of
from duplexforge.loading.tables import rows_of, table_files
from tests.duplex.magichub import make_corpus
from tests.duplex.tokenizer import tiny_tokenizer

Rows = list[dict[str, Any]]


@pytest.fixture(scope="module")
def built(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three short sessions from both seats, a speaker pair in each split, words spread evenly, with windows."""
    root = tmp_path_factory.mktemp("validate")
    make_corpus(root / "corpus", sessions=3, seconds=12, seed=7)
    fmt = DuplexFormat(model=str(model), alignment="even")
    settings = BuildSettings(fmt, window=4.0, overlap=0.64, splits=(0.4, 0.3, 0.3))
    where = Where("magichub", "corpus", root / "corpus", None, StretchRules(), "en", None)
    report = run(where, settings, root / "out", mode="dataset")
    assert report.exit_code == 0
    return root / "out"


@pytest.fixture
def copy(built: Path, tmp_path: Path) -> Path:
    """One to be spoilt."""
    return Path(shutil.copytree(built, tmp_path / "set"))


def rewrite(folder: Path, change: Callable[[Rows], object]) -> Rows:
    """Let ``change`` at the rows of a table and write them back; the rows as they were."""
    before, rows = list(rows_of(folder)), list(rows_of(folder))
    change(rows)
    (path,) = table_files(folder)
    schema = pa.ipc.open_stream(pa.memory_map(str(path))).schema
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for row in rows:
            writer.write_batch(pa.RecordBatch.from_pylist([row], schema=schema))
    return before


def found(folder: Path) -> set[tuple[str, str]]:
    """(where, check) of every finding about rows."""
    return {(one.where, one.check) for one in validate(folder, checksums=False).findings}


def events(row: dict[str, Any]) -> Any:
    """The events of a row, as plain JSON."""
    return json.loads(row["events_json"])


def put_events(row: dict[str, Any], told: Any, *, forge: bool = False) -> None:
    """Write events back; ``forge`` makes their checksum fit."""
    row["events_json"] = json.dumps(told)
    if forge:
        row["events_sha256"] = hashlib.sha256(row["events_json"].encode()).hexdigest()


def roll(row: dict[str, Any], column: str) -> None:
    """Shift a track by one sample."""
    samples, rate = unpack(row[column])
    row[column] = pack(np.roll(samples, 1), rate)


def test_what_was_built_is_valid(built: Path) -> None:
    report = validate(built)
    assert not report.findings, report.to_text()
    assert report.exit_code == 0
    assert report.tokenizer is not None
    assert {split: totals.sides for split, totals in report.totals.items()} == {"train": 2, "validation": 2, "test": 2}
    train = report.totals["train"]
    assert train.placeholders == 4 * train.chunks
    assert train.user_samples == 5120 * train.chunks
    assert train.agent_samples == 7680 * train.chunks
    assert 0 < train.silent_chunks < train.chunks
    assert train.tokens > 0
    assert train.windows > train.sides
    assert "valid" in report.to_text()
    assert report.to_json()["valid"] is True


def test_counts_agree_with_a_walk_over_every_side(built: Path) -> None:
    fmt = DuplexFormat.model_validate_json((built / FORMAT).read_bytes())
    tokens = silent = 0
    for row in rows_of(built / STORAGE):
        if row["split"] != "train":
            continue
        queue: list[int] = []
        waiting = [pair for event in events(row) for pair in zip(event["due"], event["input_ids"], strict=True)]
        for chunk in range(row["chunks"]):
            while waiting and waiting[0][0] <= chunk:
                queue.append(waiting.pop(0)[1])
            tokens += len(queue[: fmt.text_tokens])
            silent += not queue
            del queue[: fmt.text_tokens]
    totals = validate(built).totals["train"]
    assert (totals.tokens, totals.silent_chunks) == (tokens, silent)


def flip_a_token(rows: Rows) -> None:
    told = events(rows[0])
    told[1]["input_ids"][0] += 1
    put_events(rows[0], told)


def flip_a_token_and_forge_its_checksum(rows: Rows) -> None:
    told = events(rows[0])
    told[1]["input_ids"][0] += 1
    put_events(rows[0], told, forge=True)


def change_a_word(rows: Rows) -> None:
    told = events(rows[0])
    told[0]["text"] = told[0]["text"] + "s"
    put_events(rows[0], told, forge=True)


def move_a_due_chunk(rows: Rows) -> None:
    told = events(rows[0])
    told[0]["due"][-1] += 1
    put_events(rows[0], told, forge=True)


def end_before_start(rows: Rows) -> None:
    told = events(rows[0])
    told[0]["end"] = told[0]["start"] - 1
    put_events(rows[0], told, forge=True)


def swap_events(rows: Rows) -> None:
    told = events(rows[0])
    put_events(rows[0], told[::-1], forge=True)


def no_events(rows: Rows) -> None:
    rows[0]["events_json"] = '{"start": 1}'


def shift_the_user(rows: Rows) -> None:
    roll(rows[0], "user_audio")


def shift_the_agent(rows: Rows) -> None:
    roll(rows[0], "target_audio")


def cut_the_user(rows: Rows) -> None:
    samples, rate = unpack(rows[0]["user_audio"])
    rows[0]["user_audio"] = pack(samples[:-1], rate)
    rows[0]["user_sha256"] = pcm_sha256(samples[:-1])


def wrong_rate(rows: Rows) -> None:
    samples, _ = unpack(rows[0]["target_audio"])
    rows[0]["target_audio"] = pack(samples, 16_000)


def noise_for_audio(rows: Rows) -> None:
    rows[0]["user_audio"] = b"fLaC and then nothing of the kind"


def one_chunk_more(rows: Rows) -> None:
    rows[0]["chunks"] += 1


def miscount_tokens(rows: Rows) -> None:
    rows[0]["tokens"] += 1


def miscount_silence(rows: Rows) -> None:
    rows[0]["silent_chunks"] -= 1


def zeros_for_a_voice(rows: Rows) -> None:
    rows[0]["speaker_embedding"] = [0.0] * 192


@pytest.mark.parametrize(
    ("change", "check"),
    [
        (flip_a_token, "events_json"),
        (flip_a_token, "tokens"),
        (flip_a_token_and_forge_its_checksum, "tokens"),
        (change_a_word, "tokens"),
        (move_a_due_chunk, "tokens"),
        (end_before_start, "events_json"),
        (swap_events, "events_json"),
        (no_events, "events_json"),
        (shift_the_user, "user_audio"),
        (shift_the_agent, "target_audio"),
        (cut_the_user, "user_audio"),
        (wrong_rate, "target_audio"),
        (noise_for_audio, "user_audio"),
        (one_chunk_more, "chunks"),
        (miscount_tokens, "tokens"),
        (miscount_silence, "silent_chunks"),
        (zeros_for_a_voice, "speaker_embedding"),
    ],
)
def test_drift_of_a_side_names_its_row(copy: Path, change: Callable[[Rows], None], check: str) -> None:
    before = rewrite(copy / STORAGE, change)
    seen = found(copy)
    assert (f"{STORAGE}/{before[0]['session_id']}", check) in seen
    # Nothing is said of the others.
    others = {row["session_id"] for row in before[1:]}
    assert not [where for where, _ in seen if where.partition("/")[2] in others]


def test_the_silence_token_among_the_words_is_named(copy: Path) -> None:
    fmt = DuplexFormat.model_validate_json((copy / FORMAT).read_bytes())

    def say_silence(rows: Rows) -> None:
        told = events(rows[0])
        told[0]["input_ids"][0] = fmt.silence_token_id
        put_events(rows[0], told, forge=True)

    before = rewrite(copy / STORAGE, say_silence)
    assert (f"{STORAGE}/{before[0]['session_id']}", "silence_token") in found(copy)


def test_an_embedding_must_be_there_or_be_flagged(copy: Path) -> None:
    def unflag(rows: Rows) -> None:
        rows[0]["flags"] = []

    before = rewrite(copy / STORAGE, unflag)
    assert (f"{STORAGE}/{before[0]['session_id']}", "speaker_embedding") in found(copy)


def test_a_leaked_speaker_is_named_with_the_splits(copy: Path) -> None:
    def leak(rows: Rows) -> None:
        by_split = {row["split"]: row for row in rows}
        by_split["test"]["user_speaker"] = by_split["train"]["user_speaker"]

    before = rewrite(copy / STORAGE, leak)
    name = next(row["user_speaker"] for row in reversed(before) if row["split"] == "train")
    assert (f"test+train/{name}", "leak") in found(copy)


def test_a_leaked_session_is_named_with_its_window(copy: Path) -> None:
    train = list(rows_of(copy / "train"))

    def leak(rows: Rows) -> None:
        rows.append(train[0])
        rows.sort(key=lambda row: (row["session_id"], row["seq_id"]))

    rewrite(copy / "test", leak)
    assert (f"test/{train[0]['session_id']}", "split") in found(copy)


def test_a_conversation_whose_seats_are_parted_leaks(copy: Path) -> None:
    def part(rows: Rows) -> None:
        row = next(row for row in rows if row["split"] == "train")
        row["split"] = "test"

    before = rewrite(copy / STORAGE, part)
    conversation = next(row["conversation_id"] for row in before if row["split"] == "train")
    assert (f"test+train/{conversation}", "leak") in found(copy)


@pytest.mark.parametrize(
    ("changed", "check"),
    [
        ({"start_sample": 1}, "window"),
        ({"end_sample": 5121}, "window"),
        ({"end_sample": 10**9}, "window"),
        ({"start_sample": 5120, "end_sample": 5120}, "window"),
        ({"seq_id": 9}, "seq_id"),
    ],
)
def test_a_window_that_does_not_fit_is_named(copy: Path, changed: dict[str, int], check: str) -> None:
    before = rewrite(copy / "train", lambda rows: rows[1].update(changed))
    number = changed.get("seq_id", before[1]["seq_id"])
    assert (f"train/{before[1]['session_id']}#{number}", check) in found(copy)


def test_the_first_window_is_the_whole_side(copy: Path) -> None:
    before = rewrite(copy / "train", lambda rows: rows[0].update(end_sample=rows[0]["end_sample"] - 5120))
    assert (f"train/{before[0]['session_id']}#0", "window") in found(copy)


def test_a_window_of_no_side_and_a_side_without_window(copy: Path) -> None:
    def rename(rows: Rows) -> None:
        for row in rows:
            row["session_id"] = f"0-{row['session_id']}"

    before = rewrite(copy / "test", rename)
    seen = found(copy)
    assert (f"test/0-{before[0]['session_id']}#0", "window") in seen
    assert (f"{STORAGE}/{before[0]['session_id']}", "window") in seen


@pytest.mark.parametrize("table", [STORAGE, "train"])
def test_nothing_where_something_must_be_is_a_finding_whatever_it_is(copy: Path, table: str) -> None:
    free = {"speaker_embedding", "group", "language", "licence", "embedding_engine", "flags", "provenance_json"}
    rows = list(rows_of(copy / table))
    for name in rows[0]:

        def empty(rows: Rows, name: str = name) -> None:
            rows[0][name] = None

        before = rewrite(copy / table, empty)
        told = found(copy)
        assert any(check == "null" for _, check in told) or name in free | {"session_id"}, name
        assert told or name in free
        rewrite(copy / table, lambda rows, before=before: rows.__setitem__(slice(None), before))  # type: ignore[misc]
    assert found(copy) == set()


@pytest.mark.parametrize("chunks", [-1, 0, 10**12, 2**62])
def test_a_number_of_chunks_that_no_memory_holds_is_a_finding(copy: Path, chunks: int) -> None:
    before = rewrite(copy / STORAGE, lambda rows: rows[0].update(chunks=chunks))
    assert (f"{STORAGE}/{before[0]['session_id']}", "chunks") in found(copy)


@pytest.mark.parametrize(
    ("name", "value", "check"),
    [
        ("conversation_id", "other", "session_id"),
        ("agent_speaker", "G0009", "session_id"),
        ("user_speaker", "", "user_speaker"),
    ],
)
def test_names_that_do_not_go_together_are_told(copy: Path, name: str, value: str, check: str) -> None:
    before = rewrite(copy / STORAGE, lambda rows: rows[0].update({name: value}))
    assert (f"{STORAGE}/{before[0]['session_id']}", check) in found(copy)


def test_nobody_speaks_to_themselves(copy: Path) -> None:
    before = rewrite(copy / STORAGE, lambda rows: rows[0].update(user_speaker=rows[0]["agent_speaker"]))
    assert (f"{STORAGE}/{before[0]['session_id']}", "user_speaker") in found(copy)


def test_rows_out_of_order_are_named(copy: Path) -> None:
    before = rewrite(copy / STORAGE, lambda rows: rows.insert(1, dict(rows[0])))
    assert (f"{STORAGE}/{before[0]['session_id']}", "order") in found(copy)


def test_a_manifest_that_counts_otherwise_is_found(copy: Path) -> None:
    told = json.loads((copy / MANIFEST).read_bytes())
    told["totals"]["train"]["chunks"] += 1
    (copy / MANIFEST).write_text(json.dumps(told))
    (finding,) = validate(copy).findings
    assert (finding.where, finding.check) == (f"{MANIFEST}/train", "totals")
    assert finding.message.startswith("chunks: ")


def test_a_changed_byte_of_a_file_is_found_by_its_checksum(copy: Path) -> None:
    (path,) = table_files(copy / "train")
    body = bytearray(path.read_bytes())
    body[-20] ^= 1
    path.write_bytes(body)
    names = {one.where for one in validate(copy, tokenize=False).findings if one.check == "file"}
    assert f"train/{path.name}" in names


def test_a_missing_file_is_named(copy: Path) -> None:
    (copy / "report.jsonl").unlink()
    assert ("report.jsonl", "file") in {(one.where, one.check) for one in validate(copy).findings}


def test_another_tokenizer_is_told_from_the_one_of_the_data(copy: Path, tmp_path: Path) -> None:
    other = tiny_tokenizer(tmp_path / "other", lines=("quite other words", "and other merges of them"))
    report = validate(copy, model=str(other))
    assert (FORMAT, "tokenizer") in {(one.where, one.check) for one in report.findings}


def test_a_silence_token_of_another_number_is_found(copy: Path) -> None:
    told = json.loads((copy / FORMAT).read_bytes())
    told["silence_token_id"] += 1
    (copy / FORMAT).write_text(json.dumps(told))
    assert (FORMAT, "tokenizer") in found(copy)


def test_without_the_tokenizer_all_the_rest_is_checked(copy: Path) -> None:
    rewrite(copy / STORAGE, shift_the_agent)
    report = validate(copy, tokenize=False, checksums=False)
    assert report.tokenizer is None
    assert {one.check for one in report.findings} == {"target_audio"}
    assert "--no-tokenizer" in report.to_text()


@pytest.mark.parametrize("name", [MANIFEST, FORMAT])
def test_an_unfinished_folder_is_refused(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(InputError, match=f"no finished duplex data set: it has no {name}"):
        validate(copy)


def test_chunks_with_a_placeholder_too_few_are_found() -> None:
    fmt = DuplexFormat()
    stream = stream_of([], fmt, 3)
    assert not misframed(stream, fmt).size
    sequence = stream.sequence.copy()
    sequence[stream.starts[1]] = 7
    assert misframed(Stream(sequence, stream.starts), fmt).tolist() == [1]
    moved = stream.starts.copy()
    moved[1] += 1
    assert misframed(Stream(stream.sequence, moved), fmt).tolist() == [0, 1]


def test_who_is_in_one_split_does_not_leak() -> None:
    seats = {"speaker": {"a": {"train"}, "b": {"train", "test"}}, "group": {"g": {"test"}}}
    (finding,) = leaks(seats)
    assert finding.where == "test+train/b"
