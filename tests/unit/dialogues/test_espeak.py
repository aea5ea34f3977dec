"""espeak-ng: times of words from its events, and what comes out depends on nothing but sentence and manner."""

from __future__ import annotations

import ctypes
import pickle

import numpy as np
import pytest

from duplexforge.dialogues import accent, espeak, sound
from duplexforge.dialogues.accent import telugu
from duplexforge.dialogues.espeak import RATE, Espeak, Manner, Sentence, WordTime, word_times
from duplexforge.errors import InputError, ModelError

WORD, PHONEME = 1, 7


def test_a_missing_library_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise OSError("no such file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(ModelError, match="apt-get install espeak-ng") as found:
        Espeak()
    assert found.value.exit_code == 69


def test_words_end_where_the_next_begins_or_a_pause_does() -> None:
    events = [
        (WORD, 0, 0, b""),
        (PHONEME, 0, 0, b"j"),
        (WORD, 4, 2205, b""),
        (PHONEME, 4, 6615, b"_:"),
        (WORD, 8, 11_025, b""),
        (PHONEME, 8, 22_050, b"_"),
        (PHONEME, 8, 24_000, b"_"),
    ]
    assert word_times(Sentence(("Yes", "so,", "here.")), events) == (
        WordTime(0, 0.0, 0.1),
        WordTime(1, 0.1, 0.3),
        WordTime(2, 0.5, 1.0),
    )


def test_words_that_run_together_share_their_time_by_letters() -> None:
    # "of the" is told as one word.
    events = [(WORD, 0, 0, b""), (WORD, 5, 2205, b""), (WORD, 13, 13_230, b""), (PHONEME, 13, 22_050, b"_")]
    times = word_times(Sentence(("cups", "of", "that", "tea.")), events)
    assert [time.word for time in times] == [0, 1, 2, 3]
    assert times[1] == WordTime(1, 0.1, pytest.approx(0.267, abs=0.001))
    assert times[2] == WordTime(2, pytest.approx(0.267, abs=0.001), 0.6)


def test_a_laugh_before_the_words_is_none_of_them() -> None:
    events = [(WORD, 0, 0, b""), (WORD, 3, 500, b""), (WORD, 7, 22_050, b""), (PHONEME, 7, 33_075, b"_")]
    assert word_times(Sentence(("Yes.",), prefix="ha ha,"), events) == (WordTime(0, 1.0, 1.5),)


def test_no_event_at_all_gives_no_times() -> None:
    assert word_times(Sentence(("Yes.",)), []) == ()


@pytest.mark.parametrize(
    ("english", "there"),
    [
        ("D_@2", "d[|a"),
        ("w_'E_D_3", "v|'e|d[|a|r"),
        ("t_r_'eI_n", "t.|r|'e:|n"),
        ("T_'a_N_k", "t[|'a|n|g|k"),
        ("I2_;", "i"),
        ("z_'i@_d", "dZ|'i|j|a|r|d."),
    ],
)
def test_english_sounds_become_telugu_ones(english: str, there: str) -> None:
    assert telugu(english) == there


class Heard:
    """Stands for the library where only phonemes are asked for."""

    def phonemes(self, words: tuple[str, ...], voice: str) -> tuple[str, ...]:
        assert voice == "en-us"
        known = {"The": "D_@2", "sun": "s_'V_n", "waits.": "w_'eI_t_s"}
        return tuple(known[word] for word in words)


def test_a_mild_accent_changes_the_words_where_it_is_heard_first(monkeypatch: pytest.MonkeyPatch) -> None:
    heard = Heard()
    words = ("The", "sun", "waits.")
    assert accent.accented(heard, words, heavy=True) == ("[[d[|a]]", "[[s|'a|n]]", "[[v|'e:|t.|s]].")  # type: ignore[arg-type]
    assert accent.accented(heard, words, heavy=False) == ("[[d[|a]]", "sun", "[[v|'e:|t.|s]].")  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def library() -> Espeak:
    return espeak.library()


@pytest.mark.system
def test_the_same_sentence_sounds_the_same_whatever_was_said_before(library: Espeak) -> None:
    sentence = Sentence(("Good", "morning", "to", "you."))
    for voice in ("en-us+m3", "en-us+m4", "te+f2"):
        first = library.say(sentence, Manner(voice))
        library.say(Sentence(("Something", "else.")), Manner("en-us+f5", pitch=70))
        library.phonemes(("Something", "else."), "en-us")
        ctypes.CDLL(None).rand()
        again = library.say(sentence, Manner(voice))
        assert np.array_equal(first.samples, again.samples)
        assert first.words == again.words


@pytest.mark.system
@pytest.mark.parametrize(
    ("voice", "text"),
    [
        ("en-us+m3", "Three cups of the tea, and it is hot."),
        ("en-us+f2", "The capital is Berlin, a big city."),
        ("te+f3", "మీ రైలు ఐదు గంటలకు బయలుదేరుతుంది."),
    ],
)
def test_words_are_where_the_sound_is(library: Espeak, voice: str, text: str) -> None:
    words = tuple(text.split())
    said = library.say(Sentence(words), Manner(voice))
    assert [time.word for time in said.words] == list(range(len(words)))
    wave = said.samples.astype(np.float64)
    whole = (wave**2).mean()
    for before, after in zip(said.words, said.words[1:], strict=False):
        assert before.start < before.end <= after.start
    for time in said.words:
        part = wave[round(time.start * RATE) : round(time.end * RATE)]
        assert 10 * np.log10((part**2).mean() / whole) > -20, time
    # Behind the last word there is nothing but the pause.
    rest = wave[round((said.words[-1].end + 0.02) * RATE) :]
    assert (rest**2).mean() < whole * 1e-3


@pytest.mark.system
def test_a_heavy_accent_is_heard_in_the_sound_of_every_word(library: Espeak) -> None:
    words = ("The", "weather", "was", "dry.")
    plain = library.say(Sentence(words), Manner("te+m3"))
    heavy = library.say(Sentence(accent.accented(library, words, heavy=True)), Manner("te+m3"))
    mild = library.say(Sentence(accent.accented(library, words, heavy=False)), Manner("te+m3"))
    assert [time.word for time in heavy.words] == [time.word for time in mild.words] == [0, 1, 2, 3]
    sounds = {pickle.dumps(said.samples) for said in (plain, heavy, mild)}
    assert len(sounds) == 3


@pytest.mark.system
def test_no_sound_of_the_accent_is_lost(library: Espeak) -> None:
    """The Telugu voice drops a mnemonic that it does not know without a word: each one must make the sentence longer."""
    alone = len(library.say(Sentence(("[[m|m]]",)), Manner("te+m3")).samples)
    for sound_of in sorted({part for there in accent.SOUNDS.values() for part in there.split("_") if part}):
        longer = len(library.say(Sentence((f"[[m|{sound_of}|m]]",)), Manner("te+m3")).samples)
        assert longer > alone + 0.015 * RATE, sound_of


@pytest.mark.system
def test_an_unknown_voice_and_an_empty_sentence_are_refused(library: Espeak) -> None:
    with pytest.raises(InputError, match="says nothing to “hello” in the voice nobody"):
        library.say(Sentence(("hello",)), Manner("nobody"))
    with pytest.raises(InputError, match="says nothing"):
        library.say(Sentence((".",)), Manner("en-us"))
    with pytest.raises(InputError, match="cannot pronounce “hello” in the voice nobody"):
        library.phonemes(("hello",), "nobody")
    assert library.version.startswith("1.")
    assert len(sound.resampled(library.say(Sentence(("hello",)), Manner("en-us")).samples)) > 0.2 * sound.RATE
