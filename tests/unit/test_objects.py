"""A folder's listing is in key order, as the client itself tells it, wherever it starts and however many names there are."""

from __future__ import annotations

import os
from pathlib import Path

import obstore
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from obstore.store import LocalStore

from duplexforge.objects import PAGE, ObjectMeta, folder_pages, meta_of

PART = st.from_regex(r"[ab#.%Zü -]{0,2}[ab%-]", fullmatch=True).filter(lambda part: part not in (".", ".."))
TREES = st.sets(st.lists(PART, min_size=1, max_size=3).map("/".join), max_size=8)


def grow(root: Path, keys: set[str]) -> None:
    """Files of these keys; one whose place a folder has taken, or the other way round, is left out."""
    for key in sorted(keys):
        try:
            (root / key).parent.mkdir(parents=True, exist_ok=True)
            (root / key).write_bytes(key.encode())
        except (FileExistsError, IsADirectoryError, NotADirectoryError):
            continue


def listed(root: Path, prefix: str = "", after: str | None = None, in_memory: int = 3) -> list[ObjectMeta]:
    return [meta for page in folder_pages(root, prefix, after, in_memory=in_memory) for meta in page]


@settings(max_examples=25, deadline=None)
@given(keys=TREES, after=st.lists(PART, max_size=3).map("/".join), in_memory=st.integers(1, 20))
def test_it_tells_what_the_client_tells(
    tmp_path_factory: pytest.TempPathFactory, keys: set[str], after: str, in_memory: int
) -> None:
    root = tmp_path_factory.mktemp("folder")
    grow(root, keys)
    theirs = sorted(
        (meta_of(raw) for page in obstore.list(LocalStore(root)) for raw in page), key=lambda meta: meta.key
    )
    assert listed(root, in_memory=in_memory) == theirs
    assert listed(root, after=after, in_memory=in_memory) == [meta for meta in theirs if meta.key > after]


def test_only_what_lies_below_the_prefix(tmp_path: Path) -> None:
    grow(tmp_path, {"a/b/c", "a/b.d", "ab/c", "a-b"})
    assert [meta.key for meta in listed(tmp_path, "a/")] == ["a/b.d", "a/b/c"]
    assert [meta.key for meta in listed(tmp_path, "a/", after="a/b.d")] == ["a/b/c"]
    assert [meta.key for meta in listed(tmp_path, "a/", after="Z")] == ["a/b.d", "a/b/c"]
    assert listed(tmp_path, "a/", after="b") == []
    assert listed(tmp_path, "none/") == listed(tmp_path, "a-b/") == []


def test_pages_are_full_and_in_order_beyond_what_is_sorted_in_memory(tmp_path: Path) -> None:
    keys = {f"p/{number:04d}" for number in range(1_205)}
    grow(tmp_path, keys)
    pages = list(folder_pages(tmp_path, "p/", None, in_memory=500))
    assert [len(page) for page in pages] == [PAGE, 205]
    assert [meta.key for page in pages for meta in page] == sorted(keys)


def test_what_goes_or_is_no_object_is_left_out(tmp_path: Path) -> None:
    grow(tmp_path, {"a", "b"})
    (tmp_path / "half#12").write_bytes(b"")
    (tmp_path / "line\nbreak").write_bytes(b"")
    (tmp_path / "broken").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe")
    pages = folder_pages(tmp_path, "", None)
    assert [meta.key for meta in next(pages)] == ["a", "b"]
    (tmp_path / "b").unlink()
    assert [meta.key for meta in listed(tmp_path)] == ["a"]
