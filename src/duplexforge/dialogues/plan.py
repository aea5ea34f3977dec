"""What a corpus will hold, before anything is spoken: which sentence, by whom, and who answers how.

Every choice is drawn from the seed and the place (split, intent, sentence, variant), so that more variants, another language
or fewer intents change no pair that both corpora have.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from duplexforge.dialogues.domain import NOT_UNDERSTOOD, Intent
from duplexforge.dialogues.styles import User, held_out_user, user
from duplexforge.voices import EMOTIONS, VOICES

__all__ = ["SPLITS", "Answer", "Asked", "Choice", "planned"]

SPLITS = ("train", "validation", "unseen")
"""The files of a corpus; ``unseen`` has questions of no intent, whose answer is that they were not understood."""


@dataclass(frozen=True)
class Choice:
    """What the maker of a corpus chooses: seed, spoken variants of each sentence, those of them with other words round it,
    share in noise, share of neutral answers."""

    seed: int = 0
    variants: int = 6
    framed: int = 2
    noise: float = 0.3
    neutral: float = 0.4
    speakers: tuple[int, ...] = tuple(voice.id for voice in VOICES)
    emotions: tuple[int, ...] = tuple(range(len(EMOTIONS)))


@dataclass(frozen=True)
class Answer:
    """An answer as one voice gives it with one emotion: a file of its own."""

    intent: Intent
    speaker: int
    emotion: int

    @property
    def path(self) -> str:
        """Where it lies, without its suffix."""
        voice, emotion = VOICES[self.speaker].key, EMOTIONS[self.emotion]
        return f"audio/answers/{self.intent.language}/{self.intent.id}/{voice}-{emotion}"


@dataclass(frozen=True)
class Asked:
    """One pair: who asks which sentence, and the answer. ``held_out`` as in :class:`~duplexforge.dialogues.pairs.Pair`."""

    split: str
    number: str
    question: str
    user: User
    answer: Answer
    held_out: str = ""

    @property
    def path(self) -> str:
        """Where the question lies, without its suffix."""
        intent = self.answer.intent
        return f"audio/questions/{self.split}/{intent.language}/{intent.id}/{self.number}"


def planned(intents: Sequence[Intent], choice: Choice) -> list[Asked]:
    """Every pair of the corpus, in order."""
    return [asked for intent in intents for asked in _of(intent, choice)]


def _of(intent: Intent, choice: Choice) -> Iterator[Asked]:
    for place, sentence in enumerate(intent.ask):
        for variant in range(choice.variants):
            yield _pair(intent, choice, "train", f"ask{place}-{variant}", sentence)
        for variant in range(choice.framed if intent.framed and intent.framed[place] else 0):
            number = f"ask{place}-framed{variant}"
            random = Random(f"{choice.seed}/{intent.language}/{intent.id}/frame/{number}")
            yield _pair(intent, choice, "train", number, random.choice(intent.framed[place]))
    for place, sentence in enumerate(intent.held_out):
        yield _pair(intent, choice, "validation", f"held{place}-wording", sentence, "wording")
        yield _pair(intent, choice, "validation", f"held{place}-both", sentence, "both")
    yield _pair(intent, choice, "validation", "ask0-voice", intent.ask[0], "voice")
    if intent.id == NOT_UNDERSTOOD:
        for place, sentence in enumerate(intent.unseen):
            yield _pair(intent, choice, "unseen", f"unseen{place}", sentence, "unseen")


def _pair(intent: Intent, choice: Choice, split: str, number: str, sentence: str, held_out: str = "") -> Asked:
    random = Random(f"{choice.seed}/{intent.language}/{intent.id}/{split}/{number}")
    ask = held_out_user if held_out in ("voice", "both") else user
    who = ask(intent.language, random, choice.noise)
    speaker = random.choice(choice.speakers)
    emotion = random.choice(choice.emotions)
    # Drawn before it is asked for, so that the share of neutral answers changes no user.
    if random.random() < choice.neutral and 0 in choice.emotions:
        emotion = 0
    return Asked(split, number, sentence, who, Answer(intent, speaker, emotion), held_out)
