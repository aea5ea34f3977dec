"""Transcribe: flags, figures, engines, and that a clip's text depends on that clip alone."""

from __future__ import annotations

import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from Emilia.batching import Batcher
from Emilia.config import Config, load_config
from Emilia.doubts import compression_ratio, repeats
from Emilia.errors import ModelMissing
from Emilia.models.pocketsphinx import Pocketsphinx, spoken_words
from Emilia.models.whisper import Whisper
from Emilia.recording import Asr, Audio, Recording, Segment, Waveform, Word
from Emilia.stage import Progress
from Emilia.stages import transcribe
from Emilia.stages.transcribe import Hypothesis, NoRecogniser, Transcribe
from tests.unit.emilia import synth
from tests.unit.emilia.conftest import Samples, hush


class Script:
    """A recogniser that reads its answers from a list."""

    models: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, answers: list[Hypothesis], languages: frozenset[str] | None = None) -> None:
        self.answers, self.languages = answers, languages
        self.asked: list[list[str | None]] = []

    def load(self, device: str) -> None: ...

    def close(self) -> None: ...

    def window(self, samples: int) -> int:
        return samples

    def prepare(self, clip: Audio) -> Audio:
        return clip

    def recognise(self, clips: list[Audio], languages: Sequence[str | None]) -> list[Hypothesis]:
        self.asked.append(list(languages))
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
    try:
        stage.run(recording, hush)
    finally:
        stage.close()
    return recording.pieces()


def said(text: str, language: str = "en", **figures: float) -> Hypothesis:
    return Hypothesis(text, language, Asr(**figures))


def test_texts_land_on_their_segments_in_batches(pieces: Make) -> None:
    script = Script([said(f"text number {n}") for n in range(5)])
    segments = run(pieces(5), script, batch=2)
    assert [segment.text for segment in segments] == [f"text number {n}" for n in range(5)]
    assert script.asked == [["en", "en"], ["en", "en"], ["en"]]
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
    assert script.asked == [["en"]]


def test_engine_that_detects_is_left_to_detect(pieces: Make) -> None:
    script = Script([said("some words", "fr")])
    (segment,) = run(pieces(1, None), script)
    assert segment.flags == []
    assert segment.language == "fr"
    assert script.asked == [[None]]


def test_other_language_gives_no_text(pieces: Make) -> None:
    script = Script([], frozenset({"en"}))
    (segment,) = run(pieces(1, "fr"), script)
    assert (segment.text, segment.language, segment.flags) == ("", "fr", ["no_asr"])
    assert script.asked == []


def test_no_engine_is_a_flag(pieces: Make) -> None:
    for language, expected in (("en", "en"), (None, "unknown")):
        (segment,) = run(pieces(1, language), None, engine="none")
        assert (segment.text, segment.language, segment.flags) == ("", expected, ["no_asr"])
    assert NoRecogniser(load_config(None)).recognise([np.zeros(1, np.float32)], [None])[0].text == ""


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
        text = recogniser.recognise([clip], ["en"])[0].text
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
    found = recogniser.recognise([np.zeros(count, np.float32) for count in (0, 1, 100, 1000, 16000)], ["en"] * 5)
    assert [hypothesis.text for hypothesis in found] == [""] * 5


