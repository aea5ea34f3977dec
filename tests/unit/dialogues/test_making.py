"""A small corpus, spoken: what is listed is there, the same choice gives the same bytes, and nothing is done twice."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile as sf

from duplexforge.dialogues import making, speaking
from duplexforge.dialogues.domain import Intent
from duplexforge.dialogues.pairs import read
from duplexforge.dialogues.plan import Choice
from duplexforge.dialogues.report import Report
from duplexforge.errors import InputError, ModelError, UsageError

INTENTS = [
    Intent("tea", "en", ("Is there tea?", "Some tea please."), ("Tea, is there some?",), "The tea is hot."),
    Intent("rain", "te", ("వాన పడుతుందా?",), ("ఇవాళ వాన పడుతుందా?",), "రేపు పడవచ్చు."),
    Intent(
        "not_understood", "en", ("Why is a wall?",), ("Why is a door?",), "Sorry, what was that?", ("Who is seven?",)
    ),
]
CHOICE = Choice(variants=2, noise=0.5, neutral=0.0)


def fingerprints(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "letter.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(UsageError, match="is not empty and holds no dialogues"):
        making.make(INTENTS, tmp_path, CHOICE)
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]


def test_without_espeak_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise ModelError("espeak-ng is not installed")

    monkeypatch.setattr(making, "library", missing)
    with pytest.raises(ModelError, match="espeak-ng is not installed"):
        making.make(INTENTS, tmp_path / "corpus", CHOICE)
    assert [path.name for path in (tmp_path / "corpus").iterdir()] == ["settings.json"]


def test_whatever_changes_a_sentence_changes_the_settings(tmp_path: Path) -> None:
    told = making.settings_of(INTENTS, CHOICE)
    assert told == json.loads(json.dumps(told)) == making.settings_of(list(INTENTS), CHOICE)
    for place, intent in enumerate(INTENTS):
        for change in ({"answer": "Other."}, {"ask": ("Other?",)}, {"held_out": ("Other?",)}, {"id": "other"}):
            changed = [*INTENTS[:place], replace(intent, **change), *INTENTS[place + 1 :]]
            assert making.settings_of(changed, CHOICE) != told
    for choice in (replace(CHOICE, seed=1), replace(CHOICE, variants=3), replace(CHOICE, speakers=(0,))):
        assert making.settings_of(INTENTS, choice) != told


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Report]:
    folder = tmp_path_factory.mktemp("dialogues") / "corpus"
    return folder, making.make(INTENTS, folder, CHOICE)


@pytest.mark.system
def test_everything_listed_is_there_and_right(made: tuple[Path, Report]) -> None:
    folder, report = made
    lists = {split: read(folder / f"{split}_pairs.json") for split in ("train", "validation", "unseen")}
    assert {split: len(pairs) for split, pairs in lists.items()} == report.pairs
    assert report.pairs == {"train": 8, "validation": 9, "unseen": 1}
    for pair in [pair for pairs in lists.values() for pair in pairs]:
        for name in (pair.input_path, pair.target_path):
            wave, rate = sf.read(folder / name)
            assert rate == 16_000
            assert wave.ndim == 1
            assert 0.05 < np.abs(wave).max() < 1.0 or name == pair.input_path
        assert [word.word for word in pair.words] == pair.answer.split()
        starts = [word.start for word in pair.words]
        assert starts == sorted(starts)
        assert pair.words[-1].end <= sf.info(folder / pair.target_path).duration
        assert pair.synthetic
        assert "espeak-ng" in pair.licence
    assert {pair.intent for pair in lists["unseen"]} == {"not_understood"}


@pytest.mark.system
def test_words_of_an_answer_are_where_its_sound_is(made: tuple[Path, Report]) -> None:
    folder, _ = made
    for pair in read(folder / "train_pairs.json"):
        wave, rate = sf.read(folder / pair.target_path)
        for word in pair.words:
            part = wave[round(word.start * rate) : round(word.end * rate)]
            assert 10 * np.log10((part**2).mean() / (wave**2).mean()) > -20, (pair.target_path, word)


@pytest.mark.system
def test_the_summary_has_what_was_chosen_and_counted(made: tuple[Path, Report]) -> None:
    folder, report = made
    told = json.loads((folder / "dialogues.json").read_text(encoding="utf-8"))
    assert told["synthetic"] is True
    assert told["settings"]["variants"] == 2
    assert told["settings"]["espeak_ng"]
    assert told["pairs"] == report.pairs
    assert told["hours"]["answers"] > 0
    assert not list(folder.rglob("*.part"))


@pytest.mark.system
def test_the_same_choice_gives_the_same_bytes_with_any_number_of_processes(
    made: tuple[Path, Report], tmp_path: Path
) -> None:
    folder, report = made
    seen: list[tuple[int, int]] = []
    again = making.make(
        INTENTS, tmp_path / "second", CHOICE, jobs=2, progress=lambda done, whole: seen.append((done, whole))
    )
    assert fingerprints(tmp_path / "second") == fingerprints(folder)
    assert again == report
    assert [done for done, _ in seen] == list(range(1, seen[-1][1] + 1))
    assert making.make(INTENTS, tmp_path / "third", Choice(seed=1, variants=2, noise=0.5, neutral=0.0)) != report


@pytest.mark.system
def test_what_is_there_is_not_spoken_again(
    made: tuple[Path, Report], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, report = made
    whole = tmp_path / "whole"
    making.make(INTENTS, whole, CHOICE)
    # As a run leaves it that was broken off: no summary, one answer without its times, one question missing.
    (whole / "dialogues.json").unlink()
    next(iter(sorted((whole / "audio" / "answers").rglob("*.json")))).unlink()
    next(iter(sorted((whole / "audio" / "questions").rglob("*.flac")))).unlink()
    spoken: list[Path] = []
    write = speaking.write_audio
    monkeypatch.setattr(speaking, "write_audio", lambda path, wave: (spoken.append(path), write(path, wave)))
    assert making.make(INTENTS, whole, CHOICE) == report
    assert len(spoken) == 2
    assert fingerprints(whole) == fingerprints(folder)
    # A whole folder is not even looked through.
    assert making.make(INTENTS, whole, CHOICE) == report
    assert len(spoken) == 2


@pytest.mark.system
@pytest.mark.parametrize("after", [3, 11])
def test_a_run_that_was_killed_is_gone_on_with(made: tuple[Path, Report], tmp_path: Path, after: int) -> None:
    folder, report = made
    killed = tmp_path / "killed"
    child = os.fork()
    if child == 0:
        # As kill -9 does: no handler, no clean-up, in the middle of the work.
        making.make(
            INTENTS,
            killed,
            CHOICE,
            progress=lambda done, _: os.kill(os.getpid(), signal.SIGKILL) if done == after else None,
        )
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert not (killed / "dialogues.json").exists()
    assert any(killed.rglob("*.flac"))
    assert making.make(INTENTS, killed, CHOICE) == report
    assert fingerprints(killed) == fingerprints(folder)


@pytest.mark.system
def test_another_choice_wants_another_folder(made: tuple[Path, Report]) -> None:
    folder, _ = made
    before = fingerprints(folder)
    with pytest.raises(UsageError, match="made with other settings: choose another --out"):
        making.make(INTENTS, folder, Choice(variants=3))
    changed = [*INTENTS[:2], replace(INTENTS[2], answer="What?")]
    with pytest.raises(UsageError, match="other settings"):
        making.make(changed, folder, CHOICE)
    assert fingerprints(folder) == before


@pytest.mark.system
def test_what_espeak_cannot_say_is_named(tmp_path: Path) -> None:
    silent = [Intent("dots", "en", ("...",), ("..",), "Yes.")]
    with pytest.raises(InputError, match=r"espeak-ng says nothing to “...”"):
        making.make(silent, tmp_path / "corpus", Choice(variants=1))
    assert not (tmp_path / "corpus" / "dialogues.json").exists()
