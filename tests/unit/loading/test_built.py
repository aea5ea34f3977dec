"""From recordings through the builder to training items: the loader on a data set as it is really built."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from duplexforge.duplex.build import BuildSettings, build
from duplexforge.duplex.magichub import MagicHub
from duplexforge.framing import DuplexFormat
from duplexforge.loading.collator import Collator
from duplexforge.loading.dataset import DuplexDataset, easy_load
from duplexforge.loading.packing import pcm_sha256, unpack
from tests.duplex.magichub import Truth, make_corpus
from tests.duplex.tokenizer import tiny_tokenizer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Truth:
    return make_corpus(tmp_path_factory.mktemp("corpus"), sessions=3, seconds=12.0, formats=((16_000, 1), (44_100, 2)))


@pytest.fixture(scope="module")
def built(corpus: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Windows of 3.2 s that overlap by 0.64 s, of both directions, in three splits."""
    folder = tmp_path_factory.mktemp("built")
    fmt = DuplexFormat(model=str(tiny_tokenizer(folder / "model")))
    settings = BuildSettings(fmt=fmt, window=3.2, overlap=0.64, splits=(0.4, 0.3, 0.3))
    build(MagicHub(corpus.folder, language="en"), settings, folder / "out", source="made")
    return folder / "out"


def _splits(built: Path) -> dict[str, DuplexDataset]:
    return {name: easy_load(built, name) for name in ("train", "validation", "test")}


def test_windows_cover_their_sides(built: Path) -> None:
    import datasets

    stored = {row["session_id"]: row for row in datasets.load_from_disk(str(built / "storage"))}
    seen: dict[str, np.ndarray] = {name: np.zeros(row["chunks"], dtype=bool) for name, row in stored.items()}
    for name, data in _splits(built).items():
        windows = datasets.load_from_disk(str(built / name))
        assert len(windows) == len(data) > 0
        for row, item in zip(windows, data, strict=True):
            side = stored[row["session_id"]]
            assert (item["session_id"], item["seq_id"], side["split"]) == (row["session_id"], row["seq_id"], name)
            first, end = row["start_sample"] // 5120, row["end_sample"] // 5120
            seen[row["session_id"]][first:end] = True
            for key, column, size in (("input_audios", "user_audio", 5120), ("target_audios", "target_audio", 7680)):
                pcm = unpack(side[column])[0][first * size : end * size]
                np.testing.assert_array_equal(np.round(item[key].ravel() * 32768), pcm)  # type: ignore[literal-required]
    assert len(seen) == 6
    assert all(one.all() for one in seen.values())


def test_whole_sides_are_what_was_recorded_and_said(built: Path, corpus: Truth) -> None:
    from transformers import AutoTokenizer

    data = easy_load(built)
    tokenizer, fmt = AutoTokenizer.from_pretrained(data.format.model), data.format
    assert fmt.silence_token_id == tokenizer.convert_tokens_to_ids(fmt.silence_token)
    for name, number in [(one.conversation_id, number) for one in corpus.sessions for number in (0, 1)]:
        agent = corpus.session(name).tracks[number]
        chunks = -(-round(corpus.seconds * 16_000) // 5120)
        item = data.window(f"{name}--{agent.speaker}", 0, chunks)
        sequence = item["input_sequence"]
        assert (sequence == -100).sum() == 4 * chunks
        said = sequence[(sequence != -100) & (sequence != fmt.silence_token_id)]
        # Token by token what the agent says, in the order in which they begin to say it.
        spoken = sorted(agent.utterances, key=lambda one: one.start)
        assert tokenizer.decode(said) == "".join(one.text for one in spoken)
        # The model hears the other one and is to speak as this one.
        user = corpus.session(name).tracks[1 - number]
        for key, track, rate in (("input_audios", user, 16_000), ("target_audios", agent, 24_000)):
            speaks = np.zeros(chunks * 32 * rate // 100, dtype=bool)
            for one in track.utterances:
                speaks[round(one.start * rate) : round(one.end * rate)] = True
            loud = np.abs(item[key].ravel())  # type: ignore[literal-required]
            assert loud[speaks].mean() > 20 * loud[~speaks].mean()


def test_totals_are_those_of_the_items(built: Path) -> None:
    import datasets

    manifest = easy_load(built).manifest
    stored = {row["session_id"]: row for row in datasets.load_from_disk(str(built / "storage"))}
    sums: dict[str, int] = {}
    for name, row in stored.items():
        item = easy_load(built, row["split"]).window(name, 0, row["chunks"])
        user = np.round(item["input_audios"] * 32768).astype(np.int16).ravel()
        assert pcm_sha256(user) == row["user_sha256"]
        assert item["speaker_embedding"] is None
        sums[row["split"]] = sums.get(row["split"], 0) + int((item["input_sequence"] == -100).sum())
    assert sums == {name: total.placeholders for name, total in manifest.totals.items() if total.sides}
    assert {one.name for one in manifest.storage} == {"storage/data-00000-of-00001.arrow"}


def test_a_batch_with_the_tokenizers_own_audio_token(built: Path) -> None:
    from transformers import AutoTokenizer

    data = easy_load(built)
    audio = AutoTokenizer.from_pretrained(data.format.model).convert_tokens_to_ids(data.format.audio_token)
    batch = Collator(data.format, audio_token_id=audio, max_chunks=5)(data[:3])
    assert (batch["input_ids"] == audio).sum() == 4 * batch["chunk_mask"].sum()
    assert batch["truncated"].tolist() == [max(0, one - 5) for one in data.chunks()[:3].tolist()]
    assert not batch["speaker_mask"].any()
