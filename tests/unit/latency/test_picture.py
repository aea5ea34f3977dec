"""The picture is a PNG of the report's figures, the same for the same figures."""

from __future__ import annotations

import struct

import pytest

from duplexforge.latency import picture
from duplexforge.latency.turn import Turn
from tests.unit.latency.made import report


def test_a_png_of_its_size() -> None:
    body = picture.draw(report())
    assert body.startswith(b"\x89PNG")
    width, height = struct.unpack(">II", body[16:24])
    assert 800 < width < 1200
    assert 150 < height < 700
    assert picture.draw(report()) == body


def test_other_figures_and_random_weights_show() -> None:
    first = picture.draw(report())
    assert picture.draw(report(random=False)) != first
    assert picture.draw(report(clock="cpu")) != first
    assert picture.draw(report(turns=[Turn("", 0.0, True, {"say": [0.0, 90.0]})])) != first


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    assert picture.available()
    monkeypatch.setattr(picture, "find_spec", lambda name: None)
    assert not picture.available()
