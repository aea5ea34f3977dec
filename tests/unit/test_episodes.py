"""Committed episodes: which are given, in which order, and what a file must be to be read."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import TypeAdapter

from duplexforge.episodes import SEGMENTS, Committed, parse_rows, read_file
from duplexforge.errors import ConfigError, InputError
from duplexforge.records import Manifest, Purged
from tests.duplex import processed as made

ROWS = TypeAdapter(list[int])


def test_each_gives_what_is_made_of_every_manifest_by_id(tmp_path: Path) -> None:
    store, _ = made.store_in(tmp_path)
    names = [f"file-{number:03d}" for number in range(70)]
    for name in reversed(names):
        made.commit(store, name, [])
    found = list(Committed(store, made.LAYOUT).each(lambda manifest: manifest.episode_id.upper()))
    assert found == [(name, name.upper()) for name in names]


def test_what_was_purged_or_is_not_committed_is_told_by_name(tmp_path: Path) -> None:
    store, _ = made.store_in(tmp_path)
    for name in ("a", "b"):
        made.commit(store, name, [])
    store.put(made.LAYOUT.purged("b"), Purged(episode_id="b", purged_at="2026-01-01T00:00:00+00:00").to_bytes())
    store.put("processed/en/c/a1-nonce/all_segments.json", b"[]")
    committed = Committed(store, made.LAYOUT)
    assert [name for name, _ in committed.each(lambda manifest: manifest)] == ["a"]
    assert sorted(committed.left_out) == [("b", "purged"), ("c", "not_committed")]
    # Read again, they are not told twice.
    list(committed.each(lambda manifest: manifest))
    assert len(committed.left_out) == 2


def test_bad_input_is_the_answer_of_its_episode_alone(tmp_path: Path) -> None:
    store, _ = made.store_in(tmp_path)
    for name in ("a", "b", "c"):
        made.commit(store, name, [])
    store.put(made.LAYOUT.manifest("en", "a"), b"{")

    def make(manifest: Manifest) -> str:
        if manifest.episode_id == "b":
            raise InputError("b is odd", reason="odd")
        return manifest.episode_id

    found = dict(Committed(store, made.LAYOUT).each(make))
    assert [getattr(found[name], "reason", found[name]) for name in "abc"] == ["bad_record", "odd", "c"]


def test_other_errors_are_nobodys_answer(tmp_path: Path) -> None:
    store, _ = made.store_in(tmp_path)
    made.commit(store, "a", [])

    def make(manifest: Manifest) -> None:
        raise ConfigError("the key is refused")

    with pytest.raises(ConfigError):
        list(Committed(store, made.LAYOUT).each(make))


def test_a_file_is_read_only_as_it_was_committed(tmp_path: Path) -> None:
    store, _ = made.store_in(tmp_path)
    manifest = made.commit(store, "a", [], files={"words.json": b"{}"})
    assert read_file(store, manifest, SEGMENTS) == b"[]"
    assert read_file(store, manifest, "words.json") == b"{}"
    assert read_file(store, manifest, "events.json") is None
    store.put(manifest.folder + "words.json", b"{ }")
    with pytest.raises(InputError, match=r"words\.json is not what its manifest says") as error:
        read_file(store, manifest, "words.json")
    assert error.value.reason == "checksum"
    store.delete(manifest.folder + "words.json")
    with pytest.raises(InputError, match="not there") as error:
        read_file(store, manifest, "words.json")
    assert error.value.reason == "input_missing"


def test_bad_rows_are_told_with_their_place() -> None:
    assert parse_rows(ROWS, b"[1, 2]", "it") == [1, 2]
    with pytest.raises(InputError, match="it: 1: ") as error:
        parse_rows(ROWS, b'[1, "x"]', "it")
    assert error.value.reason == "bad_record"
    with pytest.raises(InputError, match="it: the whole body: "):
        parse_rows(ROWS, b"[1", "it")
