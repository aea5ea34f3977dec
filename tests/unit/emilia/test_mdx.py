"""MDX-Net: the identity gives back what went in, seams included; compat is the published loop, block by block."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soxr
from scipy.signal import firwin, oaconvolve

from Emilia.config import load_config
from Emilia.errors import BadConfig, DeviceLost, ModelMissing
from Emilia.models.mdx import MdxNet
from Emilia.models.stft import Spectrograms
from Emilia.models.streams import Mix, Overlap, Track
from Emilia.options import MdxOptions
from Emilia.recording import Recording, Span, Waveform
from tests.unit.emilia import tiny_mdx
from tests.unit.emilia.conftest import Samples, hush

pytestmark = pytest.mark.heavy

Make = Callable[..., Waveform]
RATE = 44100
SEED = 5
# Small windows: two thousand usable samples instead of a quarter of a million, so that seconds hold many seams.
SMALL: dict[str, object] = {"mdx.n_fft": 384, "mdx.hop": 64, "mdx.dim_f": 192, "mdx.dim_t": 40, "mdx.overlap": 256}
SIZES = {"dim_f": 192, "dim_t": 40}
COMPAT: dict[str, object] = {"pipeline.compat": True, "mdx.chunk": 0.25, "mdx.margin": 0.03}


def noise(frames: int, seed: int = SEED) -> Samples:
    return 0.1 * np.random.default_rng(seed).standard_normal(frames, np.float32)


def audible(seconds: float, rate: int) -> Samples:
    """Noise that ends below 6.8 kHz and rises and falls smoothly: nothing of it is in the way of a resampler."""
    frames = round(seconds * rate)
    sound = oaconvolve(noise(frames), firwin(511, 6000, fs=rate), "same").astype(np.float32)
    edge = np.minimum(1.0, np.minimum(np.arange(frames), np.arange(frames)[::-1]) / (0.04 * rate))
    return (sound * np.sin(np.pi / 2 * edge) ** 4).astype(np.float32)


def recorded(wave: Make, folder: Path, wide: Samples) -> Recording:
    narrow = soxr.resample(wide, 24000, 16000, quality="VHQ")
    made = Recording(folder / "a.wav", "ep", folder, folder, wave=wave(wide, 24000), narrow=wave(narrow, 16000))
    made.duration = len(wide) / 24000
    return made


def loaded(model: Path, **overrides: object) -> MdxNet:
    net = MdxNet(load_config(None, overrides={"mdx.model": str(model), **overrides}))
    net.load("cpu")
    return net


def both(recording: Recording) -> tuple[Samples, Samples]:
    wide, narrow = recording.full_rate(), recording.narrow_rate()
    return wide.read(0, wide.frames), narrow.read(0, narrow.frames)


@pytest.fixture(scope="module")
def identity(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_mdx.identity(tmp_path_factory.mktemp("mdx") / "identity.onnx")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Networks for small windows: a mask over the bins, and one that smears over time and adds of its own."""
    folder, rng = tmp_path_factory.mktemp("small"), np.random.default_rng(SEED)
    mask = rng.uniform(0, 1, (1, 1, 192, 1)).astype(np.float32)
    kernel, bias = rng.standard_normal((4, 5)).astype(np.float32) / 3, rng.standard_normal(4).astype(np.float32)
    return {
        "identity": tiny_mdx.identity(folder / "identity.onnx", **SIZES),
        "mask": tiny_mdx.scaled(folder / "mask.onnx", mask, **SIZES),
        "smear": tiny_mdx.smeared(folder / "smear.onnx", kernel, bias, **SIZES),
    }


LENGTHS = [0.1, 0.5, 5.7818, 5.7820, 11.5, 47.3, 1200.0]


@pytest.mark.parametrize("seconds", LENGTHS)
def test_identity_keeps_the_voice_everywhere(wave: Make, tmp_path: Path, identity: Path, seconds: float) -> None:
    """White noise, so that no frequency is spared: what the network calls voice is what went in, seams included."""
    recording = recorded(wave, tmp_path, noise(round(seconds * 24000)))
    before = both(recording)
    loaded(identity, **{"mdx.stem": "vocals"}).separate(recording, hush)
    for one, other in zip(before, both(recording), strict=True):
        assert one.shape == other.shape
        assert np.abs(one - other).max() < 1e-4
    assert recording.separated == [Span(0.0, round(seconds, 3))]
    assert recording.facts["separated_seconds"] == round(seconds, 3)


