"""The demo's audio and its ground truth belong together: what `truth.json` says is what the files hold."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
import pytest

DEMO = Path(__file__).resolve().parents[2] / "examples" / "demo"
TRUTH: dict[str, dict[str, Any]] = json.loads((DEMO / "truth.json").read_text(encoding="utf-8"))["files"]
WITH_TURNS = [name for name, facts in TRUTH.items() if facts["turns"]]
SYNTHETIC = [name for name in WITH_TURNS if "librivox" not in TRUTH[name]["voices"].values()]
MEDIA = {".mp3", ".m4a", ".flac", ".ogg", ".opus", ".webm", ".wav"}

Samples = npt.NDArray[np.float32]


@pytest.fixture(scope="module")
def decoded() -> dict[str, tuple[Samples, int]]:
    """Mono samples and sample rate of every file, as PyAV decodes them; read once for all tests."""
    return {name: decode(DEMO / name) for name in TRUTH}


def decode(path: Path) -> tuple[Samples, int]:
    """Decode a mono file, whatever its sample format."""
    with av.open(str(path)) as container:
        assert [stream.type for stream in container.streams] == ["audio"]
        frames = list(container.decode(audio=0))
    assert {frame.layout.nb_channels for frame in frames} == {1}
    scales = {"flt": 1.0, "fltp": 1.0, "s16": 2.0**15, "s16p": 2.0**15, "s32": 2.0**31}
    blocks = [frame.to_ndarray().reshape(-1) for frame in frames]
    scale = np.float32(scales[frames[0].format.name])
    return np.concatenate(blocks).astype(np.float32) / scale, frames[0].sample_rate


def level(samples: Samples) -> float:
    """Mean power in dB of full scale."""
    return float(10.0 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))


def span(audio: tuple[Samples, int], start: float, end: float) -> Samples:
    """The samples between two times."""
    samples, rate = audio
    return samples[round(start * rate) : round(end * rate)]


def pauses(facts: dict[str, Any]) -> list[tuple[float, float]]:
    """The stretches of a file in which nobody speaks."""
    edges = [0.0, *(time for turn in facts["turns"] for time in (turn["start"], turn["end"])), facts["duration"]]
    return list(zip(edges[::2], edges[1::2], strict=True))


def test_every_file_is_described_and_every_description_has_a_file() -> None:
    assert {path.name for path in DEMO.iterdir() if path.suffix in MEDIA} == set(TRUTH)
    assert sum(path.stat().st_size for path in DEMO.iterdir() if path.is_file()) < 4_000_000
    for facts in TRUTH.values():
        assert facts["title"]
        assert facts["licence"]
        assert facts["language"] == "en"


def test_there_is_one_file_in_which_nobody_speaks() -> None:
    assert len(TRUTH) - len(WITH_TURNS) == 1
    assert {len(set(TRUTH[name]["voices"])) for name in WITH_TURNS} == {1, 2, 3}
    assert 180.0 < sum(facts["duration"] for facts in TRUTH.values()) < 250.0


@pytest.mark.parametrize("name", TRUTH)
def test_duration_is_as_stated(name: str, decoded: dict[str, tuple[Samples, int]]) -> None:
    samples, rate = decoded[name]
    assert samples.size / rate == pytest.approx(TRUTH[name]["duration"], abs=0.05)
    assert np.abs(samples).max() < 1.0


@pytest.mark.parametrize("name", WITH_TURNS)
def test_turns_are_in_order_and_inside_the_file(name: str) -> None:
    facts = TRUTH[name]
    assert {turn["speaker"] for turn in facts["turns"]} == set(facts["voices"])
    for turn in facts["turns"]:
        assert 0.0 <= turn["start"] < turn["end"] <= facts["duration"]
        assert 1.0 < turn["end"] - turn["start"] < 10.0
        assert turn["text"].strip()
    for one, following in pairwise(facts["turns"]):
        assert 0.25 < following["start"] - one["end"] < 1.0


@pytest.mark.parametrize("name", WITH_TURNS)
def test_turns_are_loud_and_pauses_are_quiet(name: str, decoded: dict[str, tuple[Samples, int]]) -> None:
    audio, facts = decoded[name], TRUTH[name]
    quiet = max(level(span(audio, start, end)) for start, end in pauses(facts))
    loud = min(level(span(audio, turn["start"], turn["end"])) for turn in facts["turns"])
    assert loud > -28.0
    # Neither speech that leaks out of its turn nor digital silence, which no real recording has.
    assert -70.0 < quiet < -50.0


@pytest.mark.parametrize("name", SYNTHETIC)
def test_speech_begins_and_ends_where_its_turn_does(name: str, decoded: dict[str, tuple[Samples, int]]) -> None:
    audio, facts = decoded[name], TRUTH[name]
    for turn in facts["turns"]:
        for outer, inner in ((turn["start"], 0.1), (turn["end"], -0.1)):
            outside = span(audio, *sorted((outer, outer - inner)))
            inside = span(audio, *sorted((outer, outer + inner)))
            # A shift of the whole truth by 30 ms fails this or the test above.
            assert level(inside) > level(outside) + 6.0, (turn["text"], outer)


def test_the_tone_is_heard_and_soft(decoded: dict[str, tuple[Samples, int]]) -> None:
    (name,) = set(TRUTH) - set(WITH_TURNS)
    assert -45.0 < level(decoded[name][0]) < -25.0
