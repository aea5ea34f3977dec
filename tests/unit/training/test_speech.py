"""Reading training folders: crops follow from (seed, step) alone, and errors have a place."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duplexforge.errors import InputError
from duplexforge.training.speech import MANIFEST, Crop, Speech, generator
from tests.unit.training import made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made.training_folder(tmp_path_factory.mktemp("speech"))


def test_crops_are_the_same_for_the_same_place(folder: Path) -> None:
    speech = Speech(folder)
    rows = speech.of("train")
    first = speech.crops(rows, 20, 4000, generator(1, 0, 7))
    assert first == speech.crops(rows, 20, 4000, generator(1, 0, 7))
    assert first != speech.crops(rows, 20, 4000, generator(1, 0, 8))
    assert first != speech.crops(rows, 20, 4000, generator(2, 0, 7))
    assert all(0 <= crop.start <= crop.row.samples - 4000 for crop in first)


def test_long_recordings_are_heard_more_often(folder: Path) -> None:
    speech = Speech(folder)
    row = speech.rows[0]
    rows = [row.model_copy(update={"samples": 10_000}), row.model_copy(update={"samples": 90_000, "path": "other"})]
    drawn = speech.crops(rows, 2000, 100, generator(0, 1))
    assert 0.85 < np.mean([crop.row.path == "other" for crop in drawn]) < 0.95


def test_a_crop_is_that_part_at_that_level(folder: Path) -> None:
    speech = Speech(folder)
    row = speech.rows[0]
    whole = speech.read(Crop(row, 0, row.samples))
    assert np.array_equal(speech.read(Crop(row, 100, 50)), whole[100:150])
    assert np.allclose(speech.read(Crop(row, 100, 50, gain=0.5)), whole[100:150] / 2)
    tail = speech.read(Crop(row, row.samples - 10, 50))
    assert np.array_equal(tail[:10], whole[-10:])
    assert not tail[10:].any()


def test_errors_say_where(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="duplexforge data speech makes such a folder"):
        Speech(tmp_path)
    (tmp_path / MANIFEST).write_text((folder / MANIFEST).read_text() + '{"path": 3}\n')
    with pytest.raises(InputError, match=r"manifest\.jsonl, line 7"):
        Speech(tmp_path)
    (tmp_path / MANIFEST).write_text((folder / MANIFEST).read_text())
    speech = Speech(tmp_path)
    with pytest.raises(InputError, match="nothing in the split other"):
        speech.of("other")
    with pytest.raises(InputError, match="which the manifest names"):
        speech.read(Crop(speech.rows[0], 0, 10))
