"""The closed domain: what is asked and what is answered, read from the package's ``intents/<language>.toml`` and checked.

An intent is one thing that people want, with the sentences that ask for it and the one answer it has. An entry with slots
is several intents: its lists are walked together, one intent for each place in them.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from duplexforge.errors import InputError, UsageError

__all__ = ["NOT_UNDERSTOOD", "Intent", "bare", "domain", "languages", "parse", "words"]

NOT_UNDERSTOOD = "not_understood"
"""The intent of whatever is in no other."""
_FOLDER = Path(__file__).with_name("intents")
_KEY = "key"
_FEWEST_ASKED = 4
_SCRIPTS = {"en": re.compile(r"[A-Za-z ,.?!']+"), "te": re.compile(r"[\u0c00-\u0c7f\u200c ,.?!]+")}
"""The letters a language is written in. Digits are in none: what is spoken is written as words."""


@dataclass(frozen=True)
class Intent:
    """One intent: its sentences for training and for validation, and its answer. ``unseen`` has sentences of no intent."""

    id: str
    language: str
    ask: tuple[str, ...]
    held_out: tuple[str, ...]
    answer: str
    unseen: tuple[str, ...] = ()
    framed: tuple[tuple[str, ...], ...] = ()
    """For each sentence of ``ask``, the same with words round it; none that validation has, or another intent."""

    @property
    def sentences(self) -> tuple[str, ...]:
        """Everything a user says in it."""
        return (*self.ask, *self.held_out, *self.unseen)


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[a-z]+(_[a-z]+)*$")
    ask: list[str] = Field(min_length=_FEWEST_ASKED)
    held_out: list[str] = Field(min_length=1)
    answer: str
    slots: dict[str, list[str]] = {}
    unseen: list[str] = []


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    language: str
    intent: list[_Entry]
    before: list[str] = []
    after: list[str] = []


def languages() -> tuple[str, ...]:
    """The languages there are intents in."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.toml")))


def domain(wanted: Sequence[str] = (), most: int | None = None) -> list[Intent]:
    """The intents of the languages ``wanted`` (none named: all), at most ``most`` of each, in the order of the files.

    Whatever the number, the intent of what is not understood is among them.
    """
    unknown = sorted(set(wanted) - set(languages()))
    if unknown:
        raise UsageError(f"there are no dialogues in {', '.join(unknown)}; there are some in {', '.join(languages())}")
    found: list[Intent] = []
    for language in languages():
        if not wanted or language in wanted:
            path = _FOLDER / f"{language}.toml"
            intents = parse(path.read_text(encoding="utf-8"), path.name)
            known = [intent for intent in intents if intent.id != NOT_UNDERSTOOD]
            # A small corpus too needs an answer to what it does not know.
            found += known[: None if most is None else max(most - 1, 1)]
            found += [intent for intent in intents if intent.id == NOT_UNDERSTOOD]
    return found


def parse(text: str, name: str) -> list[Intent]:
    """The intents of a file's ``text``; InputError that tells the first thing wrong with it, where there is one."""
    try:
        file = _File.model_validate(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise InputError(f"{name}: {error}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{name}, {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    intents = [intent for entry in file.intent for intent in _expanded(entry, file.language, name)]
    _check(intents, file.language, name)
    for frame in (*file.before, *file.after):
        _spoken(frame, file.language, f"{name}, before and after")
    if not (file.before or file.after):
        return intents
    known = {bare(sentence) for intent in intents for sentence in intent.sentences}
    return [replace(intent, framed=tuple(_framed(one, file, known) for one in intent.ask)) for intent in intents]


def words(sentence: str) -> list[str]:
    """The words of a sentence, their punctuation with them."""
    return sentence.split()


def bare(sentence: str) -> str:
    """A sentence as it is compared: small letters, no punctuation."""
    return " ".join(re.sub(r"[,.?!]", " ", sentence).lower().split())


def _expanded(entry: _Entry, language: str, name: str) -> Iterable[Intent]:
    lengths = {len(values) for values in entry.slots.values()}
    if entry.slots and (len(lengths) != 1 or _KEY not in entry.slots):
        raise InputError(f"{name}, {entry.id}: slots are lists of one length, and one of them is called {_KEY}")
    for place in range(lengths.pop() if lengths else 1):
        filled = {slot: values[place] for slot, values in entry.slots.items()}
        try:
            yield Intent(
                id="_".join([entry.id, *([filled[_KEY]] if filled else [])]),
                language=language,
                ask=tuple(sentence.format_map(filled) for sentence in entry.ask),
                held_out=tuple(sentence.format_map(filled) for sentence in entry.held_out),
                answer=entry.answer.format_map(filled),
                unseen=tuple(entry.unseen),
            )
        except (KeyError, ValueError, IndexError) as error:
            raise InputError(f"{name}, {entry.id}: a sentence names a slot that is not there ({error})") from error


def _framed(sentence: str, file: _File, known: Set[str]) -> tuple[str, ...]:
    """``sentence`` with each frame of the file round it, but for those that are a sentence of some intent."""
    inside = sentence.rstrip(".?!")
    both = [f"{frame} {sentence}" for frame in file.before] + [f"{inside}, {frame}" for frame in file.after]
    return tuple(one for one in both if bare(one) not in known)


def _spoken(sentence: str, language: str, where: str) -> None:
    # A language that is new here is taken as it is written.
    script = _SCRIPTS.get(language)
    if script and not script.fullmatch(sentence):
        raise InputError(f"{where}: “{sentence}” has a character that {language} is not spoken from")


def _check(intents: Sequence[Intent], language: str, name: str) -> None:
    ids: set[str] = set()
    answers: dict[str, str] = {}
    asked: dict[str, str] = {}
    for intent in intents:
        if intent.id in ids:
            raise InputError(f"{name}: there are two intents {intent.id}")
        ids.add(intent.id)
        # With one answer for two questions, a right answer would not show that the question was heard.
        first = answers.setdefault(bare(intent.answer), intent.id)
        if first != intent.id:
            raise InputError(f"{name}: {first} and {intent.id} have the same answer")
        for sentence in intent.sentences:
            if bare(sentence) in asked:
                other = asked[bare(sentence)]
                raise InputError(f"{name}: “{sentence}” is in {other} and in {intent.id}, or twice in one")
            asked[bare(sentence)] = intent.id
        for sentence in (*intent.sentences, intent.answer):
            _spoken(sentence, language, f"{name}, {intent.id}")
    if NOT_UNDERSTOOD not in ids:
        raise InputError(f"{name}: there is no intent {NOT_UNDERSTOOD}")
