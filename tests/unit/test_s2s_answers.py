"""`benchmarks/s2s_answers.py` on a corpus of made sounds: a model that says what it should, and one that knows nothing."""

from __future__ import annotations

import json
import sys
from argparse import Namespace
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))

import s2s_answers as bench
from answers_corpus import Corpus
from s2s_answers import Judges, Said

from duplexforge.dialogues.pairs import Asker, Pair, Word, dumped
from duplexforge.models.base import open_mode
from duplexforge.models.s2s import weights as files
from duplexforge.models.s2s.plain_arrays import drawn
from tests.unit.models.s2s_made import SMALL
from tests.unit.test_answers_heard import word

ANSWERS = {"one": "Mostly numbers.", "two": "Our doors close at eight.", "three": "I will say it once more."}
PITCHES = (120.0, 210.0)
LAUGH = 0.3


def pair(folder: Path, split: str, place: int, held_out: str = "", emotion: int = 0) -> Pair:
    """One pair with its files: intent and voice follow from ``place``."""
    intent, voice = list(ANSWERS)[place % 3], place // 3 % 2
    asked, said = f"{split}-{place}.flac", f"answer-{intent}-{voice}-{emotion}.flac"
    sf.write(folder / asked, word(place % 3 + 10), 16_000)
    wave = word(place % 3, PITCHES[voice] * (1 + emotion / 30), tract=1 + 0.2 * voice)
    start = LAUGH if emotion == 2 else 0.0
    sf.write(folder / said, np.concatenate([word(99)[: round(start * 16_000)], wave]), 16_000)
    return Pair(
        input_path=asked,
        target_path=said,
        speaker_id=voice,
        emotion_id=emotion,
        language="en",
        intent=intent,
        question="?",
        answer=ANSWERS[intent],
        words=[Word(word="x", start=start, end=start + 0.1)],
        user=Asker(variant="en", pitch=50, rate=170, level=-20),
        held_out=held_out,
        licence="made",
    )


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A corpus of three intents and two voices, each answer neutral, happy and laughing."""
    found = tmp_path_factory.mktemp("dialogues")
    train = [pair(found, "train", place, emotion=emotion) for emotion in range(3) for place in range(6)]
    validation = [pair(found, "validation", place, "wording" if place % 2 else "voice") for place in range(6)]
    validation.append(pair(found, "validation", 1, "both", emotion=2))
    for split, pairs in (
        ("train", train),
        ("validation", validation),
        ("unseen", [pair(found, "unseen", 0, "unseen")]),
    ):
        (found / f"{split}_pairs.json").write_text(dumped(pairs), encoding="utf-8")
    pitch = {key: {"neutral": hz} for key, hz in zip(("male_young", "male_mature"), PITCHES, strict=True)}
    (found / "dialogues.json").write_text(json.dumps({"pitch": pitch}), encoding="utf-8")
    (found / "settings.json").write_text(json.dumps({"sentences": "abc"}), encoding="utf-8")
    return found


@pytest.fixture(scope="module")
def judges(folder: Path) -> Judges:
    return Judges(Corpus(folder), open_mode("base"), seed=0)


def test_a_corpus_tells_intents_and_cuts_laughs(folder: Path) -> None:
    corpus = Corpus(folder)
    assert corpus.answers == {"en": {answer: intent for intent, answer in ANSWERS.items()}}
    plain, laughing = corpus.validation[1], corpus.validation[-1]
    wave = np.arange(16_000, dtype=np.float32)
    assert len(corpus.spoken(plain, wave)) == 16_000
    assert corpus.spoken(laughing, wave)[0] == round(LAUGH * 16_000)
    assert sorted(corpus.shelves()) == [("en", 0), ("en", 1)]


def test_the_true_answer_is_right_by_every_measure(folder: Path, judges: Judges) -> None:
    for one in Corpus(folder).validation:
        true, frames = judges.coded(one)
        item = judges.item(one, Said(one.answer, true, frames, ended=True))
        spoken = {name: right for name, right in item.found.items() if not name.startswith(bench.SPHINX)}
        assert all(spoken.values()), spoken
        assert item.length == 1
        assert (item.held_out, item.speaker) == (one.held_out, one.speaker_id)


def test_a_wrong_answer_is_told_from_a_text_and_audio_that_differ(folder: Path, judges: Judges) -> None:
    one, other = Corpus(folder).validation[:2]
    true, frames = judges.coded(other)
    wrong = judges.item(one, Said(other.answer, true, frames, ended=False)).found
    says, right = (f"{bench.NEAREST}: the audio {what}" for what in ("says the text", "is right"))
    assert (wrong[bench.TEXT], wrong[bench.INTENT], wrong[bench.ENDED]) == (False, False, False)
    assert (wrong[says], wrong[right]) == (True, False)
    assert bench.LENGTH not in wrong
    differ = judges.item(one, Said(one.answer, true, frames, ended=True)).found
    assert (differ[says], differ[right]) == (False, False)
    # A text that is no answer cannot be said by any recording: nobody is asked whether the audio says it.
    strange = judges.item(one, Said("Mostly doors.", true, frames, ended=True)).found
    assert says not in strange
    assert strange[right] is False


def test_another_voice_and_no_sound_at_all_are_heard(folder: Path, judges: Judges) -> None:
    corpus = Corpus(folder)
    one, other = corpus.validation[0], corpus.validation[3]
    assert (one.intent, one.speaker_id, other.speaker_id) == (other.intent, 0, 1)
    true, frames = judges.coded(other)
    assert judges.item(one, Said(one.answer, true, frames, ended=True)).found[bench.VOICE] is False
    nothing = judges.item(one, Said("", np.zeros(0, np.float32), 0, ended=True))
    assert nothing.pitch != nothing.pitch
    assert nothing.found[bench.TEXT] is False


def test_items_are_drawn_by_the_seed() -> None:
    assert bench.drawn(5, None, 0) == bench.drawn(5, 9, 0) == [0, 1, 2, 3, 4]
    some = bench.drawn(1000, 20, 3)
    assert some == sorted(set(some)) == bench.drawn(1000, 20, 3)
    assert some != bench.drawn(1000, 20, 4)


def test_weights_are_told_apart(tmp_path: Path) -> None:
    for name, text in (("a", "1"), ("b", "2")):
        (tmp_path / name).write_text(text)
    assert bench.digest(tmp_path / "a") != bench.digest(tmp_path / "b")
    assert len(bench.digest(tmp_path)) == 16


def test_a_model_that_knows_nothing_is_told_so(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    base = open_mode("base")
    shape = replace(SMALL, books=base.books, entries=base.entries, speakers=4, emotions=9, memory=48)
    files.write(tmp_path / "s2s.safetensors", drawn(shape))
    ask, calls = bench.result, []

    # Judged once, and printed both ways.
    def result(options: Namespace, corpus: Corpus) -> dict[str, Any]:
        if not calls:
            calls.append(ask(options, corpus))
        return calls[0]

    def printed(*words: str) -> str:
        given = ["--data", str(folder), "--weights", str(tmp_path / "s2s.safetensors"), "--items", "5", "--seed", "7"]
        monkeypatch.setattr(sys, "argv", ["s2s_answers.py", *given, *words])
        bench.main()
        return capsys.readouterr().out

    monkeypatch.setattr(bench, "result", result)
    told = json.loads(printed("--json"))
    found = {row["name"]: row["columns"]["all"] for row in told["rows"]}
    assert (told["answers"], told["texts_that_are_no_answer"], told["seed"]) == (5, 5, 7)
    assert told["unseen"] == {"right": 0, "asked": 1}
    assert (found[bench.TEXT]["right"], found[bench.TEXT]["asked"]) == (0, 5)
    assert found[f"{bench.NEAREST}: ceiling"]["right"] == found[bench.VOICE_CEILING]["right"] == 5
    assert f"{bench.NEAREST}: the audio says the text" not in found
    assert bench.INTENT not in found, "each intent has one answer here"
    table = printed("--markdown")
    assert f"| {bench.TEXT} | 0.0% (0.0–43.4) of 5 |" in table
    assert "Questions of no intent answered as not understood: 0.0% (0.0–79.3) of 1." in table
    assert f"weights {told['weights']}, corpus abc, seed 7." in table
