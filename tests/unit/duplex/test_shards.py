"""Tar shards: what is in a sample, order and size, the same bytes, and that common readers take them."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile as sf
from datasets import load_dataset
from webdataset import tariterators

from duplexforge.duplex.build import build
from duplexforge.framing import DuplexFormat
from duplexforge.loading.dataset import easy_load
from duplexforge.loading.packing import unpack
from duplexforge.records import parse
from tests.unit.duplex.building import Made, settings, sides, talk, tree


@pytest.fixture(scope="module")
def out(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three conversations in two splits, one id with a dot; several shards."""
    folder = tmp_path_factory.mktemp("built") / "set"
    talks = [talk("a"), talk("a.b", ("cid", "dot"), licence="cc0"), talk("c", ("eve", "fay"), 9.0)]
    wanted = settings(model, shards=True, shard_bytes=400_000, window=2.0, splits=(0.6, 0.4, 0.0))
    build(Made(talks), wanted, folder, source="made")
    return folder


def _members(path: Path) -> Iterator[tuple[tarfile.TarInfo, bytes]]:
    with tarfile.open(path) as tar:
        for member in tar:
            body = tar.extractfile(member)
            assert body is not None
            yield member, body.read()


def _samples(out: Path) -> dict[str, dict[str, Any]]:
    """Members by key and ending."""
    found: dict[str, dict[str, Any]] = {}
    for path in sorted((out / "shards").iterdir()):
        for member, body in _members(path):
            key, _, ending = member.name.partition(".")
            found.setdefault(key, {})[ending] = body
    return found


def test_members_are_adjacent_sorted_and_without_a_past(out: Path) -> None:
    names = [path.name for path in sorted((out / "shards").iterdir())]
    count = sum(name.startswith("train-") for name in names)
    assert count > 1
    assert names == [f"train-{n:05d}.tar" for n in range(count)] + [
        f"validation-{n:05d}.tar" for n in range(len(names) - count)
    ]
    inside: dict[str, list[str]] = {"train": [], "validation": []}
    for name in names:
        members = list(_members(out / "shards" / name))
        inside[name.split("-")[0]] += [member.name for member, _ in members]
        assert {(member.mtime, member.uid, member.gid, member.mode) for member, _ in members} == {(0, 0, 0, 0o644)}
        # One shard holds no more than what was wanted and a last sample.
        assert sum(len(body) for _, body in members[:-3]) < 400_000 * 1.3
    for members in inside.values():
        assert members == sorted(members)
        keys = [name.partition(".")[0] for name in members]
        assert keys == [key for key in dict.fromkeys(keys) for _ in range(3)]


def test_samples_are_the_windows_of_the_data_set(out: Path) -> None:
    fmt = parse(DuplexFormat, (out / "format.json").read_bytes(), "it")
    rows, samples, seen = sides(out), _samples(out), 0
    for split in ("train", "validation"):
        for item in easy_load(str(out), split):
            seen += 1
            sample = samples[f"{item['session_id'].replace('.', '~')}-{item['seq_id']:06d}"]
            told = json.loads(sample["json"])
            assert told["input_sequence"] == item["input_sequence"].tolist()
            assert told["chunks"] == len(item["input_audios"])
            for ending, expected in (("user", item["input_audios"]), ("agent", item["target_audios"])):
                pcm, rate = unpack(sample[f"{ending}.flac"])
                assert rate == (fmt.user_rate if ending == "user" else fmt.agent_rate)
                assert np.array_equal(pcm.astype(np.float32) / 32768, expected.ravel())
            row = rows[item["session_id"]]
            assert (told["user_speaker"], told["agent_speaker"]) == (row["user_speaker"], row["agent_speaker"])
            assert (told["licence"], told["flags"]) == (row["licence"] or "", row["flags"])
    assert seen == len(samples)


def test_whole_sides_are_not_packed_again(out: Path) -> None:
    rows, samples = sides(out), _samples(out)
    assert samples["a~b--cid-000000"]["agent.flac"] == rows["a.b--cid"]["target_audio"]
    assert samples["a--ann-000000"]["user.flac"] == rows["a--ann"]["user_audio"]


def test_webdataset_reads_them(out: Path) -> None:
    found = []
    for path in sorted((out / "shards").glob("train-*.tar")):
        with path.open("rb") as stream:
            files = tariterators.tar_file_expander([{"url": path.name, "stream": stream}])
            found += list(tariterators.group_by_keys(files))
    assert len({sample["__key__"] for sample in found}) == len(found) > 4
    for sample in found:
        user, rate = sf.read(io.BytesIO(sample["user.flac"]), dtype="int16")
        assert (rate, len(user)) == (16_000, json.loads(sample["json"])["chunks"] * 5120)


@pytest.mark.heavy  # datasets decodes, and even encodes, audio with torchcodec alone
def test_load_dataset_reads_them(out: Path, tmp_path: Path) -> None:
    loaded = load_dataset(str(out / "shards"), cache_dir=str(tmp_path))
    assert set(loaded) == {"train", "validation"}
    keys = {sample["__key__"] for split in loaded.values() for sample in split.remove_columns(_AUDIO)}
    assert keys == set(_samples(out))
    assert loaded["train"].remove_columns(_AUDIO)[0]["json"]["input_sequence"][:4] == [-100] * 4


_AUDIO = ["user.flac", "agent.flac"]


def test_the_same_bytes_and_wav(out: Path, model: Path, tmp_path: Path) -> None:
    talks = [talk("a"), talk("a.b", ("cid", "dot"), licence="cc0"), talk("c", ("eve", "fay"), 9.0)]
    wanted = settings(model, shards=True, shard_bytes=400_000, window=2.0, splits=(0.6, 0.4, 0.0))
    build(Made(talks), wanted, tmp_path / "again", source="made")
    assert tree(tmp_path / "again") == tree(out)
    build(Made(talks[:1]), settings(model, shards=True, packing="wav"), tmp_path / "wav", source="made")
    sample = _samples(tmp_path / "wav")["a--ann-000000"]
    assert set(sample) == {"json", "user.wav", "agent.wav"}
    assert sample["user.wav"][:4] == b"RIFF"