@pytest.mark.parametrize("seconds", [0.1, 5.7820, 47.3])
def test_identity_as_the_other_stem_leaves_silence(wave: Make, tmp_path: Path, identity: Path, seconds: float) -> None:
    recording = recorded(wave, tmp_path, audible(seconds, 24000))
    assert max(np.abs(samples).max() for samples in both(recording)) > 0.01
    loaded(identity).separate(recording, hush)
    for samples in both(recording):
        assert np.abs(samples).max() < 1e-4


class Kept(Track):
    """Keeps what is to be taken away, at the separator's own rate."""

    def __init__(self) -> None:
        self.pieces: list[Samples] = []

    def add(self, samples: Samples, last: bool = False) -> None:
        self.pieces.append(samples.copy())


@pytest.mark.parametrize("seconds", LENGTHS[:-1])
def test_identity_predicts_the_mix_at_its_own_rate(wave: Make, identity: Path, seconds: float) -> None:
    samples, kept = noise(round(seconds * 24000)), Kept()
    made = wave(samples, 24000)
    net, mix = loaded(identity), Mix(made, RATE, 0)
    net._stream(mix, net._windows(made, mix.frames, hush), Overlap([kept], RATE))
    predicted = np.concatenate(kept.pieces)
    whole = Mix(made, RATE, 0).read(0, mix.frames)
    assert predicted.shape == whole.shape
    assert np.abs(predicted - whole).max() < 1e-4


@pytest.mark.parametrize("name", ["mask", "identity"])
def test_a_network_that_looks_at_one_frame_leaves_no_seam(
    wave: Make, tmp_path: Path, small: dict[str, Path], name: str
) -> None:
    """Against one transform of the whole recording, without any window."""
    import torch

    samples, kept = noise(24000), Kept()
    made = wave(samples, 24000)
    net, mix = loaded(small[name], **SMALL), Mix(made, RATE, 0)
    net._stream(mix, net._windows(made, mix.frames, hush), Overlap([kept], RATE))
    whole = torch.from_numpy(np.pad(Mix(made, RATE, 0).read(0, mix.frames), 384))
    options: dict[str, Any] = {"n_fft": 384, "hop_length": 64, "window": torch.hann_window(384)}
    spectrum = torch.stft(whole, **options, center=True, pad_mode="constant", return_complex=True)
    spectrum[192] = 0
    probe = np.ones((1, 4, 192, 40), np.float32)
    spectrum[:192] *= torch.from_numpy(net._network.run(probe)[0, 0, :, :1])
    expected = torch.istft(spectrum, **options, length=len(whole)).numpy()[384:-384]
    assert np.abs(np.concatenate(kept.pieces) - expected).max() < 1e-5


def published(samples: Samples, model: Any, options: MdxOptions) -> Samples:
    """The published loop as its authors wrote the steps, on mono samples at the network's rate; gives the stem, left."""
    import torch

    chunk, margin = round(options.chunk * options.rate), round(options.margin * options.rate)
    trim, size = options.n_fft // 2, options.hop * (options.dim_t - 1)
    usable, hann = size - 2 * trim, torch.hann_window(options.n_fft)
    padded = np.pad(samples, (0, -len(samples) % chunk))
    pieces = []
    for skip in range(0, len(padded), chunk):
        start, end = max(0, skip - margin), min(skip + chunk + margin, len(padded))
        block = padded[start:end]
        pad = usable - len(block) % usable
        filled = np.concatenate([np.zeros(trim), block, np.zeros(pad + trim)]).astype(np.float32)
        parts = []
        for first in range(0, len(block) + pad, usable):
            window = torch.from_numpy(np.stack([filled[first : first + size]] * 2))
            spectrum = torch.stft(window, options.n_fft, options.hop, window=hann, center=True, return_complex=True)
            asked = torch.view_as_real(spectrum).permute(0, 3, 1, 2).reshape(1, 4, -1, options.dim_t)
            asked = asked[:, :, : options.dim_f].numpy()
            answer = model.run(asked)
            if options.denoise:
                answer = 0.5 * answer - 0.5 * model.run(-asked)
            answer = np.pad(answer, ((0, 0), (0, 0), (0, trim + 1 - options.dim_f), (0, 0))).reshape(2, 2, trim + 1, -1)
            found = torch.istft(
                torch.complex(torch.from_numpy(answer[:, 0]), torch.from_numpy(answer[:, 1])),
                options.n_fft,
                options.hop,
                window=hann,
                center=True,
            )
            parts.append(found.numpy()[0, trim:-trim])
        answered = np.concatenate(parts)[:-pad]
        last = end == len(padded)
        pieces.append(answered[0 if skip == 0 else margin : None if last else -margin])
        if last:
            break
    return np.concatenate(pieces)[: len(samples)]