class Echo:
    """A recogniser that says where in the episode a clip came from, and counts how clips were read and grouped."""

    languages: frozenset[str] | None = None
    models: dict[str, str] = {}  # noqa: RUF012

    def __init__(self, raising: Callable[[list[str]], None] = lambda _: None) -> None:
        self.calls: list[list[str]] = []
        self.held = self.most_held = 0
        self._raising = raising

    def load(self, device: str) -> None: ...

    def close(self) -> None: ...

    def window(self, samples: int) -> int:
        return -(-samples // 16000)

    def prepare(self, clip: Audio) -> Audio:
        self.held += 1
        self.most_held = max(self.most_held, self.held)
        return clip

    def recognise(self, clips: list[Audio], languages: Sequence[str | None]) -> list[Hypothesis]:
        said = [f"clip at {clip[0] * 10000:.0f}" for clip in clips]
        self.calls.append(said)
        self._raising(said)
        self.held -= len(clips)
        return [
            Hypothesis(text, language or "en", Asr(), passes=1.0, computed=float(self.window(len(clip))))
            for text, clip, language in zip(said, clips, languages, strict=True)
        ]


@pytest.fixture
def episode(tmp_path: Path, wave: Callable[[Samples], Waveform]) -> Make:
    """Makes an episode whose samples count up from ``first``, by one a second in ten-thousandths, and its segments."""

    def make(first: int, lengths: Sequence[float], language: str = "en") -> Recording:
        bounds = np.concatenate([[0.0], np.cumsum(np.ceil(lengths))])
        samples = np.repeat(first + np.arange(bounds[-1]), 16000).astype(np.float32) / 10000
        made = Recording(tmp_path, f"ep{first}", tmp_path, tmp_path, language, narrow=wave(samples))
        made.segments = [
            Segment(at, at + length, "ep/S00", i) for i, (at, length) in enumerate(zip(bounds, lengths, strict=False))
        ]
        return made

    return make


def expected(recording: Recording) -> list[str]:
    first = int(recording.episode.removeprefix("ep"))
    return [f"clip at {first + segment.start:.0f}" for segment in recording.pieces()]


def together(stage: Transcribe, recordings: Sequence[Recording], progress: Sequence[Progress] | None = None) -> None:
    """Run the stage on all recordings at once, each in its own thread, as the pipeline does."""
    start = threading.Barrier(len(recordings))

    def one(recording: Recording, tell: Progress) -> None:
        with stage.coming():
            start.wait(20)
            with suppress(InterruptedError):
                stage.run(recording, tell)

    tellers = progress or [hush] * len(recordings)
    threads = [threading.Thread(target=one, args=pair) for pair in zip(recordings, tellers, strict=True)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
        assert not thread.is_alive()


def echoing(echo: Echo, **options: object) -> Transcribe:
    stage = Transcribe(load_config(None, overrides={f"transcribe.{k}": v for k, v in options.items()}))
    stage._recogniser = echo
    return stage


def test_episodes_share_calls_and_get_their_own_texts(episode: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe, "Batcher", partial(Batcher, linger=3600.0))
    echo = Echo()
    stage = echoing(echo, batch=4)
    recordings = [episode(first, [2.0, 3.5, 2.0], language) for first, language in ((100, "en"), (200, "de"))]
    together(stage, recordings)
    stage.close()
    for recording, language in zip(recordings, ("en", "de"), strict=True):
        assert [segment.text for segment in recording.pieces()] == expected(recording)
        assert {segment.language for segment in recording.pieces()} == {language}
    assert sorted(map(len, echo.calls)) == [2, 4], "four clips of two seconds and two of four, whose ever they are"


def test_figures_of_an_episode(episode: Make) -> None:
    recording = episode(100, [2.0, 3.5, 2.0])
    stage = echoing(Echo(), batch=4)
    assert stage.idle_share() is None
    stage.run(recording, hush)
    assert recording.facts == {
        "asr_clips": 3,
        "asr_calls": 2,
        "asr_fill": 0.9375,
        "asr_padding_waste": 0.0625,
        "asr_encoder_passes": 1.0,
    }
    assert 0 <= (stage.idle_share() or -1) <= 1
    stage.close()


def test_a_stopped_episode_leaves_the_others_alone(episode: Make) -> None:
    """Its scratch file goes away at once, as when its work is handed back; nobody else may notice."""
    stopped, other = episode(100, [2.0] * 40), episode(500, [2.0] * 10)
    ran = threading.Event()

    def slow(said: list[str]) -> None:
        ran.set()
        time.sleep(0.05)

    def stop(_share: float) -> None:
        assert ran.is_set()
        stopped.narrow_rate().path.unlink()
        raise InterruptedError

    echo = Echo(slow)
    stage = echoing(echo)
    together(stage, [stopped, other], [stop, hush])
    stage.close()
    assert [segment.text for segment in other.pieces()] == expected(other)
    assert [segment.text for segment in stopped.pieces()] == [""] * 40
    assert len(echo.calls) < 50


def test_audio_is_read_when_its_turn_comes(episode: Make) -> None:
    echo = Echo()
    stage = echoing(echo, batch=4)
    stage.run(episode(100, [2.0] * 60), hush)
    stage.close()
    # One batch in the recogniser, one ready, and one being read.
    assert echo.most_held <= 12


def test_an_episode_that_never_comes_is_not_waited_for(episode: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcribe, "Batcher", partial(Batcher, linger=3600.0))
    stage = echoing(Echo(), batch=8)
    with suppress(RuntimeError), stage.coming():
        raise RuntimeError
    with stage.coming():
        stage.run(episode(100, [2.0]), hush)
    spoken = echoing(Echo(), batch=8)
    spoken._recogniser = NoRecogniser(load_config(None))
    with spoken.coming():
        spoken.run(episode(200, [2.0]), hush)
        spoken._recogniser = Echo()
        spoken.run(episode(300, [2.0]), hush)
    stage.close()
    spoken.close()


def test_a_failing_call_fails_its_episode(episode: Make) -> None:
    def fail(said: list[str]) -> None:
        raise ValueError("bad shape")

    stage = echoing(Echo(fail))
    with pytest.raises(ValueError, match="bad shape"):
        stage.run(episode(100, [2.0]), hush)
    stage.close()


def test_no_segments_need_no_call(episode: Make) -> None:
    recording = episode(100, [])
    stage = echoing(Echo())
    stage.run(recording, hush)
    assert recording.pieces() == []
    stage.close()


def test_words_and_temperature_land_on_the_segment(pieces: Make) -> None:
    words = (Word(0.25, 1.0004, "good", 0.9), Word(1.0004, 2.3, "day", 0.8))
    script = Script([said("x y"), Hypothesis("good day", "en", Asr(), words=words, temperature=0.4)])
    first, second = run(pieces(2), script, batch=2)
    assert second.words == [Word(2.25, 3.0, "good", 0.9), Word(3.0, 4.0, "day", 0.8)]
    assert (first.words, first.extra, second.extra) == ([], {}, {"temperature": 0.4})


def test_a_detection_that_is_not_sure_is_flagged_without_another_word_for_it(pieces: Make) -> None:
    for expected, probability, flags in (
        (None, 0.8, ["language_uncertain"]),
        (None, 0.81, []),
        ("en", 0.3, []),
    ):
        (segment,) = run(pieces(1, expected), Script([said("some words", language_probability=probability)]))
        assert segment.flags == flags


def test_compat_keeps_what_the_published_rule_keeps(pieces: Make) -> None:
    """Published: ``language in supported and prob > 0.8`` keeps a segment, whatever the caller expected."""
    supported = ["zh", "en", "fr", "ja", "ko", "de"]
    rng = np.random.default_rng(7)
    languages = [str(name) for name in rng.choice([*supported, "es", "cy"], 200)]
    probabilities = np.concatenate([rng.random(197), [0.8, 0.80001, 0.79999]])
    recording = pieces(200, "en", 0.5)
    stage = Transcribe(
        load_config(
            None, overrides={"pipeline.compat": True, "transcribe.languages": supported, "transcribe.batch": 200}
        )
    )
    stage._recogniser = Script(
        [
            said(f"some words {n}", language, language_probability=float(probability))
            for n, (language, probability) in enumerate(zip(languages, probabilities, strict=True))
        ]
    )
    stage.run(recording, hush)
    stage.close()
    kept = [not {"language_uncertain", "unsupported_language"} & set(segment.flags) for segment in recording.pieces()]
    published = [lang in supported and prob > 0.8 for lang, prob in zip(languages, probabilities, strict=True)]
    assert kept == published
    assert 10 < sum(kept) < 100
