"""The sound of an episode and the tracks cut out of it: exact samples, any process, honest about what is gone."""

from __future__ import annotations

import hashlib
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydantic import SecretStr

from duplexforge import log
from duplexforge.config import StoreSettings
from duplexforge.duplex.masking import Masking, Said
from duplexforge.duplex.sounds import EpisodeFile, MaskedAudio, Piece, SegmentFiles
from duplexforge.errors import InputError
from duplexforge.loading.fetching import opened
from tests.duplex import processed as made

SEED = 20
KEY = "raw_audio/en/feed/ep.flac"


def noise(seconds: float = 6.0) -> made.Samples:
    samples = np.random.default_rng(SEED).uniform(-0.5, 0.5, round(seconds * made.RATE))
    # As 16 bits hold it, so that what comes back can be compared to the last bit.
    return (np.rint(samples * 32768) / 32768).astype(np.float32)


def episode(folder: Path, samples: made.Samples, *, gain: float = 0.0, sha256: str | None = None) -> EpisodeFile:
    store, settings = made.store_in(folder)
    body = made.flac(samples)
    store.put(KEY, body)
    return EpisodeFile(settings, KEY, sha256 or hashlib.sha256(body).hexdigest(), gain)


def test_any_part_of_an_episode_is_read_to_the_sample(tmp_path: Path) -> None:
    samples = noise()
    sound = episode(tmp_path, samples)
    assert np.array_equal(sound.read(made.RATE, 1000, 50_000), samples[1000:50_000])
    around = sound.read(made.RATE, -10, len(samples) + 20)
    assert np.array_equal(around[10:-20], samples)
    assert not around[:10].any()
    assert not around[-20:].any()
    assert sound.read(made.RATE, len(samples) + 5, len(samples) + 9).tolist() == [0.0] * 4
    assert abs(len(samples) * 2 // 3 - np.flatnonzero(sound.read(16000, 0, 99_000))[-1]) < 3


def test_the_gain_of_the_pipeline_is_put_on_and_never_clips(tmp_path: Path) -> None:
    samples = noise()
    loud = episode(tmp_path, samples, gain=12.0).read(made.RATE, 0, len(samples))
    quiet = np.abs(samples) < 0.2
    np.testing.assert_allclose(loud[quiet], samples[quiet] * 10 ** (12 / 20), atol=1 / 32768)
    assert 0.95 < np.abs(loud).max() <= 1.0
    order = np.argsort(samples)
    assert np.all(np.diff(loud[order]) >= 0)


def test_one_channel_is_taken_where_the_mean_would_be_silence(tmp_path: Path) -> None:
    store, settings = made.store_in(tmp_path)
    samples = noise()
    store.put(KEY, made.flac(np.stack([samples, -samples], axis=1)))
    assert not EpisodeFile(settings, KEY, None).read(made.RATE, 0, 1000).any()
    first = EpisodeFile(settings, KEY, None, channel=0).read(made.RATE, 0, 1000)
    assert np.array_equal(first, samples[:1000])


def test_segments_are_put_together_again_where_they_belong(tmp_path: Path) -> None:
    store, settings = made.store_in(tmp_path)
    samples = noise()
    rows = made.rows_of("ep", [(0.5, 2.0, "S00"), (1.5, 3.0, "S01"), (4.0, 5.0, "S00")])
    pieces = []
    for one, body in zip(rows, made.cuts(samples, rows).values(), strict=True):
        store.put(one["audio"], body)
        pieces.append(Piece(one["start"], one["end"], one["audio"], hashlib.sha256(body).hexdigest()))
    sound = SegmentFiles(settings, tuple(pieces))
    expected = samples.copy()
    for start, end in ((0.0, 0.5), (3.0, 4.0), (5.0, 6.0)):
        expected[round(start * made.RATE) : round(end * made.RATE)] = 0.0
    assert np.array_equal(sound.read(made.RATE, 0, len(samples)), expected)
    assert np.array_equal(sound.read(made.RATE, 40_000, 100_001), expected[40_000:100_001])


def test_a_track_is_the_sound_of_its_speaker_and_true_zero(tmp_path: Path) -> None:
    samples = noise(20.0)
    said = (Said(1.0, 4.0, "a"), Said(5.5, 8.0, "b"), Said(9.5, 14.0, "a"))
    tracks = {
        who: made.listen(MaskedAudio(episode(tmp_path, samples), 0.75, 15.0, who, said, Masking())) for who in "ab"
    }
    at = np.arange(round(0.75 * made.RATE), round(15.0 * made.RATE)) / made.RATE
    whole = samples[round(0.75 * made.RATE) : round(15.0 * made.RATE)]
    for who, spans in (("a", [(1.0, 4.0), (9.5, 14.0)]), ("b", [(5.5, 8.0)])):
        inside = np.any([(at >= start) & (at <= end) for start, end in spans], axis=0)
        outside = np.all([(at < start - 0.2) | (at > end + 0.2) for start, end in spans], axis=0)
        assert len(tracks[who]) == len(whole)
        assert np.array_equal(tracks[who][inside], whole[inside])
        assert not tracks[who][outside].any()


def test_the_two_rates_of_a_side_are_of_one_length(tmp_path: Path) -> None:
    track = MaskedAudio(episode(tmp_path, noise()), 0.333, 5.678, "a", (Said(1.0, 4.0, "a"),), Masking())
    assert len(made.listen(track, 24000)) == round(5.678 * 24000) - round(0.333 * 24000)
    assert len(made.listen(track, 16000)) == round(5.678 * 16000) - round(0.333 * 16000)


def test_a_track_is_read_in_another_process(tmp_path: Path) -> None:
    track = MaskedAudio(episode(tmp_path, noise()), 0.0, 6.0, "a", (Said(1.0, 4.0, "a"),), Masking())
    program = (
        "import pickle, sys, hashlib, numpy\n"
        "track = pickle.loads(sys.stdin.buffer.read())\n"
        "print(hashlib.sha256(numpy.concatenate(list(track.blocks(24000))).tobytes()).hexdigest())\n"
    )
    done = subprocess.run([sys.executable, "-c", program], input=pickle.dumps(track), capture_output=True, check=True)
    assert done.stdout.decode().strip() == hashlib.sha256(made.listen(track).tobytes()).hexdigest()


def test_a_process_of_its_own_writes_no_secret_into_its_log(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "_hidden", set())
    keys = {"access_key_id": SecretStr("AKIACANARYCANARY"), "secret_access_key": SecretStr("canary-secret-key")}
    settings = StoreSettings(_env_file=None, store_url="s3://bucket").model_copy(update=keys)
    assert opened(settings, create=False).url == "s3://bucket"
    for secret in keys.values():
        assert log.redact(f"a {secret.get_secret_value()} b") == "a *** b"


def test_where_nobody_is_heard_nothing_is_fetched(tmp_path: Path) -> None:
    _, settings = made.store_in(tmp_path)
    track = MaskedAudio(EpisodeFile(settings, "raw_audio/gone.flac", None), 0.0, 7.0, "a", (), Masking())
    assert not made.listen(track).any()


@pytest.mark.parametrize(
    ("body", "sha256", "reason"),
    [(None, None, "input_missing"), (b"fLaC", "00" * 32, "checksum"), (b"no audio at all", None, "unreadable_audio")],
)
def test_what_cannot_be_read_is_the_inputs_fault(
    tmp_path: Path, body: bytes | None, sha256: str | None, reason: str
) -> None:
    store, settings = made.store_in(tmp_path)
    if body is not None:
        store.put(KEY, body)
    with pytest.raises(InputError) as error:
        EpisodeFile(settings, KEY, sha256).read(made.RATE, 0, 10)
    assert error.value.reason == reason
    with pytest.raises(InputError) as error:
        SegmentFiles(settings, (Piece(0.0, 1.0, KEY, sha256 or ""),)).read(made.RATE, 0, 10)
    assert error.value.reason in (reason, "checksum")