@pytest.mark.parametrize("denoise", [True, False])
@pytest.mark.parametrize("stem", ["other", "vocals"])
@pytest.mark.parametrize("seconds", [0.05, 0.25, 1.13])
@pytest.mark.parametrize("name", ["mask", "smear"])
def test_compat_is_the_published_loop(
    wave: Make, tmp_path: Path, small: dict[str, Path], name: str, seconds: float, stem: str, denoise: bool
) -> None:
    samples = noise(round(seconds * 24000))
    recording = recorded(wave, tmp_path, samples)
    net = loaded(small[name], **SMALL, **COMPAT, **{"mdx.stem": stem, "mdx.denoise": denoise})
    net.separate(recording, hush)
    mix = soxr.resample(samples, 24000, RATE, quality="VHQ")
    found = published(mix, net._network, net._options)
    voice = found if stem == "vocals" else mix - found
    for got, rate in zip(both(recording), (24000, 16000), strict=True):
        expected = soxr.resample(voice, RATE, rate, quality="VHQ")
        assert abs(len(got) - len(expected)) <= 1
        common = min(len(got), len(expected))
        assert np.abs(got[:common] - np.clip(expected[:common], -1, 1)).max() < 1e-5


def test_compat_differs_where_it_should(wave: Make, tmp_path: Path, small: dict[str, Path]) -> None:
    """The seams of the published grid are heard: without compat the same network gives another answer there."""
    found = []
    for compat in (False, True):
        folder = tmp_path / str(compat)
        folder.mkdir()
        recording = recorded(wave, folder, audible(1.0, 24000))
        loaded(small["smear"], **SMALL, **{**COMPAT, "pipeline.compat": compat}).separate(recording, hush)
        found.append(both(recording)[0])
    assert np.abs(found[0] - found[1]).max() > 1e-3


def test_denoise_cancels_what_the_network_adds(wave: Make, tmp_path: Path) -> None:
    bias = np.full(4, 3.0, np.float32)
    kernel = np.zeros((4, 5), np.float32)
    kernel[:, 2] = 1.0
    model = tiny_mdx.smeared(tmp_path / "humming.onnx", kernel, bias, **SIZES)
    for denoise in (True, False):
        folder = tmp_path / str(denoise)
        folder.mkdir()
        recording = recorded(wave, folder, noise(24000))
        before = both(recording)[0]
        loaded(model, **SMALL, **{"mdx.denoise": denoise, "mdx.stem": "vocals"}).separate(recording, hush)
        assert bool(np.abs(both(recording)[0] - before).max() < 1e-4) is denoise


def test_batch_changes_no_bit(wave: Make, tmp_path: Path, small: dict[str, Path]) -> None:
    found = []
    for batch in (1, 3, 8):
        folder = tmp_path / str(batch)
        folder.mkdir()
        recording = recorded(wave, folder, noise(40000))
        loaded(small["smear"], **SMALL, **{"mdx.batch": batch}).separate(recording, hush)
        found.append([samples.tobytes() for samples in both(recording)])
    assert found[0] == found[1] == found[2]


