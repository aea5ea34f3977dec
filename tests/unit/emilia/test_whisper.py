"""The Whisper engine on a model of random weights: windows, passes, language, figures, words, determinism. What it says
is nonsense, how is not.
"""

from __future__ import annotations

import ctypes
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import numpy as np
import pytest
from faster_whisper import WhisperModel
from faster_whisper.feature_extractor import FeatureExtractor
from faster_whisper.tokenizer import Tokenizer
from hypothesis import given, settings
from hypothesis import strategies as st

from Emilia.config import load_config
from Emilia.doubts import compression_ratio
from Emilia.errors import BadConfig, DeviceLost, ModelMissing
from Emilia.models import whisper as engine
from Emilia.models.cublas import LIBRARIES, load_cublas
from Emilia.models.whisper import Whisper, locate
from Emilia.models.whisper_mel import LogMel, cut, frames_of, lengths, shortest
from Emilia.models.whisper_words import words_of
from Emilia.recording import Audio, Recording, Segment, Waveform, Word
from Emilia.stages.transcribe import Hypothesis, Transcribe
from tests.unit.emilia import synth, tiny_whisper

# Of random weights nothing is likely: with these every text is taken at once.
TRUSTING = {"max_compression": 1e9, "min_logprob": -1e9}
DOUBTING = {"max_compression": 0.0, "min_logprob": -1e9, "max_no_speech": 1.0}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_whisper.write(tmp_path_factory.mktemp("whisper") / "tiny")


def loaded(folder: Path, compat: bool = False, **options: object) -> Whisper:
    values = {"whisper_model": str(folder), "batch": 8, **options}
    overrides = {"pipeline.compat": compat, **{f"transcribe.{k}": v for k, v in values.items()}}
    whisper = Whisper(load_config(None, overrides=overrides))
    whisper.load("cpu")
    return whisper


def read(whisper: Whisper, clips: Sequence[Audio], *languages: str | None) -> list[Hypothesis]:
    expected = languages * len(clips) if len(languages) == 1 else languages
    return whisper.recognise([whisper.prepare(clip) for clip in clips], expected)


class Counting:
    """The real model, counting calls and windows; it makes sure that only ``encode`` gets spectrograms."""

    def __init__(self, model: Any, width: int) -> None:
        self._model, self._width = model, width
        self.calls: list[tuple[str, int]] = []

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._model, name)
        if name not in ("encode", "detect_language", "generate", "align"):
            return value

        def counted(features: Any, *arguments: Any, **settings: Any) -> Any:
            rows, second, third = features.shape
            assert (second == self._model.n_mels) == (name == "encode"), "the encoder would run once more"
            assert (third == self._width) == (name != "encode")
            self.calls.append((name, rows))
            return value(features, *arguments, **settings)

        return counted

    def windows(self, name: str) -> list[int]:
        return [rows for called, rows in self.calls if called == name]


def counted(whisper: Whisper, width: int = tiny_whisper.WIDTH) -> Counting:
    counting = Counting(whisper._model, width)
    whisper._model = counting
    return counting


STARTS = [0.0, 3.1, 6.25, 9.4, 15.0]
SECONDS = [3.0, 3.05, 3.1, 5.0, 8.2]
CLIPS = [synth.speech(3.0), synth.speech(1.5, synth.WOMAN), synth.speech(2.93, synth.MAN, 5), synth.speech(2.9)]


def test_a_clip_is_read_alone_and_alike_in_a_batch(folder: Path) -> None:
    """Every retry included: with the usual limits all of these texts are doubted."""
    whisper = loaded(folder)
    alone = [read(whisper, [clip], "en")[0] for clip in CLIPS]
    assert any(one.temperature > 0 for one in alone)
    assert len({one.text for one in alone}) == 4
    assert read(whisper, CLIPS, "en") == alone
    assert read(whisper, CLIPS[::-1], "en") == alone[::-1]
    assert read(whisper, [CLIPS[0], *[CLIPS[2]] * 7], "en", *[None] * 7)[0] == alone[0]
    assert read(loaded(folder, batch=1), CLIPS, "en") == alone


