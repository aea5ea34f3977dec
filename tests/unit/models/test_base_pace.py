"""Rate, pitch and energy of rows: each moves what it says and nothing else, and a stream is the whole."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from duplexforge.errors import InputError, UsageError
from duplexforge.models.base import BaseCodec, open_mode
from duplexforge.models.base_analysis import BREATHS, GAINS, HOP, WIDTH, Heard
from duplexforge.models.base_pace import Paced, Timeline
from duplexforge.models.quality import f0_track
from duplexforge.voices import Controls
from tests.unit.models.vowels import vowel
from tests.unit.training.made import voice

RATE = 16_000
RATES = st.floats(0.5, 2.0)
SHAPE = slice(GAINS + 2 * BREATHS, None)


@pytest.fixture(scope="module")
def codec() -> BaseCodec:
    return open_mode("base")


@pytest.fixture(scope="module")
def tokens(codec: BaseCodec) -> np.ndarray:
    return codec.tokens(voice(1.2, 130, seed=4))


def said(codec: BaseCodec, tokens: np.ndarray, **controls: float) -> np.ndarray:
    paced = Paced(codec, Controls(**controls))  # type: ignore[arg-type]
    return np.concatenate([*(paced.push(row) for row in tokens), paced.flush()])


def pitch(wave: np.ndarray) -> float:
    track = f0_track(wave, RATE)
    return float(np.median(track[track > 0]))


def level(wave: np.ndarray) -> float:
    return float(np.sqrt(np.mean(wave.astype(np.float64) ** 2)))


# -- the sound ---------------------------------------------------------------------------------------------------------


def test_at_rate_one_it_is_the_decoder_to_the_last_bit(codec: BaseCodec, tokens: np.ndarray) -> None:
    assert np.array_equal(said(codec, tokens), codec.decoder().push_tokens(tokens[None])[0])
    decoder = codec.decoder()
    decoder.set_controls(0, pitch=1.2, energy=0.7)
    assert np.array_equal(said(codec, tokens, pitch=1.2, energy=0.7), decoder.push_tokens(tokens[None])[0])


@pytest.mark.parametrize("rate", [0.5, 0.8, 1.25, 2.0])
def test_the_rate_moves_the_length_and_neither_pitch_nor_energy(
    codec: BaseCodec, tokens: np.ndarray, rate: float
) -> None:
    plain, moved = said(codec, tokens), said(codec, tokens, rate=rate)
    assert abs(len(moved) - len(plain) / rate) <= 1
    assert pitch(moved) == pytest.approx(pitch(plain), rel=0.03)
    assert level(moved) == pytest.approx(level(plain), rel=0.06)


@pytest.mark.parametrize("rate", [0.6, 1.5])
def test_the_melody_and_the_syllables_move_with_the_rate(codec: BaseCodec, tokens: np.ndarray, rate: float) -> None:
    plain, moved = said(codec, tokens), said(codec, tokens, rate=rate)
    places = np.linspace(0.05, 0.95, 60)
    heard = [f0_track(wave, RATE) for wave in (plain, moved)]
    first, second = (track[np.int64(places * len(track))] for track in heard)
    voiced = (first > 0) & (second > 0)
    assert voiced.sum() > 30
    assert ((first > 0) == (second > 0)).mean() > 0.9
    assert np.corrcoef(first[voiced], second[voiced])[0, 1] > 0.97
    assert np.ptp(first[voiced]) > 15
    loud = [np.sqrt(np.convolve(wave**2, np.ones(640), "same")) for wave in (plain, moved)]
    assert np.corrcoef(*(line[np.int64(places * len(line))] for line in loud))[0, 1] > 0.97


@pytest.mark.parametrize("factor", [0.75, 1.3])
def test_pitch_and_energy_move_by_their_factors(codec: BaseCodec, tokens: np.ndarray, factor: float) -> None:
    plain = said(codec, tokens, rate=1.2)
    higher = said(codec, tokens, pitch=factor, rate=1.2)
    assert len(higher) == len(plain)
    assert pitch(higher) / pitch(plain) == pytest.approx(factor, rel=0.03)
    assert np.allclose(said(codec, tokens, energy=factor, rate=1.2), plain * factor, atol=1e-6)


@pytest.mark.parametrize("rate", [0.5, 0.77, 1.4, 2.0])
def test_a_vowel_at_any_rate_has_no_gap_and_no_click(codec: BaseCodec, rate: float) -> None:
    tokens = codec.tokens(vowel(150, 0.8))
    plain, moved = said(codec, tokens), said(codec, tokens, rate=rate)
    inner = moved[2000:-2000]
    blocks = np.array([level(block) for block in np.split(inner[: len(inner) // 320 * 320], len(inner) // 320)])
    assert blocks.min() > 0.7 * blocks.max()
    assert np.abs(np.diff(inner)).max() <= 1.2 * np.abs(np.diff(plain[2000:-2000])).max()


@given(rate=RATES, cuts=st.lists(st.integers(0, 4), max_size=8))
@settings(max_examples=8, deadline=None)
def test_samples_come_as_soon_as_their_rows_and_add_up_to_the_length(rate: float, cuts: list[int]) -> None:
    codec = open_mode("base")
    tokens = codec.tokens(voice(0.4, 150, seed=5))
    whole, paced = said(codec, tokens, rate=rate), Paced(codec, Controls(rate=rate))
    came: list[np.ndarray] = []
    for number, row in enumerate(tokens, 1):
        came.append(paced.push(row))
        # No more than a row is ever held back; the part of a sample is what a sum of rates may be off.
        assert -0.01 <= number * HOP / rate - sum(map(len, came)) < HOP + 1
    pieces = np.concatenate([*came, paced.flush()])
    assert np.array_equal(pieces, whole)
    assert abs(len(whole) - len(tokens) * HOP / rate) <= 1
    # After the end it is as new, whatever was begun in between.
    for cut in cuts:
        for row in tokens[:cut]:
            paced.push(row)
        paced.reset()
    again = np.concatenate([*(paced.push(row) for row in tokens), paced.flush()])
    assert np.array_equal(again, whole)


def test_controls_change_from_the_next_row_on(codec: BaseCodec, tokens: np.ndarray) -> None:
    paced = Paced(codec)
    head = [paced.push(row) for row in tokens[:10]]
    paced.set_controls(Controls(rate=0.5))
    tail = [*(paced.push(row) for row in tokens[10:]), paced.flush()]
    assert np.array_equal(np.concatenate(head), said(codec, tokens)[: 10 * HOP])
    assert len(np.concatenate(tail)) == 2 * (len(tokens) - 10) * HOP


def test_nothing_in_is_nothing_out_and_what_is_no_row_is_refused(codec: BaseCodec) -> None:
    paced = Paced(codec, Controls(rate=1.7))
    assert paced.flush().shape == (0,)
    for row in (np.zeros(5, np.int64), np.full(6, 1024), np.full(6, -1)):
        with pytest.raises(InputError, match="6 whole numbers from 0 to 1023"):
            paced.push(row)


# -- the line of points ------------------------------------------------------------------------------------------------


def read(rows: list[Heard], rate: float) -> list[Heard]:
    line = Timeline(rate)
    found = [one for row in rows for one in line.push(row)]
    return found + line.flush()[0]


def slope(count: int, pitches: tuple[float, float] = (100.0, 100.0)) -> list[Heard]:
    """Rows whose numbers all rise by one a row: what is read at a place says where that is."""
    rows = []
    for number in range(count):
        loud = number + np.arange(1, GAINS + 1) / GAINS
        knots = number + np.array([0.5, 1.0])
        rest = [np.repeat(knots, BREATHS), np.repeat(knots, (WIDTH - GAINS - 2 * BREATHS) // 2)]
        rows.append(Heard(np.array(pitches), np.concatenate([loud, *rest])))
    return rows


@given(rate=RATES, count=st.integers(1, 30))
def test_every_point_is_read_at_its_place(rate: float, count: int) -> None:
    found = read(slope(count), rate)
    assert -1e-5 < len(found) - count / rate < 1 + 1e-5
    for number, row in enumerate(found):
        loud = (number + np.arange(1, GAINS + 1) / GAINS) * rate
        assert row.vector[:GAINS] == pytest.approx(np.clip(loud, 1 / GAINS, count), abs=1e-5)
        first, second = np.clip((number + np.array([0.5, 1.0])) * rate, 0.5, count)
        assert row.vector[GAINS : GAINS + BREATHS] == pytest.approx(first, abs=1e-5)
        assert row.vector[SHAPE][-1] == pytest.approx(second, abs=1e-5)


@given(seed=st.integers(0, 1 << 30), count=st.integers(0, 12))
@settings(max_examples=20)
def test_rate_one_gives_the_rows_back(seed: int, count: int) -> None:
    random = np.random.default_rng(seed)
    rows = [Heard(random.choice([0.0, 90.1, 310.7], 2), random.standard_normal(WIDTH)) for _ in range(count)]
    for found, row in zip(read(rows, 1.0), rows, strict=True):
        assert np.array_equal(found.vector, row.vector)
        assert np.array_equal(found.pitches, row.pitches)


def test_pitch_goes_in_octaves_and_is_nowhere_half_there() -> None:
    flat = np.zeros(WIDTH)
    voiced = [Heard(np.array([100.0, 200.0]), flat), Heard(np.array([200.0, 200.0]), flat)]
    # At half the rate the knots lie at 0, 1/2, 1 and so on, between the knots that were said.
    assert [round(float(one), 3) for row in read(voiced, 0.5)[:2] for one in row.pitches] == [100, 100, 141.421, 200]
    broken = slope(2, (120.0, 0.0))
    for rate in np.linspace(0.5, 2, 40):
        for row in read(broken, float(rate)):
            assert set(row.pitches.round(6)) <= {0.0, 120.0}
            # Breath goes with the pitch that was taken, so that no voice is made of half a one.
            knots = row.vector[GAINS : GAINS + 2 * BREATHS].reshape(2, BREATHS)[:, 0]
            for height, share in zip(row.pitches, knots, strict=True):
                assert share in ((0.5, 1.5) if height else (1.0, 2.0))


def test_a_long_line_stays_on_time_and_forgets() -> None:
    line, given_back = Timeline(1.1), 0
    row = slope(1)[0]
    for _ in range(5000):
        given_back += len(line.push(row))
        assert len(line._rows) <= 4
    assert given_back == int(5000 / 1.1)
    rest, part = line.flush()
    assert len(rest) == 1
    assert part == pytest.approx(5000 / 1.1 - given_back, abs=1e-6)
    assert line.flush() == ([], 0.0)


@pytest.mark.parametrize("rate", [0.49, 2.01, float("nan")])
def test_rates_out_of_range(rate: float) -> None:
    with pytest.raises(UsageError, match=r"between 0\.5 and 2"):
        Timeline(rate)
