"""``duplexforge data speakers``: a training folder in which every file has its speaker's number and a weight.

It is the folder of ``data speech``, split by whole speaker, with two more columns. ``label`` is the speaker's own number
where all speakers have one (a name that is a number, or one of the four voices of a pairs file), else its place among the
sorted names; the name stands beside it. ``weight`` makes every speaker of a split as likely as any other when crops are drawn
(:meth:`~duplexforge.training.speech.Speech.crops`): nothing is thrown away for balance.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from duplexforge.errors import InputError
from duplexforge.training.preparing import SYNTHETIC, UNKNOWN, Clip, Source
from duplexforge.training.sources import decode
from duplexforge.training.speech import SpeechRow
from duplexforge.voices import VOICES

__all__ = ["Named", "answers", "balanced", "labels"]


class _Target(BaseModel):
    """What is wanted of a pair: its answer and who gives it."""

    model_config = ConfigDict(frozen=True)

    target_path: str
    speaker_id: int = Field(ge=0)
    language: str = "unknown"
    licence: str | None = None
    synthetic: bool = False


_TARGETS: TypeAdapter[list[_Target]] = TypeAdapter(list[_Target])


def answers(pairs: Path) -> Iterator[Clip]:
    """The answers of a pairs file, each file once, under the name (or else the number) of the voice that gives them."""
    try:
        found = _TARGETS.validate_json(pairs.read_bytes())
    except OSError as error:
        raise InputError(f"cannot read {pairs}: {error.strerror}") from error
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise InputError(f"{pairs}, {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    for target in {one.target_path: one for one in found}.values():
        name = VOICES[target.speaker_id].key if target.speaker_id < len(VOICES) else str(target.speaker_id)
        who = SYNTHETIC + name if target.synthetic else name
        try:
            wave = decode(pairs.parent / target.target_path, target.target_path)
        except InputError as error:
            yield Clip(target.target_path, who, reason=error.reason, sentence=str(error))
        else:
            yield Clip(target.target_path, who, wave, licence=target.licence, language=target.language)


class Named:
    """Clips less those that name no speaker. ``left_out`` counts them."""

    def __init__(self, clips: Source) -> None:
        self._clips = clips
        self.left_out: dict[str, int] = {}

    def clips(self) -> Iterator[Clip]:
        """Those with a speaker, and whatever could not be read, which is told in its own place."""
        for clip in self._clips:
            if clip.speaker == UNKNOWN and clip.wave is not None:
                self.left_out["no_speaker"] = self.left_out.get("no_speaker", 0) + 1
            else:
                yield clip


def labels(names: Iterable[str]) -> dict[str, int]:
    """A number for each speaker: their own where all have one and no two the same, else their places in order."""
    known = sorted(set(names))
    own = [_own(name) for name in known]
    if None not in own and len(set(own)) == len(known):
        return {name: number for name, number in zip(known, own, strict=True) if number is not None}
    return {name: place for place, name in enumerate(known)}


def balanced(rows: Sequence[SpeechRow]) -> list[SpeechRow]:
    """``rows`` with labels, and weights under which all speakers of a split have the same share."""
    numbers = labels(row.speaker for row in rows)
    spoken: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for row in rows:
        spoken[row.split][row.speaker] += row.samples
    even = {split: sum(mine.values()) / len(mine) for split, mine in spoken.items()}

    def finished(row: SpeechRow) -> SpeechRow:
        weight = float(f"{even[row.split] / spoken[row.split][row.speaker]:.6g}")
        return row.model_copy(update={"label": numbers[row.speaker], "weight": weight})

    return [finished(row) for row in rows]


def _own(name: str) -> int | None:
    bare = name.removeprefix(SYNTHETIC)
    if bare.isascii() and bare.isdecimal():
        return int(bare)
    return next((voice.id for voice in VOICES if voice.key == bare), None)
