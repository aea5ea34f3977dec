"""Make the audio of the demo from scratch, and the truth about it.

Five short episodes in five containers: three conversations of synthetic voices (the Debian package `flite`), a
reading by a human voice (clips of the Debian package `pocketsphinx-testdata`) and one file in which nobody speaks.
Because the mixing is done here, who speaks when is known to the sample; `truth.json` states it in seconds of the
audio *as PyAV decodes it*, encoder delay included. The results are committed, so neither the demo nor a test runs
this script; run it after changing `script.toml`:

    python examples/demo/make_audio.py

The same packages give the same bytes: noise is seeded and the containers are written without dates or random numbers.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import tempfile
import tomllib
import wave
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import soxr
from av.audio.stream import AudioStream
from numpy.typing import NDArray

HERE = Path(__file__).resolve().parent
CLIPS = Path("/usr/share/pocketsphinx/test/data/librivox")
CLIP_NAME = "sense_and_sensibility_01_austen_64kb-{}.wav"
RATE = 24000
NOISE_DBFS = -60.0
TAIL_SECONDS = 0.8
TONE_SECONDS = 8.0
TONE_DBFS = -34.0
FADE_SECONDS = 0.005
FRAME_SECONDS = 0.005
# A turn begins where its power over 5 ms first comes within this of its mean. That is some 7 dB above the room noise;
# at -38 the hum that the recorded voices carry counted as speech up to 150 ms before the first sound.
AUDIBLE_DB = -30.0
# A lag beyond this would mean an encoder we do not understand, not a priming delay.
MAX_LAG_SECONDS = 0.2

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Line:
    """One line of the script: who speaks, after which pause, what is said, and for a recording the clip's number."""

    speaker: str
    pause: float
    text: str
    clip: str = ""


@dataclass(frozen=True)
class Episode:
    """One file to make: its container and codec, the voice and level of each speaker, and the lines in order."""

    file: str
    title: str
    licence: str
    codec: str
    bit_rate: int
    seed: int
    speakers: dict[str, tuple[str, float]]
    lines: list[Line]


@dataclass
class Turn:
    """One line as it stands in the audio, in seconds."""

    speaker: str
    start: float
    end: float
    text: str

    def moved(self, seconds: float) -> dict[str, str | float]:
        """Give the turn as it goes into the truth file, shifted by what the codec added in front."""
        start, end = round(self.start + seconds, 4), round(self.end + seconds, 4)
        return {"speaker": self.speaker, "start": start, "end": end, "text": self.text}


@dataclass
class Mix:
    """An episode's audio before encoding, and where its turns lie in it."""

    samples: Samples
    turns: list[Turn] = field(default_factory=list)


def read_script(path: Path) -> list[Episode]:
    """Read the script file into episodes."""
    episodes = []
    for raw in tomllib.loads(path.read_text(encoding="utf-8"))["episode"]:
        lines = [Line(*turn) for turn in raw.pop("turns")]
        speakers = {name: (voice, float(level)) for name, (voice, level) in raw.pop("speakers").items()}
        episodes.append(Episode(lines=lines, speakers=speakers, **raw))
    return episodes


def read_wave(path: Path) -> Samples:
    """Read a 16-bit mono wave file at the demo's rate, between -1 and 1."""
    with wave.open(str(path), "rb") as source:
        raw = np.frombuffer(source.readframes(source.getnframes()), dtype="<i2")
        rate = source.getframerate()
    return resampled(raw.astype(np.float32) / 32768.0, rate, RATE)


def resampled(samples: Samples, rate: int, wanted: int) -> Samples:
    """Bring samples from one rate to another."""
    return np.asarray(soxr.resample(samples, rate, wanted, quality="VHQ"), dtype=np.float32)


