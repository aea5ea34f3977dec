"""One question and its answer, as ``train_pairs.json`` and ``validation_pairs.json`` list them."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from duplexforge.errors import InputError

__all__ = ["Asker", "Pair", "Word", "dumped", "read"]


class Word(BaseModel):
    """A word of the answer and when it is spoken, in seconds of the answer's file."""

    model_config = ConfigDict(frozen=True)

    word: str
    start: float
    end: float


class Asker(BaseModel):
    """Who asks, in espeak-ng's units; ``noise`` is the signal-to-noise ratio in dB where noise was added."""

    model_config = ConfigDict(frozen=True)

    variant: str
    pitch: int
    rate: int
    level: float
    noise: float | None = None


class Pair(BaseModel):
    """A question's file and its answer's, both paths from the corpus' folder, and all that is known of them.

    ``held_out`` says what training has not: the ``wording``, the ``voice``, or ``both``; ``unseen`` is a question of no
    intent; empty in training.
    """

    model_config = ConfigDict(frozen=True)

    input_path: str
    target_path: str
    speaker_id: int
    emotion_id: int
    language: str
    intent: str
    question: str
    answer: str
    words: list[Word]
    user: Asker
    held_out: str = ""
    synthetic: bool = True
    licence: str


_PAIRS: TypeAdapter[list[Pair]] = TypeAdapter(list[Pair])


def dumped(pairs: list[Pair]) -> str:
    """The JSON of a list of pairs, one to a line."""
    # A line a pair, so that grep and diff are of use, and still one JSON list.
    return "[\n" + ",\n".join(pair.model_dump_json() for pair in pairs) + "\n]\n"


def read(path: Path) -> list[Pair]:
    """The pairs of a file; InputError that says what is wrong with it."""
    try:
        found: list[Pair] = _PAIRS.validate_json(path.read_bytes())
    except OSError as error:
        raise InputError(
            f"cannot read {path}: {error.strerror}; duplexforge data dialogues makes such files"
        ) from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{path}, {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    return found
