"""``/v1/realtime``: sound on its way in and out."""

from __future__ import annotations

import base64
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import settings as trying
from hypothesis import strategies as st

from duplexforge.errors import InputError
from duplexforge.serving.packets import AudioOutput, Floats, pcm16, samples_of
from duplexforge.serving.protocols.g711 import decoded, encoded
from duplexforge.serving.protocols.realtime_settings import AudioFormat, Pcm, Pcma, Pcmu
from duplexforge.serving.protocols.realtime_sound import Speaking, heard, rate_of
from tests.unit.serving.running import noise

FORMATS: list[AudioFormat] = [Pcm(), Pcmu(type="audio/pcmu"), Pcma(type="audio/pcma")]
OF = {"audio/pcm": None, "audio/pcmu": "mu", "audio/pcma": "a"}


def said(texts: list[str], form: AudioFormat) -> Floats:
    """What a client makes of it."""
    data = b"".join(base64.b64decode(text) for text in texts)
    return samples_of(data) if isinstance(form, Pcm) else decoded(data, "mu" if isinstance(form, Pcmu) else "a")


def test_rates() -> None:
    assert [rate_of(form) for form in FORMATS] == [24000, 8000, 8000]


@pytest.mark.parametrize("form", FORMATS)
def test_sound_comes_in(form: AudioFormat) -> None:
    samples = noise(0.1, rate_of(form))
    law = OF[form.type]
    data = pcm16(samples) if law is None else encoded(samples, "mu" if law == "mu" else "a")
    found = heard(base64.b64encode(data).decode(), form)
    np.testing.assert_allclose(found, samples, atol=1e-4 if law is None else 0.02)
    assert len(heard("", form)) == 0


@pytest.mark.parametrize(("text", "sentence"), [("a", "no base64"), ("ä" * 4, "base64|ASCII"), ("AAAA", "left over")])
def test_what_is_no_sound(text: str, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence) as raised:
        heard(text, Pcm())
    assert raised.value.reason == "invalid_audio"


@pytest.mark.parametrize("form", FORMATS)
@trying(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 4000), max_size=6))
def test_how_an_answer_is_cut_changes_nothing(form: AudioFormat, cuts: list[int]) -> None:
    samples = noise(0.25)
    edges = [0, *sorted(cuts), len(samples)]
    whole, pieces = Speaking(form), Speaking(form)
    wanted = said([whole.push(AudioOutput(pcm16(samples), 16000)), whole.rest()], form)
    texts = [pieces.push(AudioOutput(pcm16(samples[first:last]), 16000)) for first, last in itertools.pairwise(edges)]
    got = said([*texts, pieces.rest()], form)
    assert len(got) == len(wanted) == round(0.25 * rate_of(form))
    # A level more or less where a sample lies on the edge between two.
    np.testing.assert_allclose(got, wanted, atol=1e-3 if isinstance(form, Pcm) else 0.04)


def test_an_answer_without_sound_has_no_rest() -> None:
    assert Speaking(Pcm()).rest() == ""
