"""What is said of data sets that are unfinished, damaged, of another version, or not there: one sentence each."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from duplexforge.errors import ConfigError, InputError
from duplexforge.loading.dataset import easy_load
from duplexforge.loading.schema import FORMAT, MANIFEST, storage_schema, window_schema
from tests.duplex.folder import MadeFolder, seal, write_folder, write_table


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


def test_unknown_splits_and_places(small: MadeFolder, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no split 'dev', it has train$"):
        easy_load(small.folder, "dev")
    with pytest.raises(ConfigError, match=r"there is no folder .*nowhere"):
        easy_load(tmp_path / "nowhere")
    with pytest.raises(ConfigError, match=r"'ftp://host/x' is not a folder, file://"):
        easy_load("ftp://host/x")
    with pytest.raises(ConfigError, match="names no repository"):
        easy_load("hf://alone")


def _rewrite(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the rows of the only storage file and seal it anew, so that only the row itself is wrong."""

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
        ({"events_json": None}, "corrupt", "storage/talk0--s0: it has no events, or 2 chunks, which is no length"),
        ({"chunks": None}, "corrupt", "it has no events, or None chunks"),
        ({"chunks": -1}, "corrupt", "it has no events, or -1 chunks"),
        ({"chunks": 10**12}, "corrupt", "it has no events, or 1000000000000 chunks"),
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

    made = write_folder(tmp_path / "set", sides=2, chunks=2, files=1)
    row = {"session_id": "talk0--s0", "seq_id": 4, "start_sample": 0, "end_sample": 5121}
    write_table(made.folder / "train" / "data-00000-of-00001.arrow", [row], window_schema())
    seal(made.folder)
    with pytest.raises(InputError, match=r"train/talk0--s0#4 does not begin and end with a chunk"):
        easy_load(made.folder)[0]


def test_a_table_without_its_columns_is_refused(tmp_path: Path) -> None:

    made = write_folder(tmp_path / "set", sides=2, chunks=2, files=1)
    path = made.folder / "storage" / "data-00000-of-00001.arrow"
    wanted = storage_schema()
    less = pa.schema([pa.field("user_audio", pa.large_binary())] + [one for one in wanted if one.name == "session_id"])
    write_table(path, [{"session_id": "talk0--s0"}], less)
    seal(made.folder)
    with pytest.raises(
        InputError, match=r"lacks columns, or has them of another type: user_audio, target_audio"
    ) as caught:
        easy_load(made.folder)[0]
    assert caught.value.reason == "bad_columns"
