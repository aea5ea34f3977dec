"""Transcribe: flags, figures, engines, and that a clip's text depends on that clip alone."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from Emilia.config import Config, load_config
from Emilia.errors import ModelMissing
from Emilia.models.pocketsphinx import Pocketsphinx, spoken_words
from Emilia.models.whisper import Whisper
from Emilia.recording import Asr, Audio, Recording, Segment, Waveform
from Emilia.stages import transcribe
from Emilia.stages.transcribe import Hypothesis, NoRecogniser, Transcribe, compression_ratio, repeats
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import Samples, hush


class Script:
    """A recogniser that reads its answers from a list."""

    models: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, answers: list[Hypothesis], languages: frozenset[str] | None = None) -> None:
        self.answers, self.languages = answers, languages
        self.asked: list[str | None] = []

    def load(self, device: str) -> None: ...

    def close(self) -> None: ...

    def recognise(self, clips: list[Audio], language: str | None) -> list[Hypothesis]:
        self.asked.append(language)
        taken, self.answers = self.answers[: len(clips)], self.answers[len(clips) :]
        return taken


Make = Callable[..., Recording]


@pytest.fixture
def pieces(tmp_path: Path, wave: Callable[[Samples], Waveform]) -> Make:
    """Makes a recording with ``count`` segments of ``seconds``."""

    def make(count: int, language: str | None = "en", seconds: float = 2.0) -> Recording:
        waveform = wave(np.zeros(round(count * seconds * 16000), np.float32))
        made = Recording(tmp_path, "ep", tmp_path, tmp_path, language, narrow=waveform)
        made.segments = [Segment(i * seconds, (i + 1) * seconds, "ep/S00", i) for i in range(count)]
        return made

    return make


def run(recording: Recording, recogniser: Script | None = None, **options: object) -> list[Segment]:
    stage = Transcribe(load_config(None, overrides={f"transcribe.{k}": v for k, v in options.items()}))
    if recogniser is None:
        stage.load("cpu")
    else:
        stage._recogniser = recogniser
    stage.run(recording, hush)
    return recording.pieces()


def said(text: str, language: str = "en", **figures: float) -> Hypothesis:
    return Hypothesis(text, language, Asr(**figures))


def test_texts_land_on_their_segments_in_batches(pieces: Make) -> None:
    script = Script([said(f"text number {n}") for n in range(5)])
    segments = run(pieces(5), script, batch=2)
    assert [segment.text for segment in segments] == [f"text number {n}" for n in range(5)]
    assert script.asked == ["en"] * 3
    assert all(segment.flags == [] for segment in segments)


def test_compression_is_counted_as_whisper_counts_it(pieces: Make) -> None:
    text = "so it goes and so it went"
    (segment,) = run(pieces(1), Script([said(text)]))
    assert segment.asr.compression_ratio == len(text.encode()) / len(zlib.compress(text.encode()))
    assert segment.asr.avg_logprob is segment.asr.no_speech_prob is segment.asr.language_probability is None


@pytest.mark.parametrize(
    ("hypothesis", "flag"),
    [
        (said(""), "few_characters"),
        (said("a"), "few_characters"),
        (said("no no no no no"), "repetition"),
        (said("I see it here. " * 20), "repetition"),
        (said("well", compression_ratio=2.5), "repetition"),
        (said("fine words", avg_logprob=-1.2), "low_confidence"),
        (said("fine words", no_speech_prob=0.7), "low_confidence"),
        (said("bonjour", "fr"), "unsupported_language"),
    ],
)
def test_every_doubt_is_a_flag(pieces: Make, hypothesis: Hypothesis, flag: str) -> None:
    (segment,) = run(pieces(1), Script([hypothesis]), languages=["en", "de"])
    assert segment.flags == [flag]
    assert segment.text == hypothesis.text


def test_outcome_when_no_segment_is_in_a_wanted_language(pieces: Make) -> None:
    recording = pieces(2)
    run(recording, Script([said("bonjour", "fr"), said("oui oui", "fr")]), languages=["en"])
    assert recording.outcome == "unsupported_language"
    recording = pieces(2)
    run(recording, Script([said("bonjour", "fr"), said("yes sir", "en")]), languages=["en"])
    assert recording.outcome == "ok"


def test_odd_rates_against_the_quartiles(pieces: Make) -> None:
    texts = ["x" * length for length in (20, 21, 22, 19, 20, 23, 21, 3, 60)]
    segments = run(pieces(9), Script([said(text) for text in texts]), max_compression=99.0)
    rates = np.array([2.0 / len(text) for text in texts])
    low, high = np.percentile(rates, [25, 75])
    odd = [not low - 1.5 * (high - low) <= rate <= high + 1.5 * (high - low) for rate in rates]
    assert [("odd_rate" in segment.flags) for segment in segments] == odd
    assert sum(odd) == 2


def test_rates_need_company(pieces: Make) -> None:
    segments = run(pieces(3), Script([said("x" * 20), said("y" * 21), said("z" * 200)]), max_compression=99.0)
    assert all("odd_rate" not in segment.flags for segment in segments)


@pytest.mark.parametrize("unknown", [None, "", "unknown", "und"])
def test_unknown_language_is_assumed_and_flagged(pieces: Make, unknown: str | None) -> None:
    script = Script([said("some words")], frozenset({"en"}))
    (segment,) = run(pieces(1, unknown), script)
    assert segment.flags == ["language_assumed"]
    assert script.asked == ["en"]


def test_engine_that_detects_is_left_to_detect(pieces: Make) -> None:
    script = Script([said("some words", "fr")])
    (segment,) = run(pieces(1, None), script)
    assert segment.flags == []
    assert segment.language == "fr"
    assert script.asked == [None]


def test_other_language_gives_no_text(pieces: Make) -> None:
    script = Script([], frozenset({"en"}))
    (segment,) = run(pieces(1, "fr"), script)
    assert (segment.text, segment.language, segment.flags) == ("", "fr", ["no_asr"])
    assert script.asked == []


def test_no_engine_is_a_flag(pieces: Make) -> None:
    for language, expected in (("en", "en"), (None, "unknown")):
        (segment,) = run(pieces(1, language), None, engine="none")
        assert (segment.text, segment.language, segment.flags) == ("", expected, ["no_asr"])
    assert NoRecogniser(load_config(None)).recognise([np.zeros(1, np.float32)], None)[0].text == ""


def test_auto_takes_what_is_there(monkeypatch: pytest.MonkeyPatch, config: Config) -> None:
    stage = Transcribe(config)
    stage.load("cpu")
    assert stage.engine == "pocketsphinx"
    assert list(stage.models) == ["pocketsphinx"]
    stage.close()
    monkeypatch.setitem(transcribe.ENGINES, "pocketsphinx", "Emilia.models.whisper:Whisper")
    stage = Transcribe(config)
    stage.load("cpu")
    assert stage.engine == "none"
    assert stage.models == {}


def test_whisper_without_a_model_names_the_cure(config: Config) -> None:
    with pytest.raises(ModelMissing, match="CTranslate2"):
        Whisper(config).load("cpu")


@pytest.mark.parametrize(
    ("text", "times"), [("ha ha ha ha", True), ("ha ha ha", False), ("a b a b a b a b", True), ("", False)]
)
def test_repeats(text: str, times: bool) -> None:
    assert repeats(text) is times


def test_compression_ratio_grows_with_repetition() -> None:
    assert compression_ratio("tell me more " * 30) > 2.4 > compression_ratio("tell me more about the harbour")


def test_marks_are_no_words() -> None:
    assert spoken_words("<s> hello(2) <sil> [NOISE] ++um++ world [SPEECH] </s>") == "hello world"


def test_a_clip_is_read_alone(config: Config) -> None:
    """A, B, A, then the same in a fresh recogniser: the same text and the same scores to the last bit."""
    one, other = synth.speech(3.1, synth.MAN, 1), synth.speech(1.3, synth.WOMAN, 2)

    def scores(recogniser: Pocketsphinx, clip: Audio) -> tuple[str, float, list[tuple[str, int, float]]]:
        text = recogniser.recognise([clip], "en")[0].text
        decoder = recogniser._decoder
        words = [(word.word, word.start_frame, word.ascore) for word in decoder.seg()]
        return text, decoder.hyp().best_score, words

    first, second = Pocketsphinx(config), Pocketsphinx(config)
    first.load("cpu")
    second.load("cpu")
    runs = [scores(first, clip) for clip in (one, other, one)]
    assert runs[0] == runs[2]
    assert scores(second, other) == runs[1]
    assert scores(second, one) == runs[0]
    assert runs[0] != runs[1]


def test_silence_and_nothing_have_no_text(config: Config) -> None:
    recogniser = Pocketsphinx(config)
    recogniser.load("cpu")
    found = recogniser.recognise([np.zeros(count, np.float32) for count in (0, 1, 100, 1000, 16000)], "en")
    assert [hypothesis.text for hypothesis in found] == [""] * 5