@pytest.mark.parametrize("options", [TRUSTING, DOUBTING, {}], ids=["trusting", "doubting", "usual"])
def test_one_encoder_pass_a_segment(folder: Path, options: dict[str, object]) -> None:
    """Language, every decoding and the times of the words come from the same pass."""
    whisper = loaded(folder, **options)
    counting = counted(whisper)
    found = read(whisper, [*CLIPS, synth.speech(30.0)], "en", None, "de", "en", "fr")
    assert sum(counting.windows("encode")) == 5
    assert [one.passes for one in found] == [1.0] * 5
    assert sum(counting.windows("detect_language")) == 5
    assert sum(counting.windows("generate")) >= 5
    assert counting.windows("align")


def test_only_the_doubtful_are_read_again(folder: Path) -> None:
    ratios = {clip.size: compression_ratio(one.text) for clip in CLIPS for one in [read_trusting(folder, clip)]}
    limit = sorted(ratios.values())[1] + 1e-9
    whisper = loaded(folder, max_compression=limit, min_logprob=-1e9, temperatures=[0.0, 0.4])
    counting = counted(whisper)
    alike = [clip for clip in CLIPS if whisper.window(clip.size) == whisper.window(CLIPS[0].size)]
    assert len(alike) == 3
    found = read(whisper, alike, "en")
    doubted = sum(ratios[clip.size] > limit for clip in alike)
    assert 0 < doubted < 3
    assert counting.windows("generate") == [3, doubted]
    for clip, one in zip(alike, found, strict=True):
        if ratios[clip.size] <= limit:
            assert one == read_trusting(folder, clip)


def read_trusting(folder: Path, clip: Audio) -> Hypothesis:
    return read(loaded(folder, **TRUSTING), [clip], "en")[0]


def result(tokens: list[int], score: float, no_speech: float = 0.0) -> Any:
    return SimpleNamespace(sequences_ids=[tokens], scores=[score], no_speech_prob=no_speech)


class Told:
    """A model that answers ``generate`` from a list, one answer a temperature, for one clip."""

    def __init__(self, model: Any, answers: list[Any]) -> None:
        self._model, self._answers, self.settings = model, answers, list[dict[str, Any]]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def generate(self, _features: Any, prompts: list[list[int]], **settings: Any) -> list[Any]:
        self.settings.append({**settings, "prompt": prompts[0]})
        return [self._answers[len(self.settings) - 1]] * len(prompts)


def test_fallback_as_published(folder: Path) -> None:
    """The first text that is not doubted is kept; of none, the likeliest that does not repeat itself."""
    tokenizer = WhisperModel(str(folder), device="cpu").hf_tokenizer
    said = {word: tokenizer.token_to_id(word) for word in ("Ġharbour", "Ġtide", "Ġday", "Ġboat")}
    good, other = list(said.values()), list(said.values())[::-1]
    loop = [said["Ġtide"]] * 60
    cases: list[tuple[list[Any], float, int, list[int]]] = [
        ([result(good, -0.5)], 0.0, 1, good),
        ([result(loop, -0.1), result(good, -0.6), result(other, -0.2)], 0.2, 2, good),
        ([result(good, -2.0), result(other, -0.9)], 0.2, 2, other),
        # Probably nobody speaks: another attempt would make nothing better.
        ([result(good, -2.0, 0.7), result(other, -0.1)], 0.0, 1, good),
        ([result(loop, -0.1, 0.7), result(other, -0.1)], 0.2, 2, other),
        ([result(loop, -1.4), result(good, -1.9), result(other, -1.6)], 0.4, 3, other),
        ([result(loop, -1.9), result(loop, -1.4), result(loop, -1.6)], 0.2, 3, loop),
    ]
    for answers, temperature, asked, kept in cases:
        whisper = loaded(folder, temperatures=[0.0, 0.2, 0.4], words=False)
        told = Told(whisper._model, answers)
        whisper._model = told
        (found,) = read(whisper, [CLIPS[1]], "en")
        assert (found.temperature, len(told.settings)) == (temperature, asked), answers
        assert found.text == WhisperText(tokenizer).of(kept)
        ladder = [(one["no_repeat_ngram_size"], one["repetition_penalty"]) for one in told.settings]
        assert ladder == [(0, 1.0), (3, 1.1), (3, 1.2)][:asked]
        kept_answer = answers[[0.0, 0.2, 0.4].index(temperature)]
        assert found.asr.avg_logprob == pytest.approx(kept_answer.scores[0] * len(kept) / (len(kept) + 1))
        assert found.asr.no_speech_prob == kept_answer.no_speech_prob


