"""One question or one answer, spoken into its file. A file that is there is not spoken again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from duplexforge.dialogues import sound
from duplexforge.dialogues.accent import accented
from duplexforge.dialogues.domain import words
from duplexforge.dialogues.espeak import Manner, Said, Sentence, library
from duplexforge.dialogues.pairs import Word
from duplexforge.dialogues.pitch import median_pitch
from duplexforge.dialogues.plan import Answer, Asked
from duplexforge.dialogues.styles import STYLES, answering
from duplexforge.voices import EMOTIONS

__all__ = ["Spoken", "speak_part", "write_audio", "write_whole"]

_LAUGH = {"en": "ha ha ha,", "te": "హ హ హ,"}


@dataclass(frozen=True)
class Spoken:
    """What is known of a file that was spoken: seconds, and of an answer its words and its median pitch (Hz)."""

    path: str
    seconds: float
    words: tuple[Word, ...] = ()
    pitch: float = 0.0


def speak_part(out: Path, part: Sequence[Asked | Answer]) -> list[Spoken]:
    """Speak some of a corpus into the folder ``out``."""
    return [_answer(out, one) if isinstance(one, Answer) else _question(out, one) for one in part]


def write_whole(path: Path, text: str) -> None:
    """Write a file that is there whole or not at all."""
    part = path.with_suffix(path.suffix + ".part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _question(out: Path, asked: Asked) -> Spoken:
    import soundfile as sf

    path = out / f"{asked.path}.flac"
    if path.exists():
        return Spoken(asked.path, sf.info(path).duration)
    user = asked.user
    manner = Manner(voice=user.variant, pitch=user.pitch, speed=user.rate)
    said = library().say(Sentence(tuple(words(asked.question))), manner)
    wave = sound.question(sound.resampled(said.samples), user.level, user.noise, asked.path)
    write_audio(path, wave)
    return Spoken(asked.path, len(wave) / sound.RATE)


def _answer(out: Path, answer: Answer) -> Spoken:
    path, facts = out / f"{answer.path}.flac", out / f"{answer.path}.json"
    if path.exists() and facts.exists():
        told = json.loads(facts.read_text(encoding="utf-8"))
        return Spoken(answer.path, told["seconds"], tuple(Word(**word) for word in told["words"]), told["pitch"])
    said = _said(answer)
    energy = STYLES[EMOTIONS[answer.emotion]].energy
    wave, cut = sound.answer(sound.resampled(said.samples), energy)
    spoken = Spoken(
        answer.path,
        len(wave) / sound.RATE,
        _times(said, words(answer.intent.answer), cut, len(wave)),
        round(median_pitch(wave, sound.RATE), 1),
    )
    write_audio(path, wave)
    told = {"seconds": spoken.seconds, "pitch": spoken.pitch, "words": [word.model_dump() for word in spoken.words]}
    write_whole(facts, json.dumps(told, ensure_ascii=False) + "\n")
    return spoken


def _said(answer: Answer) -> Said:
    language, emotion = answer.intent.language, EMOTIONS[answer.emotion]
    style, plain = STYLES[emotion], words(answer.intent.answer)
    # The mark at the end makes the melody.
    sounds = (*plain[:-1], plain[-1].rstrip(".?!") + style.mark)
    if language == "en" and emotion.startswith("telugu"):
        sounds = accented(library(), sounds, heavy=emotion.endswith("heavy"))
    sentence = Sentence(sounds, prefix=_LAUGH[language] if style.laugh else "")
    return library().say(sentence, answering(language, answer.speaker, emotion))


def _times(said: Said, plain: Sequence[str], cut: int, samples: int) -> tuple[Word, ...]:
    def within(seconds: float) -> float:
        return round(min(max(seconds - cut / sound.RATE, 0.0), samples / sound.RATE), 3)

    return tuple(Word(word=plain[time.word], start=within(time.start), end=within(time.end)) for time in said.words)


def write_audio(path: Path, wave: sound.Wave) -> None:
    """Write a FLAC file, 16 bit, that is there whole or not at all."""
    import soundfile as sf

    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    sf.write(part, np.clip(wave, -1.0, 1.0), sound.RATE, format="FLAC", subtype="PCM_16")
    part.replace(path)
