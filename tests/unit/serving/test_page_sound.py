"""The page's own sound: the resampler and the playback, in the Chromium that runs them, without a device."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import soxr

from tests.unit.serving.browsing import Seen, browsing
from tests.unit.serving.running import running

pytestmark = [pytest.mark.system, pytest.mark.realtime]

RATES = [
    (48_000, 16_000),
    (44_100, 16_000),
    (16_000, 48_000),
    (24_000, 44_100),
    (22_050, 48_000),
    (96_000, 16_000),
    (24_000, 24_000),
]
RESAMPLE = """async ([from, to, samples, sizes]) => {
  const { Resampler } = await import("/page/resample.js");
  const resampler = new Resampler(from, to);
  const found = [];
  let at = 0;
  for (const size of sizes) {
    found.push(...resampler.push(Float32Array.from(samples.slice(at, at + size))));
    at += size;
  }
  return [...found, ...resampler.push(Float32Array.from(samples.slice(at)), true)];
}"""
PLAY = """async (steps) => {
  const { Playing } = await import("/page/playing.js");
  const playing = new Playing(1000);
  const told = [];
  for (const [name, ...given] of steps) {
    if (name === "render") {
      const output = new Float32Array(given[0]).fill(9);
      const began = playing.render(output);
      const { epoch, played, waiting, running } = playing;
      const { target, underruns } = playing.jitter;
      told.push({ output: [...output], began, epoch, played, waiting, running, target, underruns });
    } else if (name === "push") {
      playing.push(given[0], new Float32Array(given[1]).fill(given[2] ?? 0.5));
    } else {
      playing[name](...given);
    }
  }
  return told;
}"""


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    with running() as server, browsing() as found:
        found.open(server.url)
        yield found


def resampled(seen: Seen, samples: np.ndarray, rates: tuple[int, int], sizes: list[int]) -> np.ndarray:
    return np.asarray(seen.page.evaluate(RESAMPLE, [*rates, samples.tolist(), sizes]))


def play(seen: Seen, *steps: tuple[Any, ...]) -> list[dict[str, Any]]:
    """What was told after each ``render``; a thousand samples are a second."""
    found: list[dict[str, Any]] = seen.page.evaluate(PLAY, [list(step) for step in steps])
    return found


def tone(frequency: float, rate: int, seconds: float = 0.4) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)


# -- resampling ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rates", RATES)
def test_it_resamples_like_a_library(seen: Seen, rates: tuple[int, int]) -> None:
    one, other = rates
    low = min(one, other)
    wave = tone(440, one) + 0.3 * tone(low * 0.35, one)
    found = resampled(seen, wave, rates, [])
    wanted = soxr.resample(wave, one, other, "VHQ")
    assert len(found) == int(np.ceil(len(wave) * other / one))
    inner = slice(round(0.05 * other), round(0.35 * other))
    error = found[inner] - wanted[inner]
    assert 10 * np.log10(np.mean(wanted[inner] ** 2) / max(np.mean(error**2), 1e-20)) > 55


@pytest.mark.parametrize(
    ("rates", "frequency"), [((48_000, 16_000), 9_000.0), ((44_100, 16_000), 12_000.0), ((16_000, 48_000), 3_000.0)]
)
def test_aliases_are_not_heard(seen: Seen, rates: tuple[int, int], frequency: float) -> None:
    found = resampled(seen, tone(frequency, rates[0]), rates, [])
    spectrum = np.abs(np.fft.rfft(found * np.hanning(len(found)))) / (len(found) / 8)
    wanted = frequency if frequency < rates[1] / 2 else None
    places = np.fft.rfftfreq(len(found), 1 / rates[1])
    rest = spectrum[np.abs(places - wanted) > 60] if wanted else spectrum
    assert 20 * np.log10(rest.max()) < -60


@pytest.mark.parametrize("rates", RATES[:4])
def test_pieces_make_the_same_as_the_whole(seen: Seen, rates: tuple[int, int]) -> None:
    random = np.random.default_rng(11)
    wave = random.uniform(-0.5, 0.5, 3000).astype(np.float32)
    whole = resampled(seen, wave, rates, [])
    sizes = [1, 0, 7, 128, 128, 960, 1, 500]
    assert np.array_equal(resampled(seen, wave, rates, sizes), whole)


# -- playing ---------------------------------------------------------------------------------------------------------------


def test_playing_waits_for_eighty_milliseconds(seen: Seen) -> None:
    first, second = play(seen, ("push", 1, 70), ("render", 20), ("push", 1, 10), ("render", 20))
    assert first["output"] == [0] * 20
    assert not first["running"]
    assert first["played"] == 0
    assert second["began"] == 1
    assert second["output"] == [0.5] * 20
    assert second["played"] == pytest.approx(0.02)
    assert second["waiting"] == pytest.approx(0.06)


def test_a_short_answer_that_is_whole_does_not_wait(seen: Seen) -> None:
    told = play(seen, ("push", 1, 30), ("whole", 1), ("render", 20), ("render", 20), ("render", 20))
    assert told[1]["output"] == [0.5] * 10 + [0] * 10
    assert not told[2]["running"]
    assert told[2]["played"] == pytest.approx(0.03)
    assert told[2]["underruns"] == 0


def test_running_dry_is_counted_and_makes_the_buffer_larger(seen: Seen) -> None:
    told = play(
        seen, ("push", 1, 80), ("render", 100), ("push", 1, 100), ("render", 20), ("push", 1, 20), ("render", 20)
    )
    assert told[0]["output"] == [0.5] * 80 + [0] * 20
    assert told[0]["underruns"] == 1
    assert told[0]["target"] == pytest.approx(0.12)
    assert told[1]["output"] == [0] * 20
    assert told[2]["output"] == [0.5] * 20
    # Silence is no part of what was played.
    assert told[2]["played"] == pytest.approx(0.1)


def test_the_buffer_grows_to_a_bound_and_shrinks_slowly(seen: Seen) -> None:
    worst = play(seen, *[step for _ in range(12) for step in (("push", 1, 600), ("render", 700))])
    assert worst[-1]["target"] == pytest.approx(0.5)
    assert worst[-1]["underruns"] == 12
    calm = play(seen, ("push", 1, 40_000), *[("render", 1000)] * 30)
    targets = [one["target"] for one in calm]
    assert targets[3] == pytest.approx(0.08)
    assert targets == sorted(targets, reverse=True)
    assert targets[-1] == pytest.approx(0.04)


def test_a_buffer_without_reserve_does_not_shrink(seen: Seen) -> None:
    steps: list[tuple[Any, ...]] = [("push", 1, 90)]
    for _ in range(400):
        steps += [("render", 20), ("push", 1, 20)]
    assert play(seen, *steps)[-1]["target"] == pytest.approx(0.08)


def test_clearing_is_at_once_and_for_good(seen: Seen) -> None:
    told = play(
        seen, ("push", 1, 500), ("render", 100), ("clear", 1), ("push", 1, 500), ("render", 100), ("render", 100)
    )
    assert told[1]["output"][:5] == sorted(told[1]["output"][:5], reverse=True)
    assert told[1]["output"][5:] == [0] * 95
    assert told[2]["output"] == [0] * 100
    assert told[2]["played"] == pytest.approx(0.1)
    assert told[2]["waiting"] == 0
    assert told[2]["underruns"] == 0


def test_clearing_everything_needs_no_epoch(seen: Seen) -> None:
    told = play(
        seen,
        ("push", 2, 500),
        ("push", 3, 500),
        ("clear",),
        ("push", 3, 500),
        ("render", 20),
        ("push", 4, 100),
        ("render", 20),
    )
    assert told[0]["output"] == [0] * 20
    assert told[1]["began"] == 4


def test_answers_are_played_one_after_the_other_and_counted_apart(seen: Seen) -> None:
    told = play(
        seen,
        ("push", 1, 90),
        ("whole", 1),
        ("push", 2, 100, 0.25),
        ("render", 100),
        ("render", 50),
        ("clear", 1),
        ("render", 40),
    )
    assert told[0]["output"] == [0.5] * 90 + [0.25] * 10
    assert (told[0]["began"], told[0]["epoch"]) == (2, 2)
    assert told[0]["played"] == pytest.approx(0.01)
    # What is cleared is an older answer: this one goes on.
    assert told[2]["output"] == [0.25] * 40
    assert told[2]["played"] == pytest.approx(0.1)


def test_ducking_is_soft_and_takes_five_milliseconds(seen: Seen) -> None:
    told = play(seen, ("push", 1, 900), ("render", 10), ("duck", True), ("render", 20), ("duck", False), ("render", 20))
    down, up = told[1]["output"], told[2]["output"]
    assert down == sorted(down, reverse=True)
    assert down[5:] == pytest.approx([0.1] * 15)
    assert up[5:] == pytest.approx([0.5] * 15)


def test_a_new_connection_counts_anew(seen: Seen) -> None:
    told = play(seen, ("push", 5, 100), ("render", 50), ("reset",), ("push", 1, 100), ("render", 20))
    assert told[1]["began"] == 1
    assert told[1]["played"] == pytest.approx(0.02)
