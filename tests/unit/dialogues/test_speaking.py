"""One file at a time: what the times of words come to when silence is cut, and files that are whole or not there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from duplexforge.dialogues import accent, speaking
from duplexforge.dialogues.domain import Intent
from duplexforge.dialogues.espeak import RATE, Manner, Said, Sentence, WordTime
from duplexforge.dialogues.plan import Answer, Asked
from duplexforge.dialogues.speaking import speak_part, write_audio, write_whole
from duplexforge.dialogues.styles import User
from duplexforge.voices import EMOTIONS

TEA = Intent("tea", "en", ("Is there tea?",), ("Any tea?",), "The tea is hot.")
RAIN = Intent("rain", "te", ("వాన పడుతుందా?",), ("వాన ఉందా?",), "రేపు పడవచ్చు.")


class Tone:
    """Stands for espeak-ng: half a second of silence, then a tone of 0.25 s for each word; it keeps what it was given."""

    def __init__(self) -> None:
        self.said: list[tuple[Sentence, Manner]] = []

    def say(self, sentence: Sentence, manner: Manner) -> Said:
        self.said.append((sentence, manner))
        count = len(sentence.words)
        times = np.arange(round(0.25 * count * RATE)) / RATE
        tone = sum(np.sin(2 * np.pi * 150 * k * times) / k for k in range(1, 9))
        samples = np.concatenate([np.zeros(RATE // 2), 8000 * tone, np.zeros(RATE // 4)]).astype(np.int16)
        words = tuple(WordTime(number, 0.5 + 0.25 * number, 0.75 + 0.25 * number) for number in range(count))
        return Said(samples, words)


@pytest.fixture
def tone(monkeypatch: pytest.MonkeyPatch) -> Tone:
    found = Tone()
    monkeypatch.setattr(speaking, "library", lambda: found)
    return found


def test_the_times_of_words_move_with_the_cut(tone: Tone, tmp_path: Path) -> None:
    answer = Answer(TEA, 0, 0)
    (spoken,) = speak_part(tmp_path, [answer])
    assert [word.word for word in spoken.words] == ["The", "tea", "is", "hot."]
    # Of the half second before, 50 ms are left.
    assert [word.start for word in spoken.words] == pytest.approx([0.05, 0.3, 0.55, 0.8], abs=0.005)
    assert spoken.seconds == pytest.approx(0.05 + 1.0 + 0.08, abs=0.005)
    assert spoken.pitch == pytest.approx(150, rel=0.01)
    assert sf.info(tmp_path / "audio/answers/en/tea/male_young-neutral.flac").duration == spoken.seconds
    told = json.loads((tmp_path / "audio/answers/en/tea/male_young-neutral.json").read_text(encoding="utf-8"))
    assert told.keys() == {"seconds", "pitch", "words"}


def test_a_file_that_is_there_is_read_and_not_spoken(tone: Tone, tmp_path: Path) -> None:
    asked = Asked("train", "ask0-0", "Is there tea?", User("en-us+m2", 40, 160, -20.0, 12.0), Answer(TEA, 1, 0))
    first = speak_part(tmp_path, [asked.answer, asked])
    assert speak_part(tmp_path, [asked.answer, asked]) == first
    assert len(tone.said) == 2
    assert tone.said[1] == (Sentence(("Is", "there", "tea?")), Manner("en-us+m2", pitch=40, speed=160))


@pytest.mark.parametrize(("emotion", "mark"), [("neutral", "."), ("happy", "!"), ("surprise", "?"), ("thinking", ".")])
def test_the_mark_makes_the_melody_and_stays_out_of_the_words(
    tone: Tone, tmp_path: Path, emotion: str, mark: str
) -> None:
    (spoken,) = speak_part(tmp_path, [Answer(TEA, 0, EMOTIONS.index(emotion))])
    assert tone.said[0][0] == Sentence(("The", "tea", "is", "hot" + mark))
    assert spoken.words[-1].word == "hot."


@pytest.mark.parametrize(("intent", "laugh"), [(TEA, "ha ha ha,"), (RAIN, "హ హ హ,")])
def test_a_laugh_stands_before_the_words(tone: Tone, tmp_path: Path, intent: Intent, laugh: str) -> None:
    speak_part(tmp_path, [Answer(intent, 0, EMOTIONS.index("laugh"))])
    assert tone.said[0][0].prefix == laugh


def test_only_english_gets_an_accent(tone: Tone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[bool] = []

    def accented(library: object, words: tuple[str, ...], *, heavy: bool) -> tuple[str, ...]:
        given.append(heavy)
        return words

    monkeypatch.setattr(speaking, "accented", accented)
    for name in ("telugu_heavy", "telugu_mild", "neutral"):
        number = EMOTIONS.index(name)
        speak_part(tmp_path, [Answer(TEA, 0, number), Answer(RAIN, 0, number)])
    assert given == [True, False]
    assert [manner.voice for _, manner in tone.said] == ["te+m3"] * 4 + ["en-us+m3", "te+m3"]


def test_files_appear_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "deep" / "a.flac"
    write_audio(path, np.full(1600, 2.0, np.float32))
    wave, rate = sf.read(path)
    assert (rate, len(wave)) == (16_000, 1600)
    assert wave.max() == pytest.approx(1.0, abs=1e-4)

    def full(*_: object, **__: object) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr(sf, "write", full)
    with pytest.raises(OSError, match="no space"):
        write_audio(tmp_path / "b.flac", wave.astype(np.float32))
    assert not (tmp_path / "b.flac").exists()
    write_whole(tmp_path / "c.json", "నమస్కారం")
    assert (tmp_path / "c.json").read_text(encoding="utf-8") == "నమస్కారం"
    assert not list(tmp_path.rglob("*.part"))


def test_every_sound_of_the_table_keeps_its_stress() -> None:
    for english, there in accent.SOUNDS.items():
        assert accent.telugu(english) == there.replace("_", "|")
        if there:
            assert accent.telugu(f"m_'{english}_n") == f"m|'{there.replace('_', '|')}|n"
