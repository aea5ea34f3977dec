"""``duplexforge data dialogues``: the corpus' folder.

::

    <out>/train_pairs.json  validation_pairs.json  unseen_pairs.json     lists of pairs (``pairs.py``)
    <out>/dialogues.json                     settings, counts, hours, the measured pitch of every voice and emotion
    <out>/settings.json                      what the folder is made with; another choice wants another folder
    <out>/audio/questions/<split>/<language>/<intent>/<n>.flac
    <out>/audio/answers/<language>/<intent>/<voice>-<emotion>.flac  .json        an answer and the times of its words

``dialogues.json`` is written last: a folder that has it is whole, one without it is gone on with. The same choice gives the
same bytes, whatever the number of processes.
"""

from __future__ import annotations

import hashlib
import json
import multiprocessing
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from duplexforge.dialogues import sound
from duplexforge.dialogues.domain import Intent
from duplexforge.dialogues.espeak import library
from duplexforge.dialogues.pairs import Asker, Pair, dumped
from duplexforge.dialogues.plan import SPLITS, Answer, Asked, Choice, planned
from duplexforge.dialogues.report import SUMMARY, Report, counted
from duplexforge.dialogues.speaking import Spoken, speak_part, write_whole
from duplexforge.errors import UsageError

__all__ = ["LICENCE", "VERSION", "make", "settings_of"]

VERSION = 3
"""Of the sentences, voices and rules: a corpus of another version is another corpus."""
LICENCE = "text: Apache-2.0; speech: synthetic, by espeak-ng (GPL-3.0-or-later)"
_SETTINGS = "settings.json"
_AT_ONCE = 24


def make(
    intents: Sequence[Intent],
    out: Path,
    choice: Choice,
    *,
    jobs: int = 1,
    progress: Callable[[int, int], None] = lambda _done, _whole: None,
) -> Report:
    """Speak the corpus of ``intents`` into the folder ``out``, with ``jobs`` processes; what is there is not made again."""
    asked = planned(intents, choice)
    settings = settings_of(intents, choice)
    summary = out / SUMMARY
    _claim(out, settings)
    if summary.exists():
        return Report.from_json(json.loads(summary.read_text(encoding="utf-8")))
    version = library().version
    answers = list(dict.fromkeys(pair.answer for pair in asked))
    work: list[Asked | Answer] = [*answers, *asked]
    found: dict[str, Spoken] = {}
    for spoken in _all(work, out, jobs):
        found[spoken.path] = spoken
        progress(len(found), len(work))
    pairs = {split: [_pair(one, found[one.answer.path]) for one in asked if one.split == split] for split in SPLITS}
    for split in SPLITS:
        write_whole(out / f"{split}_pairs.json", dumped(pairs[split]))
    heard = [(answer, found[answer.path].pitch) for answer in answers]
    seconds = {split: sum(found[one.path].seconds for one in asked if one.split == split) for split in SPLITS}
    report = counted(asked, heard, seconds, sum(found[answer.path].seconds for answer in answers))
    report.settings |= settings | {"espeak_ng": version, "licence": LICENCE}
    write_whole(summary, json.dumps(report.to_json(), indent=1, ensure_ascii=False) + "\n")
    return report


def settings_of(intents: Sequence[Intent], choice: Choice) -> dict[str, Any]:
    """What makes one corpus another: version, sentences and choice, as ``settings.json`` has them."""
    told: dict[str, Any] = {
        "version": VERSION,
        "rate": sound.RATE,
        "intents": [f"{one.language}/{one.id}" for one in intents],
    }
    # Whatever anybody changes in a sentence makes another corpus.
    told["sentences"] = hashlib.sha256(repr([*map(asdict, intents)]).encode()).hexdigest()
    # Through JSON, so that what is read back compares equal.
    return dict(json.loads(json.dumps(told | asdict(choice))))


def _claim(out: Path, settings: dict[str, Any]) -> None:
    place = out / _SETTINGS
    if place.exists():
        if json.loads(place.read_text(encoding="utf-8")) != settings:
            raise UsageError(f"{out} holds dialogues made with other settings: choose another --out, or remove it")
        return
    if out.exists() and any(out.iterdir()):
        raise UsageError(f"{out} is not empty and holds no dialogues: choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_whole(place, json.dumps(settings, indent=1, ensure_ascii=False) + "\n")


def _all(work: Sequence[Asked | Answer], out: Path, jobs: int) -> Iterator[Spoken]:
    parts = [work[place : place + _AT_ONCE] for place in range(0, len(work), _AT_ONCE)]
    speak = partial(speak_part, out)
    with ExitStack() as stack:
        results: Iterable[list[Spoken]]
        if jobs > 1:
            # Forked before anything is spoken, and quicker than a fresh interpreter.
            context = multiprocessing.get_context("fork")
            results = stack.enter_context(ProcessPoolExecutor(jobs, mp_context=context)).map(speak, parts)
        else:
            results = map(speak, parts)
        for part in results:
            yield from part


def _pair(asked: Asked, answer: Spoken) -> Pair:
    return Pair(
        input_path=f"{asked.path}.flac",
        target_path=f"{asked.answer.path}.flac",
        speaker_id=asked.answer.speaker,
        emotion_id=asked.answer.emotion,
        language=asked.answer.intent.language,
        intent=asked.answer.intent.id,
        question=asked.question,
        answer=asked.answer.intent.answer,
        words=list(answer.words),
        user=Asker(**asdict(asked.user)),
        held_out=asked.held_out,
        licence=LICENCE,
    )