class Card:
    """A network as on a GPU: windows in batches, and room for few of them."""

    cuda, half = True, False

    def __init__(self, network: Any, room: int, error: str) -> None:
        self._network, self._room, self._error = network, room, error
        self.sizes: list[int] = []

    def run_tensor(self, batch: Any) -> Any:
        self.sizes.append(len(batch) // 2)
        if len(batch) // 2 > self._room:
            raise RuntimeError(self._error)
        return self._network.run_tensor(batch)


def on_card(wave: Make, folder: Path, model: Path, room: int, error: str = "") -> tuple[Sequence[Samples], list[int]]:
    folder.mkdir()
    net = loaded(model, **SMALL, **{"mdx.batch": 6})
    card = Card(net._network, room, error)
    net._network = card  # type: ignore[assignment]
    recording = recorded(wave, folder, noise(24000))
    net.separate(recording, hush)
    return both(recording), card.sizes


def test_batches_survive_one_shortage_of_memory(wave: Make, tmp_path: Path, small: dict[str, Path]) -> None:
    recording = recorded(wave, tmp_path, noise(24000))
    loaded(small["smear"], **SMALL).separate(recording, hush)
    whole, sizes = on_card(wave, tmp_path / "a", small["smear"], 6)
    assert max(sizes) == 6
    halves, sizes = on_card(wave, tmp_path / "b", small["smear"], 3, "CUDA out of memory. Tried to allocate 2 GiB.")
    assert sizes[:3] == [6, 3, 3]
    assert max(sizes[1:]) == 3
    for one in (whole, halves):
        for got, expected in zip(one, both(recording), strict=True):
            assert np.abs(got - expected).max() < 1e-6
    with pytest.raises(DeviceLost, match="illegal memory access"):
        on_card(wave, tmp_path / "c", small["smear"], 0, "CUDA error: an illegal memory access was encountered")


def test_the_gate_leaves_clean_stretches_bit_for_bit(wave: Make, tmp_path: Path, small: dict[str, Path]) -> None:
    """Speech with pauses, noise behind it from 40 s to 55 s: only there, and near it, anything is computed."""
    rng, rate = np.random.default_rng(SEED), 24000
    talk = noise(90 * rate) * np.repeat(np.tile([1.0, 1.0, 1.0, 0.0], 45), rate // 2).astype(np.float32)
    talk[40 * rate : 55 * rate] += 0.02 * rng.standard_normal(15 * rate).astype(np.float32)
    recording = recorded(wave, tmp_path, talk)
    before = both(recording)
    net = loaded(small["mask"], **SMALL, **{"separate.gate": 30.0})
    card = Card(net._network, 100, "")
    card.cuda = False
    net._network = card  # type: ignore[assignment]
    net.separate(recording, hush)
    (span,) = recording.separated or []
    assert 30 < span.start <= 40
    assert 55 <= span.end < 65
    assert recording.facts["separated_seconds"] == pytest.approx(span.length)
    assert sum(card.sizes) <= 1.01 * span.length * RATE / (2112 - 256 - 64) + 1
    edge = 0.01
    for one, other, rate in zip(before, both(recording), (24000, 16000), strict=True):
        low, high = round((span.start - edge) * rate), round((span.end + edge) * rate)
        assert np.array_equal(one[:low], other[:low])
        assert np.array_equal(one[high:], other[high:])
        middle = slice(round(41 * rate), round(54 * rate))
        assert np.abs(one[middle] - other[middle]).max() > 0.01


def test_a_clean_recording_keeps_its_files(wave: Make, tmp_path: Path, small: dict[str, Path]) -> None:
    recording = recorded(wave, tmp_path, noise(480000) * np.repeat([1, 0] * 10, 24000).astype(np.float32))
    before = recording.wave, recording.narrow
    loaded(small["mask"], **SMALL, **{"separate.gate": 30.0}).separate(recording, hush)
    assert (recording.wave, recording.narrow) == before
    assert recording.separated == []
    assert recording.facts["separated_seconds"] == 0.0


def test_silence_needs_no_network(wave: Make, tmp_path: Path, small: dict[str, Path]) -> None:
    net = loaded(small["mask"], **SMALL)
    card = Card(net._network, 0, "asked for silence")
    net._network = card  # type: ignore[assignment]
    recording = recorded(wave, tmp_path, np.zeros(24000, np.float32))
    net.separate(recording, hush)
    assert not card.sizes
    assert not both(recording)[0].any()


def test_compat_asks_even_for_silence_where_the_published_loop_would_hear_its_answer(
    wave: Make, tmp_path: Path, small: dict[str, Path]
) -> None:
    recording = recorded(wave, tmp_path, np.zeros(12000, np.float32))
    loaded(small["smear"], **SMALL, **COMPAT, **{"mdx.denoise": False}).separate(recording, hush)
    assert np.abs(both(recording)[0]).max() > 1e-4


def test_progress_moves_in_hours_that_need_nothing(wave: Make, tmp_path: Path, small: dict[str, Path]) -> None:
    """Ten minutes with noise behind the last seconds only."""
    talk = noise(600 * 24000) * np.repeat([1.0, 1.0, 1.0, 0.0] * 300, 12000).astype(np.float32)
    talk[-10 * 24000 :] = noise(10 * 24000)
    recording, told = recorded(wave, tmp_path, talk), [0.0]
    loaded(small["identity"], **SMALL, **{"separate.gate": 30.0, "mdx.stem": "vocals"}).separate(recording, told.append)
    assert recording.facts["separated_seconds"] < 30  # type: ignore[operator]
    assert told == sorted(told)
    assert told[-1] == pytest.approx(1.0)
    assert max(np.diff(told)) < 0.05


def test_the_level_is_applied_once_and_old_files_go(wave: Make, tmp_path: Path, small: dict[str, Path]) -> None:
    recording = recorded(wave, tmp_path, noise(24000))
    plain = recording.full_rate()
    recording.wave = Waveform(plain.path, plain.rate, plain.frames, bias=0.01, gain=2.0, ceiling=0.2)
    heard = recording.full_rate().read(0, plain.frames)
    loaded(small["identity"], **SMALL, **{"mdx.stem": "vocals"}).separate(recording, hush)
    wave_after = recording.full_rate()
    assert (wave_after.bias, wave_after.gain, wave_after.ceiling) == (0.0, 1.0, 1.0)
    assert np.abs(wave_after.read(0, plain.frames) - heard).max() < 1e-4
    assert not plain.path.exists()
    assert sorted(tmp_path.glob("*.f32")) == sorted([wave_after.path, recording.narrow_rate().path])


def test_half_precision_is_taken_from_the_file(wave: Make, tmp_path: Path) -> None:
    import torch

    net = loaded(tiny_mdx.identity(tmp_path / "half.onnx", half=True, **SIZES), **SMALL, **{"mdx.stem": "vocals"})
    asked = net._spectrograms.forward(torch.zeros(2, 40 * 64 - 64 + 384))
    assert asked.dtype == torch.float16
    recording = recorded(wave, tmp_path, noise(24000))
    before = both(recording)[0]
    net.separate(recording, hush)
    assert np.abs(both(recording)[0] - before).max() < 1e-3


@pytest.mark.parametrize(
    ("n_fft", "hop", "dim_t"), [(6144, 1024, 256), (7680, 1024, 256), (384, 64, 40), (500, 96, 33)]
)
def test_spectrograms_equal_torch_stft_and_go_back(n_fft: int, hop: int, dim_t: int) -> None:
    """Also where the FFT is no multiple of the hop, as with other networks of this family."""
    import torch

    dim_f = n_fft // 2
    sizes = {"n_fft": n_fft, "hop": hop, "dim_f": dim_f, "dim_t": dim_t, "overlap": 0}
    options = load_config(None, overrides={f"mdx.{name}": size for name, size in sizes.items()}).mdx
    made = Spectrograms(options, "cpu")
    # Nothing near the one bin above dim_f, which is lost.
    low = oaconvolve(noise(2 * (made.grid.span + n_fft)), firwin(255, 0.6), "same").astype(np.float32)
    samples = torch.from_numpy(low.reshape(2, -1))
    asked = made.forward(samples)
    assert asked.shape == (4, 4, dim_f, dim_t)
    spectrum = torch.view_as_real(
        torch.stft(samples, n_fft, hop, window=torch.hann_window(n_fft), center=False, return_complex=True)
    ).permute(0, 3, 1, 2)[:, :, :dim_f]
    for index in range(2):
        plain = torch.cat([spectrum[index], spectrum[index]])
        assert torch.allclose(asked[2 * index], plain, atol=1e-5)
        assert torch.equal(asked[2 * index + 1], -asked[2 * index])
    back = made.back(asked)
    trimmed = samples[:, n_fft : n_fft + made.grid.usable]
    assert (back - trimmed).abs().max() < 1e-5


def test_other_shapes_and_stems_are_refused(tmp_path: Path, identity: Path) -> None:
    with pytest.raises(BadConfig, match=r"\(4, 3072, 256\), but mdx says \(4, 2048, 256\)"):
        loaded(identity, **{"mdx.dim_f": 2048})
    with pytest.raises(BadConfig, match=r"mdx\.stem"):
        loaded(identity, **{"mdx.stem": "drums"})
    with pytest.raises(ModelMissing, match="UVR-MDX-NET-Inst_HQ_3"):
        loaded(Path("UVR-MDX-NET-Inst_HQ_3.onnx"))


def test_the_model_is_named_by_its_hash_and_freed(identity: Path, tmp_path: Path) -> None:
    net = loaded(identity)
    assert net.models["mdx"].startswith("sha256:")
    net.close()
    with pytest.raises(AttributeError):
        net.separate(
            Recording(
                Path(), "", tmp_path, tmp_path, wave=Waveform(identity, 24000, 1), narrow=Waveform(identity, 1, 1)
            ),
            hush,
        )