def synthesise(voice: str, text: str) -> Samples:
    """Let flite say a text; `-t` keeps it from taking a text of one word for a file name."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "turn.wav"
        subprocess.run(["flite", "-voice", voice, "-t", text, "-o", str(path)], check=True)
        return read_wave(path)


def level_db(samples: Samples) -> float:
    """Mean power in dB of full scale."""
    return float(10.0 * np.log10(np.mean(np.square(samples, dtype=np.float64)) + 1e-12))


def at_level(samples: Samples, level: float) -> Samples:
    """The samples with their mean power brought to a level in dB of full scale."""
    return samples * np.float32(10.0 ** ((level - level_db(samples)) / 20.0))


def trimmed(samples: Samples) -> Samples:
    """Cut the silence off both ends and fade the cut, so that the turn's bounds are the bounds of what is heard."""
    size = round(FRAME_SECONDS * RATE)
    frames = samples[: samples.size // size * size].reshape(-1, size)
    power = 10.0 * np.log10(np.mean(np.square(frames, dtype=np.float64), axis=1) + 1e-12)
    heard = np.flatnonzero(power > level_db(samples) + AUDIBLE_DB)
    cut = samples[heard[0] * size : (heard[-1] + 1) * size].copy()
    ramp = np.linspace(0.0, 1.0, round(FADE_SECONDS * RATE), dtype=np.float32)
    cut[: ramp.size] *= ramp
    cut[-ramp.size :] *= ramp[::-1]
    return cut


def spoken(line: Line, voice: str, level: float) -> Samples:
    """Synthesise or fetch one line, trim it and bring it to its speaker's level."""
    # A recording's ends are left alone: the clips are cut tight, and their own noise is no silence.
    raw = read_wave(CLIPS / CLIP_NAME.format(line.clip)) if line.clip else trimmed(synthesise(voice, line.text))
    loud = at_level(raw, level)
    # A peak must not clip; the dB that one line then lacks is nothing anybody hears.
    return loud * np.float32(min(1.0, 0.95 / float(np.abs(loud).max())))


def room_noise(size: int, generator: np.random.Generator) -> Samples:
    """Stationary noise that falls 3 dB an octave, like a quiet room, at the demo's noise level."""
    spectrum = np.fft.rfft(generator.standard_normal(size))
    # Below 50 Hz the slope is flattened: rumble would take the whole level and be heard by nobody.
    spectrum /= np.sqrt(np.maximum(np.fft.rfftfreq(size, 1.0 / RATE), 50.0))
    noise = np.fft.irfft(spectrum, size).astype(np.float32)
    return at_level(noise, NOISE_DBFS)


def chord(generator: np.random.Generator) -> Samples:
    """A soft, slowly swelling A major chord with a little hiss: sound, and no speech."""
    time = np.arange(round(TONE_SECONDS * RATE)) / RATE
    pitches = (220.0, 277.18, 329.63)
    notes = sum(np.sin(2.0 * np.pi * pitch * time) / (number + 1.0) for number, pitch in enumerate(pitches))
    swell = np.sin(np.pi * time / TONE_SECONDS) ** 2
    tone = at_level(np.asarray(notes * swell, dtype=np.float32), TONE_DBFS)
    return tone + room_noise(time.size, generator)


def mixed(episode: Episode) -> Mix:
    """Lay an episode's lines one after the other into the room's noise."""
    generator = np.random.default_rng(episode.seed)
    if not episode.lines:
        return Mix(chord(generator))
    mix = Mix(np.zeros(0, dtype=np.float32))
    pieces: list[Samples] = []
    position = 0
    for line in episode.lines:
        voice, level = episode.speakers[line.speaker]
        audio = spoken(line, voice, level)
        pause = round(line.pause * RATE)
        start = position + pause
        position = start + audio.size
        pieces += [np.zeros(pause, dtype=np.float32), audio]
        mix.turns.append(Turn(line.speaker, start / RATE, position / RATE, line.text))
    pieces.append(np.zeros(round(TAIL_SECONDS * RATE), dtype=np.float32))
    speech = np.concatenate(pieces)
    mix.samples = speech + room_noise(speech.size, generator)
    return mix


def encode(path: Path, samples: Samples, episode: Episode) -> None:
    """Write mono audio with the episode's codec; the container follows from the file name."""
    pcm = np.clip(np.rint(samples * 32767.0), -32768, 32767).astype(np.int16)
    frame = av.AudioFrame.from_ndarray(pcm.reshape(1, -1), format="s16", layout="mono")
    frame.sample_rate = RATE
    # Counted from zero, the encoder's priming falls before zero and the container tells players to skip it.
    frame.pts, frame.time_base = 0, Fraction(1, RATE)
    # Without bitexact, Matroska gets a random identity and every file the encoder's version.
    with av.open(str(path), "w", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream(episode.codec, rate=RATE, layout="mono", options={"flags": "+bitexact"})
        assert isinstance(stream, AudioStream)
        if episode.bit_rate:
            stream.codec_context.bit_rate = episode.bit_rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)


def decode(path: Path) -> tuple[Samples, int]:
    """Decode a file's audio with PyAV to mono between -1 and 1, at the rate the decoder gives."""
    with av.open(str(path)) as container:
        rate = container.streams.audio[0].rate
        resampler = av.AudioResampler(format="flt", layout="mono", rate=rate)
        frames = [out for frame in container.decode(audio=0) for out in resampler.resample(frame)]
        frames += resampler.resample(None)
    return np.concatenate([frame.to_ndarray()[0] for frame in frames]), rate


def lag_seconds(original: Samples, decoded: Samples, rate: int) -> float:
    """How much later the decoded audio is than the original, by the peak of their cross-correlation."""
    # Compared at 48 kHz: the finest rate any of the decoders gives, so that nothing is lost by resampling.
    left, right = resampled(original, RATE, 48000), resampled(decoded, rate, 48000)
    size = 1 << (left.size + right.size - 1).bit_length()
    product = np.fft.rfft(right, size) * np.conj(np.fft.rfft(left, size))
    reach = round(MAX_LAG_SECONDS * 48000)
    correlation = np.fft.irfft(product, size)
    around = np.concatenate([correlation[-reach:], correlation[: reach + 1]])
    return (int(np.argmax(around)) - reach) / 48000.0


def make(episode: Episode, folder: Path) -> dict[str, object]:
    """Make one file and say what is in it, measured on the file and not on the plan."""
    mix = mixed(episode)
    path = folder / episode.file
    encode(path, mix.samples, episode)
    decoded, rate = decode(path)
    lag = lag_seconds(mix.samples, decoded, rate)
    print(f"{episode.file:16} {path.stat().st_size:>8} bytes {decoded.size / rate:8.3f} s  lag {lag * 1000.0:+.2f} ms")
    return {
        "title": episode.title,
        "language": "en",
        "licence": episode.licence,
        "voices": {name: voice for name, (voice, _) in episode.speakers.items()},
        "duration": round(decoded.size / rate, 4),
        "turns": [turn.moved(lag) for turn in mix.turns],
    }


def main() -> None:
    """Make every file of the script and the truth beside them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, default=HERE, help="folder to write to (default: beside this script)")
    folder: Path = parser.parse_args().out
    folder.mkdir(parents=True, exist_ok=True)
    truth = {episode.file: make(episode, folder) for episode in read_script(HERE / "script.toml")}
    text = json.dumps({"files": truth}, indent=2, ensure_ascii=False)
    (folder / "truth.json").write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