class WhisperText:
    """Tokens as text through faster-whisper's tokenizer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = Tokenizer(tokenizer, True, task="transcribe", language="en")

    def of(self, tokens: list[int]) -> str:
        return str(self._tokenizer.decode(tokens)).strip()


def test_figures_are_the_models_own(folder: Path) -> None:
    asr = read(loaded(folder), [synth.speech(2.0)], "en")[0].asr
    assert asr.avg_logprob is not None
    assert asr.avg_logprob < 0
    assert asr.no_speech_prob is not None
    assert 0 <= asr.no_speech_prob <= 1
    assert asr.language_probability is not None
    assert 0 <= asr.language_probability <= 1


def test_expected_language_holds_unless_detection_is_certain(folder: Path) -> None:
    clip = synth.speech(2.0)
    detected = read(loaded(folder), [clip], None)[0]
    expected = "de" if detected.language != "de" else "fr"
    assert read(loaded(folder), [clip], expected)[0].language == expected
    assert read(loaded(folder), [clip], "xx")[0].language == detected.language, "a language that it does not know"
    certain = read(loaded(folder, language_certain=0.0), [clip], expected)[0]
    assert certain.language == detected.language
    assert certain.asr.language_probability == detected.asr.language_probability
    limited = read(loaded(folder, languages=["ja", "ko"]), [clip], None)[0]
    assert limited.language in ("ja", "ko")
    assert read(loaded(folder, True, languages=["ja", "ko"]), [clip], "de")[0].language not in ("ja", "ko", "de")


def test_a_model_of_english_only(tmp_path: Path) -> None:
    whisper = loaded(tiny_whisper.write(tmp_path / "en", 3, multilingual=False))
    found = read(whisper, CLIPS[:2], None, "de")
    assert [(one.language, one.asr.language_probability) for one in found] == [("en", None)] * 2
    assert all(one.text and one.words for one in found)


def test_compat_is_the_published_call(tmp_path: Path) -> None:
    """Against faster-whisper: 30 s of padded audio, the detected language, the published prompt, one decoding."""
    folder = tiny_whisper.write(tmp_path / "tiny", 5)
    peer = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=1, local_files_only=True)
    whisper = loaded(folder, True)
    counting = counted(whisper)
    said = []
    for clip in [*CLIPS, synth.speech(29.3, synth.WOMAN, 3)]:
        mel = peer.feature_extractor(np.pad(clip, (0, 480000 - len(clip))), padding=0)
        encoded = peer.encode(mel)
        token, probability = peer.model.detect_language(encoded)[0][0]
        tokenizer = Tokenizer(peer.hf_tokenizer, True, task="transcribe", language=token[2:-2])
        prompt = peer.get_prompt(
            tokenizer,
            tokenizer.encode(" um, uh, um, uh, So uhm, yeaah. Okay, ehm, uuuh."),
            without_timestamps=True,
        )
        answer = peer.model.generate(encoded, [prompt], beam_size=5, return_scores=True, return_no_speech_prob=True)[0]
        (ours,) = read(whisper, [clip], "en")
        assert (ours.text, ours.language) == (tokenizer.decode(answer.sequences_ids[0]).strip(), token[2:-2])
        assert ours.asr.language_probability == pytest.approx(probability, abs=1e-6)
        assert ours.asr.no_speech_prob == pytest.approx(answer.no_speech_prob, abs=1e-6)
        assert ours.temperature == 0.0
        said.append(ours.text)
    assert all(said), "empty texts would agree by accident"
    assert len(set(said)) > 2
    assert len(counting.windows("generate")) == 5


def test_word_times(folder: Path) -> None:
    """Rising, inside the clip, and together the text; also in a script without spaces."""
    whisper = loaded(folder)
    clips = [*CLIPS, synth.speech(8.0), synth.speech(0.4), synth.speech(12.3, synth.WOMAN, 2)]
    for language in ("en", "ja"):
        for clip, one in zip(clips, read(whisper, clips, language), strict=True):
            assert one.words, one.text
            times = [time for word in one.words for time in (word.start, word.end)]
            assert times == sorted(times)
            assert times[0] >= 0
            assert times[-1] <= len(clip) / 16000
            assert times[-1] > times[0]
            assert "".join(word.text for word in one.words).replace(" ", "") == one.text.replace(" ", "")
            assert all(any(letter.isalnum() for letter in word.text) for word in one.words)
            assert all(0 <= word.probability <= 1 for word in one.words)
    assert read(loaded(folder, words=False), CLIPS[:1], "en")[0].words == ()


def test_words_gather_their_marks() -> None:
    pieces = [' "', "The", " har", "bour", ",", ' "', " is", " (", "not", ")", " far", ".", '"']
    path = [(token, token * 5) for token in range(len(pieces) + 2)]
    words = words_of(pieces, [1, 2, *[1] * 11], path, [0.5] * 14, 60.0)
    assert [word.text for word in words] == ['"The', "har", "bour,", '" is', "(not)", 'far."']
    assert words[0] == Word(0.0, pytest.approx(0.3), '"The', 0.5)
    assert words[1].start == pytest.approx(0.3)
    assert words[-1].end == pytest.approx(1.4)
    assert words_of([" ...", "!"], [1, 1], path[:3], [0.1, 0.2], 0.15) == [Word(0.0, 0.15, "...!", pytest.approx(0.15))]
    assert words_of([], [], [(0, 0)], [], 1.0) == []


def test_a_clip_over_thirty_seconds_is_cut_into_equal_parts(folder: Path) -> None:
    clip = synth.speech(65.0)
    whisper = loaded(folder)
    (whole,) = read(whisper, [clip], "en")
    parts = read(whisper, [clip[: cut(len(clip))[0]], *np.split(clip, np.cumsum(cut(len(clip)))[:-1])[1:]], "en")
    assert cut(len(clip)) == [346666, 346667, 346667]
    assert whole.text == " ".join(part.text for part in parts)
    assert whole.passes == 3.0
    assert whole.computed == pytest.approx(sum(part.computed for part in parts))
    assert whole.asr.avg_logprob == pytest.approx(np.mean([part.asr.avg_logprob for part in parts]))
    assert len(whole.words) == sum(len(part.words) for part in parts)
    assert whole.words[len(parts[0].words)].start == pytest.approx(parts[1].words[0].start + 346666 / 16000)
    assert cut(480000) == [480000]
    assert cut(480001) == [240000, 240001]
    assert cut(0) == [0]


def test_silence_and_nothing_have_no_text(folder: Path) -> None:
    whisper = loaded(folder)
    found = read(whisper, [np.zeros(count, np.float32) for count in (0, 1, 1000, 32000, 600000)], "en")
    assert [(one.text, one.words) for one in found] == [("", ())] * 5
    assert all(one.asr.no_speech_prob is not None for one in found)


@pytest.mark.parametrize("mels", [80, 128])
def test_windows_rise_by_the_step_and_none_is_mistaken_for_a_spectrogram(mels: int) -> None:
    windows = lengths(1.08, mels)
    assert windows == sorted(set(windows))
    assert (windows[0], windows[-1]) == (112, 3000)
    assert 2 * mels not in windows
    assert all(window % 16 == 0 for window in windows[:-1])
    assert max(later / window for window, later in pairwise(windows)) < 1.3
    assert lengths(1.0, mels)[-1] == 3000


@settings(deadline=None)
@given(st.integers(0, 480000))
def test_the_window_holds_the_clip_and_depends_on_its_length_alone(samples: int) -> None:
    windows = lengths(1.08, 80)
    window = shortest(windows, samples)
    assert window >= frames_of(samples)
    assert window == windows[0] or windows[windows.index(window) - 1] < frames_of(samples)


def test_fill_of_a_usual_talk(folder: Path) -> None:
    """Segments of 3 to 30 s, 9 s on the average: at least 95 % of what the network computes is speech."""
    rng = np.random.default_rng(2026)
    seconds = 3 + rng.exponential(6.5, 20000)
    seconds = seconds[seconds <= 30][:10000]
    assert 8.5 < seconds.mean() < 9.5
    clip, full = loaded(folder), loaded(folder, window="full")
    samples = [round(length * 16000) for length in seconds]

    def fill(whisper: Whisper) -> float:
        return sum(samples) / 160 / sum(whisper.window(count) for count in samples)

    assert fill(clip) >= 0.95
    assert fill(full) == pytest.approx(seconds.mean() / 30, rel=1e-3)


def test_window_is_one_of_two(folder: Path) -> None:
    assert {loaded(folder, window="full").window(count) for count in (1, 480000)} == {3000}
    assert loaded(folder, True).window(16000) == 3000
    with pytest.raises(BadConfig, match="window"):
        loaded(folder, window="Full")


@pytest.mark.parametrize("mels", [80, 128])
@pytest.mark.parametrize("samples", [1, 150, 16000, 31999, 47800, 48000, 143210])
def test_spectrogram_equals_the_published_one(mels: int, samples: int) -> None:
    """Of the clip followed by silence up to the end of its window, and up to 30 s."""
    peer = FeatureExtractor(feature_size=mels)
    log_mel = LogMel(peer.mel_filters)
    clip = synth.speech(samples / 16000 + 0.1)[:samples]
    for frames in (shortest(lengths(1.08, mels), samples), frames_of(max(samples, 201)), 3000):
        padded = np.pad(clip, (0, frames * 160 - samples))
        ours = log_mel(clip, frames)
        assert ours.shape == (mels, frames)
        assert ours.dtype == np.float32
        assert np.abs(ours - peer(padded, padding=0)).max() < 5e-5


class Failing:
    """The real model, but ``encode`` raises the given errors first."""

    def __init__(self, model: Any, *errors: Exception) -> None:
        self._model, self._errors, self.sizes = model, list(errors), list[int]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._model, name)

    def encode(self, features: Any) -> Any:
        self.sizes.append(features.shape[0])
        if self._errors:
            raise self._errors.pop(0)
        return self._model.encode(features)


def test_out_of_memory_halves_the_batch_once(folder: Path) -> None:
    whisper = loaded(folder)
    clips = [synth.speech(1.5, synth.MAN, seed) for seed in range(8)]
    expected = read(whisper, clips, "en")
    failing = Failing(whisper._model, RuntimeError("CUDA failed with error out of memory"))
    whisper._model = failing
    assert read(whisper, clips, "en") == expected
    assert failing.sizes == [8, 4, 4]


def test_a_broken_context_ends_the_process(folder: Path) -> None:
    whisper = loaded(folder)
    whisper._model = Failing(whisper._model, RuntimeError("CUDA error: an illegal memory access was encountered"))
    with pytest.raises(DeviceLost):
        read(whisper, CLIPS, "en")


def test_cublas_of_the_wheel_comes_first(tmp_path: Path) -> None:
    """cuBLAS needs its light part loaded before it; both lie in the wheel's folder."""
    asked: list[str] = []
    assert load_cublas([tmp_path], asked.append) == "libcublas.so.12"
    assert asked == list(LIBRARIES) == ["libcublasLt.so.12", "libcublas.so.12"]
    for name in LIBRARIES:
        (tmp_path / name).touch()
    assert load_cublas([tmp_path], asked.append) == str(tmp_path / "libcublas.so.12")
    assert asked[2:] == [str(tmp_path / name) for name in LIBRARIES]


