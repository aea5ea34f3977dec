"""Records: what others wrote is refused with a reason or kept whole."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.errors import InputError
from duplexforge.records import VERSION, DownloadTask, Ended, Hours, Lease, ProcessTask, UploadTask, parse

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(st.binary(max_size=80) | json_values.map(lambda value: json.dumps(value).encode()))
def test_any_body_is_read_or_refused_never_anything_else(body: bytes) -> None:
    for model in (ProcessTask, DownloadTask, UploadTask, Lease, Ended):
        with contextlib.suppress(InputError):
            record = parse(model, body, "it")
            assert parse(model, record.to_bytes(), "again") == record


def test_a_refusal_names_what_is_wrong() -> None:
    with pytest.raises(InputError, match=r"^task x is not a valid ProcessTask: audio_key: Field required$"):
        parse(ProcessTask, b'{"episode_id": "e"}', "task x")
    with pytest.raises(InputError, match="the whole body"):
        parse(ProcessTask, b"{", "task x")


def test_newer_versions_are_refused_and_named() -> None:
    body = json.dumps({"version": VERSION + 1, "episode_id": "e", "audio_key": "k"}).encode()
    with pytest.raises(InputError, match=f"has version {VERSION + 1}.*update it") as refused:
        parse(ProcessTask, body, "task x")
    assert refused.value.reason == "newer_version"


@pytest.mark.parametrize("rest", [{}, {"episode_id": 5}, {"parts": ["a"]}])
def test_a_newer_version_may_have_other_fields(rest: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"has version {VERSION + 1}") as refused:
        parse(ProcessTask, json.dumps({"version": VERSION + 1, **rest}).encode(), "task x")
    assert refused.value.reason == "newer_version"


def test_fields_of_others_survive() -> None:
    body = b'{"episode_id": "e", "audio_key": "k", "mine": {"deep": [1, "\xc3\xbc"]}}'
    written = json.loads(parse(ProcessTask, body, "x").to_bytes())
    assert written["mine"] == {"deep": [1, "ü"]}
    assert written["version"] == VERSION
    assert "etag" not in written


@pytest.mark.parametrize(
    ("body", "episode"),
    [({"video_id": "abc", "url": "u"}, "yt-abc"), ({"episode_id": "e", "video_id": "abc", "url": "u"}, "e"),
     ({"id": "i", "url": "u"}, "i"), ({"url": "u"}, "")],
)  # fmt: skip
def test_download_bodies_of_both_spellings(body: dict[str, str], episode: str) -> None:
    assert parse(DownloadTask, json.dumps(body).encode(), "x").episode_id == episode


def test_hours_add_up() -> None:
    total = Hours(source=1, published=0.5, flagged=0.25, no_speech=0.25) + Hours(source=2, published=2)
    assert total == Hours(source=3, published=2.5, flagged=0.25, no_speech=0.25)


def test_an_end_keeps_the_task() -> None:
    task = ProcessTask(id="a", episode_id="a", audio_key="k", attempt_limit=5)
    ended = parse(Ended, Ended.of(task, "failed", 2, failures=2, reason="x").to_bytes(), "end")
    assert ProcessTask.model_validate(ended.task) == task
