"""Items of a data set in a folder: what they hold, that they are read late, and what is said of damaged ones."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from duplexforge.errors import ConfigError, InputError
from duplexforge.loading import sides
from duplexforge.loading.dataset import DuplexDataset, Item, easy_load
from duplexforge.loading.packing import unpack_part
from duplexforge.loading.schema import FORMAT, MANIFEST
from tests.duplex.folder import MadeFolder, seal, write_folder


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
    monkeypatch.setattr(sides, "mapped", lambda place, entry: opened.append(entry.name) or mapped(place, entry))
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


# -- what is wrong -----------------------------------------------------------------------------------------------------


def _edit(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def _no_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def _newer_manifest(folder: Path) -> None:
    _edit(folder / MANIFEST, version=99)


def _newer_format(folder: Path) -> None:
    _edit(folder / FORMAT, version=99)
    seal(folder)


def _odd_format(folder: Path) -> None:
    _edit(folder / FORMAT, frames_per_chunk=13)
    seal(folder)


def _other_format(folder: Path) -> None:
    _edit(folder / FORMAT, text_tokens=3, note="longer")


def _no_format(folder: Path) -> None:
    (folder / FORMAT).unlink()


def _unnamed_format(folder: Path) -> None:
    _no_format(folder)
    seal(folder)


def _short_storage(folder: Path) -> None:
    path = folder / "storage" / "data-00000-of-00001.arrow"
    path.write_bytes(path.read_bytes()[:-100])


def _sealed_garbage(folder: Path) -> None:
    (folder / "storage" / "data-00000-of-00001.arrow").write_bytes(b"no arrow at all" * 100)
    seal(folder)


@pytest.mark.parametrize(
    ("damage", "reason", "message"),
    [
        (_no_manifest, "no_manifest", "has no manifest.json: it is no duplex data set, or its build did not finish"),
        (_newer_manifest, "newer_version", "has version 99, this program reads up to 1: update it"),
        (_newer_format, "newer_version", "format.json of .* has version 99"),
        (_odd_format, "bad_record", "format.json of .* does not make 13 tokens in the encoder"),
        (_other_format, "checksum", "format.json of .* is not the file that its manifest names"),
        (_no_format, "missing_file", "has no format.json, which its manifest names"),
        (_unnamed_format, "missing_file", "manifest.json of .* names no format.json"),
        (_short_storage, "checksum", "storage/data-00000-of-00001.arrow of .* is not the file"),
        (_sealed_garbage, "corrupt", "storage/data-00000-of-00001.arrow of .* cannot be read"),
    ],
)
def test_damage_is_one_sentence(tmp_path: Path, damage: Callable[[Path], None], reason: str, message: str) -> None:
    made = write_folder(tmp_path / "set", sides=2, chunks=2, files=1)
    damage(made.folder)
    with pytest.raises(InputError, match=message) as caught:
        easy_load(made.folder)[0]
    assert caught.value.reason == reason
    assert str(made.folder) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_unknown_splits_and_places(made: MadeFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no split 'dev', it has train$"):
        easy_load(made.folder, "dev")
    with pytest.raises(ConfigError, match="there is no folder .*nowhere"):
        easy_load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"'ftp://host/x' is not a folder, file://"):
        easy_load("ftp://host/x")
    with pytest.raises(ConfigError, match="names no repository"):
        easy_load("hf://alone")


def _rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the rows of the only storage file and seal it anew, so that only the row itself is wrong."""
    import pyarrow as pa

    from duplexforge.loading.schema import storage_schema
    from tests.duplex.folder import write_table

    path = folder / "storage" / "data-00000-of-00001.arrow"
    with pa.OSFile(str(path)) as file:
        rows = pa.ipc.open_stream(file).read_all().to_pylist()
    for row in rows:
        change(row)
    write_table(path, rows, storage_schema())
    seal(folder)


@pytest.mark.parametrize(
    ("change", "reason", "message"),
    [
        ({"events_json": "[]"}, "checksum", "its events are not those that were written"),
        ({"user_audio": b"fLaC but no more"}, "corrupt", "storage/talk0--s0: a packed track cannot be read"),
        ({"chunks": 1}, "bad_window", "train/talk0--s0#0 is chunks 0 to 2 of a side of 1"),
    ],
)
def test_a_damaged_row_names_its_side(tmp_path: Path, change: dict[str, Any], reason: str, message: str) -> None:
    made = write_folder(tmp_path / "set", sides=2, chunks=2, files=1)
    _rewrite(made.folder, lambda row: row.update(change))
    with pytest.raises(InputError, match=message) as caught:
        easy_load(made.folder)[0]
    assert caught.value.reason == reason


def test_tracks_at_another_rate_are_refused(tmp_path: Path) -> None:
    made = write_folder(tmp_path / "set", sides=2, chunks=2, files=1)
    _rewrite(made.folder, lambda row: row.update(user_audio=row["target_audio"]))
    with pytest.raises(InputError, match="a track has 24000 Hz where the format says 16000"):
        easy_load(made.folder)[0]


def test_a_window_off_the_seams_is_refused(tmp_path: Path) -> None:
    from duplexforge.loading.schema import window_schema
    from tests.duplex.folder import write_table

    made = write_folder(tmp_path / "set", sides=2, chunks=2, files=1)
    row = {"session_id": "talk0--s0", "seq_id": 4, "start_sample": 0, "end_sample": 5121}
    write_table(made.folder / "train" / "data-00000-of-00001.arrow", [row], window_schema())
    seal(made.folder)
    with pytest.raises(InputError, match=r"train/talk0--s0#4 does not begin and end with a chunk"):
        easy_load(made.folder)[0]
