"""Manners that make no sense or name what there is not, refused in one sentence."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duplexforge.errors import UsageError
from duplexforge.serving.backends import BACKENDS, Facts, Manner, open_backend
from duplexforge.serving.backends.manners import accent_of, check

RICH = Facts("rich", "", 16_000, 1280, 16_000, speakers=("one", "two"), emotions=("neutral", "happy"))
POOR = Facts("poor", "", 16_000, 1280, 16_000)


@pytest.mark.parametrize(
    ("manner", "told"),
    [
        (Manner(speaker="three"), "there is no voice three; there are one, two"),
        (Manner(other="three"), "there is no voice three"),
        (Manner(emotion="sad"), "there is no emotion sad; there are neutral, happy"),
        (Manner(blend=1.5), "blend must lie between 0 and 1, not at 1.5"),
        (Manner(blend=float("nan")), "blend"),
        (Manner(temperature=-1), "temperature"),
        (Manner(temperature=float("nan")), "temperature"),
        (Manner(seed=-1), "a seed"),
        (Manner(pitch=4), "pitch"),
        (Manner(energy=0), "energy"),
        (Manner(rate=float("inf")), "rate"),
        (Manner(accent="thick"), "there is no accent thick"),
        (Manner(accent="mild", emotion="happy"), "leave out mild or happy"),
        (Manner(voice=np.zeros(4, np.float32)), "vector"),
        (Manner(voice=np.full(4, np.nan, np.float32)), "vector"),
        (Manner(voice=np.ones((2, 2), np.float32)), "vector"),
    ],
)
def test_what_is_refused(manner: Manner, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        check(RICH, manner)


def test_what_is_taken() -> None:
    check(RICH, Manner())
    check(RICH, Manner("one", "two", 0.5, "happy", "", 0.5, 2.0, 1.1, 0.0, 7, "be brief", np.ones(4, np.float32)))
    check(RICH, Manner(accent="heavy", emotion="neutral"))
    # Who has no voices takes any name.
    check(POOR, Manner("anybody", "nobody", 1.0, "any"))
    assert accent_of(Manner(accent="Heavy")) == "heavy"
    assert accent_of(Manner()) is None


@given(
    st.builds(
        Manner,
        speaker=st.text(max_size=5),
        blend=st.floats(),
        emotion=st.text(max_size=5),
        accent=st.text(max_size=5),
        pitch=st.floats(),
        temperature=st.none() | st.floats(),
        seed=st.none() | st.integers(),
    )
)
def test_nothing_but_a_usage_error_comes_of_any_manner(manner: Manner) -> None:
    with contextlib.suppress(UsageError):
        check(RICH, manner)
        # What is taken names what there is.
        assert manner.speaker in ("", "one", "two")
        assert 0 <= manner.blend <= 1


def test_a_backend_by_its_name() -> None:
    assert open_backend("echo", None).facts.name == "echo"
    with pytest.raises(UsageError, match="there is no backend parrot; there are echo, s2s"):
        open_backend("parrot", None)
    assert BACKENDS[0] == "echo"
