"""``sources.yaml``: what may stand in it, and a sentence with the line for what may not."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.downloading.spec import Source, read_spec
from duplexforge.errors import UsageError
from duplexforge.records import Selection

FULL = """
# Agreed by mail, see the folder "permissions".
defaults:
  licence: CC-BY-4.0
  only_audio: true
  max_items: 100
sources:
  - https://a.example/show.xml
  - source: https://www.youtube.com/@someone
    language: no
    license: CC0
    name: someone
    only_audio: false
    shuffle: true
    max_items: 5
    min_duration: 60
    max_duration: 7200.5
    since: 2026-01-01
    until: "2026-12-31"
    opt_in: mail of 1 March
  - url: rss:https://b.example/feed
"""


def read(tmp_path: Path, text: str) -> list[Source]:
    """The sources of a text."""
    path = tmp_path / "sources.yaml"
    path.write_text(text, encoding="utf-8")
    return read_spec(path)


def test_every_field(tmp_path: Path) -> None:
    first, second, third = read(tmp_path, FULL)
    shared = Selection(max_items=100)
    assert first == Source("https://a.example/show.xml", None, "CC-BY-4.0", only_audio=True, selection=shared)
    assert second == Source(
        "https://www.youtube.com/@someone",
        language="no",
        licence="CC0",
        name="someone",
        only_audio=False,
        shuffle=True,
        selection=Selection(
            max_items=5, min_duration=60.0, max_duration=7200.5, since="2026-01-01", until="2026-12-31"
        ),
        opt_in="mail of 1 March",
    )
    assert third.source == "rss:https://b.example/feed"


def test_a_plain_list_is_enough(tmp_path: Path) -> None:
    assert read(tmp_path, "- one.mp3\n- source: two\n") == [Source("one.mp3"), Source("two")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "line 1: there is no list"),
        ("sources: []", "line 1: there is no list"),
        ("just words", "line 1: there is no list"),
        (
            "- source: a\n- langauge: en\n  source: b",
            "line 2 (entry 2): there is no field 'langauge': did you mean language?",
        ),
        ("- source: a\n  zzz: 1", "line 2 (entry 1): there is no field 'zzz': it may be source"),
        ("- source: a\n  language: klingonese", "line 2 (entry 1): language must be a language"),
        ("- source: a\n  max_items: 0", "max_items must be a whole number above 0, not '0'"),
        ("- source: a\n  max_items: many", "max_items must be a whole number"),
        ("- source: a\n  min_duration: -1", "min_duration must be a number of seconds"),
        ("- source: a\n  max_duration: .nan", "max_duration must be a number of seconds"),
        (
            "- source: a\n  min_duration: 9\n  max_duration: 3",
            "line 1 (entry 1): min_duration is greater than max_duration",
        ),
        ("- source: a\n  since: 2026-02-30", "line 2 (entry 1): since cannot be read"),
        ("- source: a\n  since: soon", "since must be a day such as 2026-03-31, not 'soon'"),
        ("- source: a\n  since: 2026-02-03\n  until: 2026-02-01", "since is later than until"),
        ("- source: a\n  shuffle: sometimes", "shuffle must be true or false"),
        ("- source: a\n  language: [en, de]", "line 2 (entry 1): language must be a single value"),
        ("- source: a\n  source: b", "line 2 (entry 1): source is given twice"),
        ("- language: en", "line 1 (entry 1): it names no source"),
        ("- [a]", "line 1 (entry 1): it names no source"),
        ("- source: ''", "must be a text"),
        ("defaults:\n  source: a\nsources: [b]", "line 2 in defaults: there is no field 'source'"),
        ("source: a", "did you mean sources?"),
        ("- a: [", "is not YAML"),
        ("- !!python/object/apply:os.system ['true']", "names no source"),
        ("- source: !!python/name:os.system x", "is not YAML"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, text)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_all_mistakes_are_told_at_once_but_not_without_end(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        read(tmp_path, "".join(f"- source: a\n  max_items: -{number}\n" for number in range(1, 31)))
    assert "line 2 " in str(caught.value)
    assert "and 20 more" in str(caught.value)


def test_what_cannot_be_read_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_spec(tmp_path / "none.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"- caf\xe9")
    with pytest.raises(UsageError, match="cannot be read as text"):
        read_spec(tmp_path / "latin.yaml")


def test_an_alias_that_holds_itself_ends(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="names no source"):
        read(tmp_path, "&a\n- *a\n")


@settings(deadline=None, max_examples=100)
@given(st.text(max_size=200) | st.lists(st.dictionaries(st.text(max_size=8), st.text(max_size=8))).map(repr))
def test_any_text_is_sources_or_one_sentence(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.mktemp("fuzz") / "s.yaml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        found = read_spec(path)
    except UsageError as error:
        assert "\n" not in str(error).removeprefix(str(path))  # noqa: PT017 - either outcome is right, if it is whole
        return
    assert found
    assert all(source.source for source in found)
