"""Keys: what comes from outside can never leave its folder."""

from __future__ import annotations

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from duplexforge.layout import (
    AUDIO_EXTENSIONS,
    Layout,
    audio_extension,
    hashed_id,
    language_subtag,
    name_of,
    safe_name,
    shard_stem,
)

HOSTILE = ["", ".", "..", "../x", "a/b", "/abs", "a\\b", "nul\0", "line\n", "a\n", "x" * 201, "é", "e\u0301", "\u202etxt",
           "🎧", "-x", ".hidden", "_x", "a..b", "a b", "%2e%2e", "CON:", "a" * 5000]  # fmt: skip
texts = st.text() | st.sampled_from(HOSTILE) | st.text("./\\-_aA0\0\n", max_size=12)


@given(texts)
def test_a_safe_name_stays_itself_and_anything_else_is_refused(text: str) -> None:
    allowed = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,199}", text) and ".." not in text and not text.endswith("\n")
    if allowed:
        assert safe_name(text) == text
        assert Layout().todo("processing", text) == f"tasks/processing_todo/{text}.task"
    else:
        with pytest.raises(ValueError, match="cannot be part of an object key"):
            safe_name(text)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_names_are_refused_by_every_key(name: str) -> None:
    layout = Layout()
    for build in (
        lambda: layout.todo("download", name),
        lambda: layout.lease("download", name, 1),
        lambda: layout.completed("download", name),
        lambda: layout.failed("download", name),
        lambda: layout.episode("en", name),
        lambda: layout.manifest("en", name),
        lambda: layout.attempt("en", "e", name),
        lambda: layout.raw_record("en", name, "e"),
        lambda: layout.raw_record("en", "s", name),
        lambda: layout.raw_audio("en", "s", name, "mp3"),
        lambda: layout.batch(name),
        lambda: layout.ledger(name),
        lambda: layout.run_record(name, "checkpoints", 1),
        lambda: layout.run_files("r", "checkpoints", 1, name),
        lambda: layout.training_record(name),
        lambda: layout.training_files("s", name),
        lambda: layout.duplex_set(name),
    ):
        with pytest.raises(ValueError, match="object key"):
            build()


@given(st.lists(st.text(), min_size=1, max_size=3), st.lists(st.text(), min_size=1, max_size=3))
@example(["\ud800"], ["a"])
def test_hashed_ids_are_safe_stable_and_tell_apart(one: list[str], other: list[str]) -> None:
    name = hashed_id("pod", *one)
    assert safe_name(name) == name == hashed_id("pod", *one)
    assert re.fullmatch(r"pod-[0-9a-f]{16}", name)
    if "\x1f".join(one) != "\x1f".join(other):
        assert name != hashed_id("pod", *other)


@given(texts)
@example("en-US")
def test_a_language_is_always_a_subtag_and_normal(text: str) -> None:
    subtag = language_subtag(text)
    assert re.fullmatch(r"[a-z]{2,3}|unknown", subtag)
    assert language_subtag(subtag) == subtag
    assert safe_name(subtag) == subtag


@pytest.mark.parametrize(
    ("given_name", "subtag"),
    [("en-US", "en"), ("eng", "en"), ("EN", "en"), (" de ", "de"), ("zh-Hant-TW", "zh"), ("yue", "yue"),
     *((odd, "unknown") for odd in ("und", "mul", "zxx", "", None, "klingon?", "x/../y"))],
)  # fmt: skip
def test_languages(given_name: str | None, subtag: str) -> None:
    assert language_subtag(given_name) == subtag


@pytest.mark.parametrize("extension", AUDIO_EXTENSIONS)
def test_audio_extensions_in_any_case(extension: str) -> None:
    assert audio_extension(f"raw/x.y.{extension.upper()}") == extension


@pytest.mark.parametrize("name", ["x", "x.txt", "mp3", "x.mp3 ", "x.mp3.part", ""])
def test_other_names_have_no_audio_extension(name: str) -> None:
    assert audio_extension(name) is None


def test_the_keys_users_rely_on() -> None:
    layout = Layout()
    assert layout.raw_record("en-US", "feed", "pod-1") == "raw_audio/en/feed/pod-1.json"
    assert layout.raw_audio("en", "feed", "pod-1", "mp3") == "raw_audio/en/feed/pod-1.mp3"
    assert layout.raw_audio("en", "feed", "pod-1", "mp3", "n1") == "raw_audio/en/feed/pod-1.n1.mp3"
    assert layout.todo("download", "a") == "tasks/download_todo/a.task"
    assert layout.lease("processing", "a", 2) == "tasks/processing_in_progress/a.2.lease"
    assert layout.completed("upload", "a") == "tasks/upload_completed/a.task"
    assert layout.failed("upload", "a") == "tasks/upload_failed/a.task"
    assert layout.manifest("eng", "a") == "processed/en/a/manifest.json"
    assert layout.attempt("en", "a", "a1-00ff") == "processed/en/a/a1-00ff/"
    assert layout.batch("7") == "tasks/upload_batches/batch_7.jsonl"
    assert layout.ledger("7") == "tasks/upload_batches/batch_7.published.json"
    assert shard_stem("en", 7) == "data/en/train-000007"


def test_names_of_keys() -> None:
    assert name_of("tasks/x_todo/a.b.task") == "a.b"
    assert name_of("tasks/x_in_progress/a.b.2.lease") == "a.b.2"


def test_records_of_a_run_are_sorted_by_step() -> None:
    layout = Layout()
    keys = [layout.run_record("r", "checkpoints", step) for step in (2, 10, 999_999_999)]
    assert keys == sorted(keys)
    assert keys[0] == "models/r/checkpoints/step-000000002.json"
    assert layout.run_files("r", "exports", 2, "n") == "models/r/exports/step-000000002.n/"
    assert layout.training_files("s", "n").startswith("training/s/")
    assert layout.duplex_set("calls") == "duplex/calls/"
