"""What the bench of the codec asks of the mode base: words, pitch, voicing, and columns that not every row has."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

import codec_quality as bench  # noqa: E402
import codec_words as words  # noqa: E402


def test_pitch_and_voicing_are_scored() -> None:
    clean = np.array([0.0, 100, 100, 200, 0, 150])
    found = words.voice_scores(clean, np.array([0.0, 101, 100, 150, 120, 0]))
    assert found["f0_err"] == pytest.approx(1)
    assert found["f0_gross"] == pytest.approx(100 / 3)
    assert found["voicing"] == pytest.approx(100 / 3)
    assert np.isnan(words.voice_scores(clean, np.zeros(6))["f0_err"])


def test_word_errors_are_percent_of_the_right_words() -> None:
    assert words.word_error(["one two three four"], ["one two tree"]) == pytest.approx(50)
    assert words.word_error(["one two"], ["one two"]) == 0


def test_prompts_are_those_of_three_to_eight_seconds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(10):
        (tmp_path / f"{number}.g722").write_bytes(bytes(8000 * number))
    monkeypatch.setattr(words, "PROMPTS", str(tmp_path))
    lengths: list[int] = []

    def read(path: Path) -> words.Wave:
        lengths.append(path.stat().st_size // 8000)
        return np.zeros(1, np.float32)

    assert len(words.prompts(2, read)) == 2
    assert set(lengths) <= {4, 5, 6, 7}
    monkeypatch.setattr(words, "PROMPTS", str(tmp_path / "none"))
    assert words.prompts(2, read) == []


def test_a_table_has_blanks_where_a_row_was_not_asked() -> None:
    rows = [
        bench.Row("a", "base", {"snr": 1.0, "stoi": 0.9}),
        bench.Row("b", "base", {"snr": 3.0, "stoi": 0.8, "wer": 12.5}),
    ]
    lines = bench.table(rows).splitlines()
    assert lines[0].split()[-1] == "wer"
    assert len(lines[1].split()) == 4
    assert lines[2].split()[-1] == "12.500"
    assert bench.overall(rows)[0].values == pytest.approx({"snr": 2.0, "stoi": 0.85})


@pytest.mark.system
def test_the_recogniser_understands_espeak() -> None:
    (text, wave), *_ = words.spoken(1)
    assert 2 < len(wave) / words.RATE < 6
    heard = words.Recogniser().words(wave)
    assert words.word_error([text], [heard]) < 60
    # What is said of silence is a guess, and a short one.
    assert len(words.Recogniser().words(np.zeros(16_000, np.float32)).split()) <= 1
