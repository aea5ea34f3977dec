"""Licences: one word for each, whoever spelled it."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.downloading.licences import allowed, licence_words, normal_licence


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("CC-BY-4.0", "cc-by-4.0"),
        ("cc by sa 3.0", "cc-by-sa-3.0"),
        ("CC BY-NC-ND", "cc-by-nc-nd"),
        ("https://creativecommons.org/licenses/by-nc-sa/4.0/deed.de", "cc-by-nc-sa-4.0"),
        ("http://creativecommons.org/publicdomain/zero/1.0/", "cc0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "public-domain"),
        ("CC0-1.0", "cc0"),
        ("cc zero", "cc0"),
        ("Creative Commons Attribution license (reuse allowed)", "cc-by"),
        ("Creative Commons Attribution-NonCommercial-ShareAlike 4.0 International", "cc-by-nc-sa-4.0"),
        ("Public Domain", "public-domain"),
        ("(c) Anna 2026, all rights reserved", "(c) anna 2026, all rights reserved"),
        ("Standard YouTube License", "standard youtube license"),
        ("accba", "accba"),
    ],
)
def test_spellings(text: str, word: str) -> None:
    assert normal_licence(text) == word


@pytest.mark.parametrize(
    ("licence", "wanted", "taken"),
    [
        ("CC-BY-4.0", "cc-by", True),
        ("CC-BY-4.0", "cc-by-3.0", False),
        ("CC-BY-SA-4.0", "cc-by", False),
        ("CC-BY-NC-4.0", "cc-by,cc0", False),
        ("CC0-1.0", "cc-by, cc0", True),
        ("all rights reserved", "cc-by", False),
        (None, "cc-by", True),
        ("My own licence", "my  own LICENCE", True),
    ],
)
def test_the_switch(licence: str | None, wanted: str, taken: bool) -> None:
    assert allowed(licence, licence_words(wanted)) is taken


@settings(deadline=None)
@given(st.text(max_size=80))
def test_a_word_is_its_own_word(text: str) -> None:
    once = normal_licence(text)
    assert normal_licence(once) == once
