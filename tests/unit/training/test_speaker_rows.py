"""Who is learned and who is asked, and how their recordings come to the encoder."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import ConfigError, InputError
from duplexforge.models.s2s.features import log_mel
from duplexforge.models.speakers import heard
from duplexforge.training import preparing, sources
from duplexforge.training.recipe import section
from duplexforge.training.speaker_rows import (
    Augment,
    can_be_told,
    changed,
    filled,
    frames_of,
    parted,
    spread_crops,
)
from duplexforge.training.speakers import balanced
from duplexforge.training.speech import RATE, Crop, Speech, SpeechRow, generator
from tests.unit.training import made

FOLDER = Path("made")


def row(speaker: str, number: int, split: str = "train", label: int | None = 0, samples: int = RATE) -> SpeechRow:
    path = f"{speaker}-{split}-{number}"
    return SpeechRow(path=path, speaker=speaker, split=split, samples=samples, sha256="", label=label)


def folder(files: dict[str, int], held: dict[str, int] | None = None) -> Any:
    """A training folder with so many files of each speaker, whose label is the place of the name from behind."""
    labels = {name: -place for place, name in enumerate(sorted(files))}
    rows = [row(name, number, label=labels[name] + 50) for name, count in files.items() for number in range(count)]
    rows += [row(name, number, "validation", 90) for name, count in (held or {}).items() for number in range(count)]

    def of(split: str) -> list[SpeechRow]:
        return [one for one in rows if one.split == split]

    return SimpleNamespace(rows=rows, of=of)


@settings(deadline=None)
@given(
    files=st.dictionaries(st.sampled_from("abcde"), st.integers(1, 30), min_size=2),
    share=st.floats(0.01, 0.99),
    seed=st.integers(0, 9),
)
def test_some_of_each_speaker_is_kept_and_never_all(files: dict[str, int], share: float, seed: int) -> None:
    speech = folder(files, {"x": 2, "y": 1})
    found = parted(speech, FOLDER, share, seed)
    assert found == parted(speech, FOLDER, share, seed)
    assert {*found.learned, *found.kept} == {*speech.of("train")}
    assert not {*found.learned} & {*found.kept}
    learned, kept = (Counter(one.speaker for one in rows) for rows in (found.learned, found.kept))
    for name, count in files.items():
        assert learned[name] >= 1
        assert kept[name] == (0 if count == 1 else min(max(1, round(share * count)), count - 1))
    assert {one.speaker for one in found.strangers} == {"x", "y"}


def test_other_seeds_keep_other_files() -> None:
    speech = folder({"a": 20, "b": 20})
    assert parted(speech, FOLDER, 0.2, 1).kept != parted(speech, FOLDER, 0.2, 2).kept


def test_numbers_follow_labels() -> None:
    found = parted(folder({"a": 3, "b": 3, "c": 3}), FOLDER, 0.3, 0)
    assert found.speakers == ("c", "b", "a")
    assert [found.number(row(name, 0)) for name in "abc"] == [2, 1, 0]


def test_folders_of_which_nothing_can_be_learned() -> None:
    with pytest.raises(
        InputError, match=r"learns to tell voices apart, and made/manifest\.jsonl has 1 in the split train"
    ):
        parted(folder({"a": 9}), FOLDER, 0.1, 0)
    with pytest.raises(InputError, match=r"every speaker of .* has a single file, of which none can be kept back"):
        parted(folder({"a": 1, "b": 1}, {"x": 5}), FOLDER, 0.1, 0)
    unlabelled = folder({"a": 2, "b": 2})
    unlabelled.rows.append(row("c", 0, label=None))
    with pytest.raises(
        InputError, match="gives its speakers no numbers: make the folder with duplexforge data speakers"
    ):
        parted(unlabelled, FOLDER, 0.1, 0)
    # Single files are enough where other people can be asked.
    assert parted(folder({"a": 1, "b": 1}, {"x": 2, "y": 1}), FOLDER, 0.1, 0).kept == ()


@pytest.mark.parametrize(
    ("files", "can"), [({}, False), ({"x": 9}, False), ({"x": 1, "y": 1}, False), ({"x": 2, "y": 1}, True)]
)
def test_pairs_want_two_speakers_and_two_files(files: dict[str, int], can: bool) -> None:
    rows = [row(name, number) for name, count in files.items() for number in range(count)]
    assert can_be_told(rows) == can
    # Two crops of one file are not two files.
    assert can_be_told([*rows, *rows]) == can


def test_crops_go_over_all_files() -> None:
    rows = [row("a", number) for number in range(5)] + [row("b", 0)] + [row("b", 1, samples=100)]
    crops = spread_crops(rows, 10, RATE // 2, generator(1))
    assert Counter(crop.row.path for crop in crops) == dict.fromkeys((one.path for one in rows[:5]), 2) | {
        "b-train-0": 5,
        "b-train-1": 5,
    }
    assert all(0 <= crop.start <= max(crop.row.samples - crop.samples, 0) for crop in crops)
    assert len({crop.start for crop in crops}) > 3
    assert spread_crops(rows, 10, RATE // 2, generator(1)) == crops


def test_short_recordings_are_said_again(tmp_path: Path) -> None:
    preparing.prepare(
        sources.plain(made.recordings(tmp_path / "in", files=1, seconds=0.5)), tmp_path / "s", finish=balanced
    )
    speech = Speech(tmp_path / "s")
    crop = Crop(speech.rows[0], 0, 20_000, 0.5)
    wave = filled(speech, crop)
    whole = speech.read(Crop(speech.rows[0], 0, 8_000))
    np.testing.assert_allclose(wave, np.concatenate([whole, whole, whole])[:20_000] * 0.5, atol=1e-6)
    part = filled(speech, Crop(speech.rows[0], 3_000, 4_000))
    np.testing.assert_array_equal(part, whole[3_000:7_000])


def test_nothing_changed_is_what_is_heard() -> None:
    wave = made.voice(1.0, 150)
    plain = Augment(noisy=0.0, tilt_db=0.0, masks=0)
    np.testing.assert_array_equal(changed(wave, 0.0, plain, generator(1)), heard(log_mel(wave)))
    np.testing.assert_array_equal(frames_of(wave), heard(log_mel(wave)))


@pytest.mark.parametrize(
    ("shift", "ways"),
    [
        (3.0, {}),
        (0.0, {"noisy": 1.0}),
        # A straight line over the bands falls out with the mean; it is what is too quiet to count that it changes.
        (0.0, {"tilt_db": 40.0}),
        (0.0, {"masks": 2}),
    ],
)
def test_each_way_of_changing_changes(shift: float, ways: dict[str, Any]) -> None:
    wave = made.voice(1.0, 150)
    augment = Augment(**({"noisy": 0.0, "tilt_db": 0.0, "masks": 0} | ways))
    found = changed(wave, shift, augment, generator(4))
    assert (found.shape, found.dtype) == ((100, 80), np.float32)
    assert np.abs(found - frames_of(wave)).max() > 0.1
    np.testing.assert_array_equal(found, changed(wave, shift, augment, generator(4)))


def test_a_shift_moves_what_is_heard_upwards() -> None:
    time = np.arange(RATE) / RATE
    wave = (0.3 * np.sin(2 * np.pi * 900 * time) * (np.arange(RATE) > RATE // 2)).astype(np.float32)
    plain = Augment(noisy=0.0, tilt_db=0.0, masks=0)
    low, high = (changed(wave, shift, plain, generator(0))[-10:].mean(axis=0).argmax() for shift in (0.0, 5.0))
    assert high - low == 5


def test_keys_that_change_who_speaks_are_not_known() -> None:
    with pytest.raises(ConfigError, match="nothing is called rate"):
        section(Augment, {"rate": 0.1}, "[model.augment]")
