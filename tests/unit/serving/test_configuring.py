"""Which settings of a session make sense."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from duplexforge.errors import UsageError
from duplexforge.serving.backends import Manner
from duplexforge.serving.configuring import check
from duplexforge.serving.session import SessionConfig


def test_the_usual_settings_make_sense():
    check(SessionConfig())
    check(SessionConfig(mode="turn", turns="client", vad_threshold=0.9, silence=2, confirm=0))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("mode", "both"),
        ("mode", ""),
        ("turns", "nobody"),
        ("vad_threshold", 0.0),
        ("vad_threshold", 1.0),
        ("vad_threshold", float("nan")),
        ("silence", 0.0),
        ("silence", float("inf")),
        ("sure_silence", -1.0),
        ("sure", 1.1),
        ("prefix", -0.1),
        ("confirm", 6.0),
        ("manner", Manner(prompt="x" * 20_000)),
    ],
)
def test_each_value_has_its_range(name: str, value: Any):
    with pytest.raises(UsageError, match="prompt" if name == "manner" else name) as raised:
        check(dataclasses.replace(SessionConfig(), **{name: value}))
    assert "\n" not in str(raised.value)
    assert len(str(raised.value)) < 200