def test_cublas_that_is_nowhere_or_no_library_names_the_cure(tmp_path: Path) -> None:
    with pytest.raises(ModelMissing, match=r"libcublasLt\.so\.12 .*nvidia-cublas-cu12"):
        load_cublas([], lambda name: ctypes.CDLL(f"{name}.is.not.on.this.machine"))
    (tmp_path / "libcublasLt.so.12").write_bytes(b"not a library")
    with pytest.raises(ModelMissing, match=str(tmp_path)):
        load_cublas([tmp_path])


def test_on_a_gpu_cublas_comes_before_the_model(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    def nowhere() -> str:
        raise ModelMissing("libcublas.so.12", "install nvidia-cublas-cu12.")

    monkeypatch.setattr("Emilia.models.whisper.load_cublas", nowhere)
    whisper = Whisper(load_config(None, overrides={"transcribe.whisper_model": str(folder)}))
    with pytest.raises(ModelMissing, match="nvidia-cublas-cu12"):
        whisper.load("cuda:1")


def test_the_model_is_asked_for_by_device(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    real, asked = ctranslate2.models.Whisper, list[tuple[Any, ...]]()

    def spy(path: str, **settings: Any) -> Any:
        asked.append(tuple(settings[name] for name in ("device", "device_index", "compute_type", "intra_threads")))
        return real(path, device="cpu", compute_type="int8", intra_threads=1)

    monkeypatch.setattr(ctranslate2.models, "Whisper", spy)
    monkeypatch.setattr(engine, "load_cublas", lambda: None)
    whisper = Whisper(load_config(None, overrides={"transcribe.whisper_model": str(folder)}))
    names = []
    for device in ("cpu", "cuda", "cuda:1"):
        whisper.load(device)
        names.append(whisper.models["whisper"])
    assert asked == [("cpu", 0, "int8", 1), ("cuda", 0, "float16", 1), ("cuda", 1, "float16", 1)]
    assert Counter(names).most_common(1)[0][1] == 2, "the precision is part of what was used"


def test_episodes_together_are_read_as_each_alone(folder: Path, wave: Callable[..., Waveform], tmp_path: Path) -> None:
    """To the last bit, with the usual doubts and retries, whatever shares the calls."""
    overrides = {"transcribe.whisper_model": str(folder), "transcribe.batch": 4}
    waves = [wave(synth.speech(24.0, throat, seed)) for seed, throat in enumerate((synth.MAN, synth.WOMAN, synth.MAN))]

    def episodes() -> list[Recording]:
        made = [Recording(tmp_path, "ep", tmp_path, tmp_path, "en", narrow=waveform) for waveform in waves]
        for recording in made:
            recording.segments = [Segment(at, at + length, "S00") for at, length in zip(STARTS, SECONDS, strict=True)]
        return made

    def results(recordings: list[Recording]) -> list[Any]:
        return [[(s.to_json(), s.asr, s.words) for s in recording.pieces()] for recording in recordings]

    alone, shared = episodes(), episodes()
    stage = Transcribe(load_config(None, overrides=overrides))
    stage.load("cpu")
    for recording in alone:
        stage.run(recording, lambda _share: None)
    threads = [threading.Thread(target=stage.run, args=(recording, lambda _share: None)) for recording in shared]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    stage.close()
    assert results(shared) == results(alone)
    assert sum(len(recording.pieces()[0].words) for recording in alone) > 3
    assert {recording.facts["asr_encoder_passes"] for recording in shared} == {1.0}


def test_auto_prefers_it_where_the_folder_is(folder: Path) -> None:
    stage = Transcribe(load_config(None, overrides={"transcribe.whisper_model": str(folder)}))
    stage.load("cpu")
    assert stage.engine == "whisper"
    assert stage.models["whisper"].startswith("sha256:")
    stage.close()


def test_a_folder_without_tokenizer_is_no_model(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes((folder / "model.bin").read_bytes())
    with pytest.raises(ModelMissing):
        locate(str(tmp_path))
    assert locate(str(folder)) == folder
