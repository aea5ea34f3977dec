"""Items of a data set in a folder: what they hold, and that they are read late."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from duplexforge.errors import InputError
from duplexforge.loading import sides
from duplexforge.loading.dataset import DuplexDataset, Item, easy_load
from duplexforge.loading.packing import unpack_part
from duplexforge.loading.schema import storage_schema, window_schema
from tests.duplex.folder import MadeFolder, seal, write_folder, write_table


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> MadeFolder:
    return write_folder(tmp_path_factory.mktemp("data") / "set")


def _by_hand(made: MadeFolder, session_id: str) -> list[list[int]]:
    """The tokens of each chunk of a side, by walking over the chunks with a queue."""
    fmt, side = made.format, made.side(session_id)
    chunks, queue, found = len(side.user) // fmt.user_samples, [], []
    for chunk in range(chunks):
        for event in side.events:
            if int(event.start * fmt.user_rate) // fmt.user_samples == chunk:
                queue += event.input_ids
        said, queue = queue[: fmt.text_tokens], queue[fmt.text_tokens :]
        silence = [fmt.silence_token_id]
        text = said + silence * (fmt.text_tokens - len(said)) if said else silence
        found.append([fmt.placeholder_id] * fmt.frames_per_chunk + text)
    return found


def test_every_item_is_what_was_made(made: MadeFolder) -> None:
    data = easy_load(made.folder)
    assert len(data) == len(made.windows) == 12
    for item, (session_id, number, first, end) in zip(data, made.windows, strict=True):
        side = made.side(session_id)
        assert (item["session_id"], item["seq_id"]) == (session_id, number)
        expected = [token for chunk in _by_hand(made, session_id)[first:end] for token in chunk]
        assert item["input_sequence"].dtype == np.int64
        assert item["input_sequence"].tolist() == expected
        for name, track, size in (("input_audios", side.user, 5120), ("target_audios", side.agent, 7680)):
            samples: Any = item[name]  # type: ignore[literal-required]
            assert samples.dtype == np.float32
            assert samples.shape == (end - first, size)
            np.testing.assert_array_equal(np.round(samples * 32768), track[first * size : end * size].reshape(-1, size))
        if side.embedding is None:
            assert item["speaker_embedding"] is None
        else:
            np.testing.assert_array_equal(item["speaker_embedding"], side.embedding)
    assert data.chunks().tolist() == [end - first for _, _, first, end in made.windows]


def test_some_sides_have_no_embedding(made: MadeFolder) -> None:
    known = {item["session_id"]: item["speaker_embedding"] is not None for item in easy_load(made.folder)}
    assert sorted(known.values()) == [False, True, True, True]


def test_a_sequence_as_lists_are(made: MadeFolder) -> None:
    data = easy_load(made.folder)
    assert data[-1]["session_id"] == made.windows[-1][0]
    assert [one["seq_id"] for one in data[1:4]] == [window[1] for window in made.windows[1:4]]
    with pytest.raises(IndexError):
        data[len(data)]


def test_whole_sides_and_stretches(made: MadeFolder) -> None:
    data = easy_load(made.folder)
    side = made.sides[1]
    whole = data.window(side.session_id, 0, len(side.user) // 5120)
    np.testing.assert_array_equal(np.round(whole["input_audios"].ravel() * 32768), side.user)
    with pytest.raises(InputError, match="chunks 5 to 99 of a side of 8") as caught:
        data.window(side.session_id, 5, 99)
    assert caught.value.reason == "bad_window"
    with pytest.raises(InputError, match="holds no side nobody--s0") as caught:
        data.window("nobody--s0", 0, 1)
    assert caught.value.reason == "missing_side"


@pytest.mark.parametrize("indexed", [True, False])
def test_storage_is_read_late_and_only_the_file_that_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, indexed: bool
) -> None:
    made = write_folder(tmp_path / "set", indexed=indexed)
    opened: list[str] = []
    mapped = sides.mapped
    monkeypatch.setattr(sides, "mapped", lambda *asked: opened.append(asked[1].name) or mapped(*asked))
    data = easy_load(made.folder)
    assert len(data) == 12
    assert opened == []
    last = next(index for index, window in enumerate(made.windows) if window[0] == made.sides[-1].session_id)
    assert data[last]["session_id"] == made.sides[-1].session_id
    names = [f"storage/data-0000{number}-of-00002.arrow" for number in range(2)]
    assert opened == (names[1:] if indexed else names)
    list(data)
    assert sorted(opened) == names


def test_a_window_decodes_no_more_than_itself(made: MadeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []

    def counted(body: bytes, start: int, end: int) -> Any:
        asked.append((start, end))
        return unpack_part(body, start, end)

    monkeypatch.setattr("duplexforge.loading.packing.unpack_part", counted)
    easy_load(made.folder)[1]
    assert asked == [(3 * 5120, 6 * 5120), (3 * 7680, 6 * 7680)]


def test_token_streams_are_made_once_and_not_kept_for_ever(made: MadeFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    count = 0
    stream_of = sides.stream_of

    def counted(*arguments: Any) -> Any:
        nonlocal count
        count += 1
        return stream_of(*arguments)

    monkeypatch.setattr(sides, "stream_of", counted)
    data = easy_load(made.folder)
    list(data), list(data)
    assert count == len(made.sides)
    count, small = 0, DuplexDataset(data.place, data.manifest, data.format, "train", streams=1)
    list(small), list(small)
    assert count == 2 * len(made.sides)


def test_items_are_the_callers_own(made: MadeFolder) -> None:
    data = easy_load(made.folder)
    first: Item = data[0]
    kept = {name: first[name].copy() for name in ("input_sequence", "input_audios", "speaker_embedding")}  # type: ignore[literal-required]
    for name in kept:
        first[name][...] = 3  # type: ignore[literal-required]
    again: Any = data[0]
    for name, value in kept.items():
        np.testing.assert_array_equal(again[name], value)


def test_a_pickled_copy_reads_the_same(made: MadeFolder) -> None:
    data = easy_load(made.folder)
    data[0]
    packed = pickle.dumps(data)
    # Nothing that was opened travels along.
    assert len(packed) < 20_000
    np.testing.assert_array_equal(pickle.loads(packed)[3]["input_audios"], data[3]["input_audios"])


def test_file_urls_are_folders(made: MadeFolder) -> None:
    assert len(easy_load(f"file://{made.folder}")) == 12


@pytest.mark.parametrize("packing", ["flac", "wav"])
def test_both_packings(tmp_path: Path, packing: Any) -> None:
    made = write_folder(tmp_path / "set", sides=2, files=1, packing=packing)
    item = easy_load(made.folder)[2]
    np.testing.assert_array_equal(np.round(item["target_audios"].ravel() * 32768), made.sides[0].agent[6 * 7680 :])


def test_rows_may_share_a_record_batch(tmp_path: Path) -> None:

    made = write_folder(tmp_path / "set", sides=3, chunks=2, files=1)
    before = list(easy_load(made.folder))
    path = made.folder / "storage" / "data-00000-of-00001.arrow"
    rows = [one.row(made.format, "flac") for one in made.sides]
    with pa.OSFile(str(path), "wb") as file, pa.ipc.new_stream(file, storage_schema()) as writer:
        writer.write_batch(pa.RecordBatch.from_pylist(rows, schema=storage_schema()))
    seal(made.folder)
    for item, other in zip(easy_load(made.folder), before, strict=True):
        np.testing.assert_array_equal(item["input_audios"], other["input_audios"])
        np.testing.assert_array_equal(item["target_audios"], other["target_audios"])


def test_a_split_without_windows(tmp_path: Path) -> None:
    made = write_folder(tmp_path / "set", sides=2, chunks=2, files=1)
    write_table(made.folder / "validation" / "data-00000-of-00001.arrow", [], window_schema())
    seal(made.folder)
    data = easy_load(made.folder, "validation")
    assert (len(data), list(data), data.chunks().tolist()) == (0, [], [])
