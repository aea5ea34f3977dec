"""What the codec keeps of held-out recorded speakers, beside Opus and MP3 at the same measured rate.

    python benchmarks/codec_quality.py [--quick] [--json] [--mode M …] [--kbps R] [--items N] [--stream] [--data FOLDER]

The speakers were held out of every training: ``asterisk-core-sounds-it`` and ``-fr`` (Debian, 16 kHz G.722) and
``fillets-ng-data-nl`` (Ogg Vorbis); ``examples/speech_data.sh`` installs them. ``--data`` takes a folder instead, one
sub-folder a speaker. Recordings are joined in the order of their names to items of about eight seconds, the same ones in
every run.

Bits are those really written: of ours the whole file, with header, lengths and checksums; of Opus and MP3 the packets
alone, which favours them (``packets`` counts ours the same way; the mode ``token`` is judged by it). SNR is plain and
aligned at zero delay, no scale fitted; the peers are shifted to where they fit best. Opus (libopus through PyAV,
20 ms) is brought to our rate within 3 %; MP3 (LAME) knows fixed rates and takes the one below 1.25 of ours.

The mode ``base`` (1.5 kbps, parametric) stands alone, as no peer goes that low; its SNR says nothing. It is asked more:
errors of pitch, voicing and level, and how many words a recogniser gets wrong (``wer``; ``clean``: in the original) in
sentences of espeak-ng and in recorded English prompts (:mod:`codec_words`).
"""

from __future__ import annotations

import codec_words  # isort: skip
from harness import ROOT, arguments  # isort: skip

import io
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import numpy.typing as npt
import soundfile as sf
import soxr

sys.path.insert(0, str(ROOT / "src"))

from duplexforge.models import whole
from duplexforge.models.codec import MODES, open_codec
from duplexforge.models.measure import block_kbps, snr
from duplexforge.models.quality import f0_track, scores

RATE = 16_000
SECONDS = 8
HELD_OUT = {
    "asterisk-it": ("/usr/share/asterisk/sounds/it_IT_m_Carlo", "**/*.g722"),
    "asterisk-fr": ("/usr/share/asterisk/sounds/fr_CA_f_June", "**/*.g722"),
    "fillets-nl": ("/usr/share/games/fillets-ng/sound", "*/nl/*.ogg"),
}
GATES = {
    "fidelity": {"snr": 25.0, "kbps": 18.0},
    "balanced": {"snr": 22.0, "pesq_wb": 3.9, "kbps": 16.0},
    "token": {"snr": 15.0, "pesq_wb": 3.2, "stoi": 0.96, "packets": 16.3},
}
MP3_RATES = (8, 16, 24, 32)

Wave = npt.NDArray[np.float32]
Coded = tuple[Wave, dict[str, float]]
"""The wave that came back, and its rates: kbps in all, of the packets alone, and the 95th percentile of 100 ms blocks."""


@dataclass(frozen=True)
class Row:
    """One codec on one speaker: means over the items."""

    speaker: str
    codec: str
    values: dict[str, float]


def main() -> None:
    """Score every wanted mode and its peers on every speaker."""
    parser = arguments(__doc__)
    parser.add_argument("--mode", action="append", choices=list(MODES), help="default: fidelity and balanced")
    parser.add_argument("--kbps", type=float, help="rate to aim at (default 16)")
    parser.add_argument("--items", type=int, default=10, help="items of each speaker")
    parser.add_argument("--stream", action="store_true", help="ours as a live stream, with no look at the whole first")
    parser.add_argument("--no-peers", action="store_true", help="ours alone")
    parser.add_argument("--data", type=Path, help="a folder with one sub-folder a speaker")
    wanted = parser.parse_args()
    items = 2 if wanted.quick else wanted.items
    rows: list[Row] = []
    for mode in wanted.mode or (["fidelity"] if wanted.quick else ["fidelity", "balanced"]):
        for speaker, waves in speakers(wanted.data, items):
            ours = [encode_ours(mode, wanted.kbps, wave, stream=wanted.stream) for wave in waves]
            rows.append(score(speaker, mode, waves, ours))
            if not wanted.no_peers and mode != "base":
                target = rows[-1].values["kbps"]
                for name, peer in PEERS.items():
                    rows.append(score(speaker, f"{name} beside {mode}", waves, [peer(wave, target) for wave in waves]))
        if mode == "base":
            rows += understood(2 if wanted.quick else len(codec_words.SENTENCES))
    print(json.dumps(to_json(rows), indent=1) if wanted.json else table(rows))


def speakers(data: Path | None, items: int) -> Iterator[tuple[str, list[Wave]]]:
    """Each speaker's name and items."""
    places = {path.name: (str(path), "**/*") for path in sorted(data.iterdir()) if path.is_dir()} if data else HELD_OUT
    found = False
    for name, (folder, pattern) in places.items():
        paths = [path for path in sorted(Path(folder).glob(pattern)) if path.is_file()]
        if paths:
            found = True
            yield name, joined(paths, items)
    if not found:
        sys.exit("no speech found: examples/speech_data.sh installs it, or name a folder with --data")


def joined(paths: list[Path], items: int) -> list[Wave]:
    """``items`` items of ``SECONDS`` or a little more, from places that lie evenly in ``paths``."""
    waves = []
    for start in np.linspace(0, len(paths), items, endpoint=False).astype(int):
        parts: list[Wave] = []
        for path in paths[start:]:
            parts.append(read(path))
            if sum(map(len, parts)) >= SECONDS * RATE:
                break
        waves.append(np.concatenate(parts)[: 2 * SECONDS * RATE])
    return waves


def read(path: Path) -> Wave:
    """The sound of ``path`` at 16 kHz; of G.722, which has no header, the format is known by the name."""
    if path.suffix == ".g722":
        with av.open(str(path), format="g722") as source:
            samples = [frame.to_ndarray().reshape(-1) for frame in source.decode(audio=0)]
        return np.concatenate(samples or [np.zeros(0, np.int16)]).astype(np.float32) / 32768
    sound, rate = sf.read(path, dtype="float32", always_2d=True)
    mono = sound.mean(axis=1)
    return mono if rate == RATE else soxr.resample(mono, rate, RATE, quality="VHQ").astype(np.float32)


# -- codecs ------------------------------------------------------------------------------------------------------------


def encode_ours(mode: str, kbps: float | None, wave: Wave, *, stream: bool) -> Coded:
    """Through a file of ours and back."""
    codec = open_codec(mode) if kbps is None else open_codec(mode, kbps=kbps)
    data = whole.pack(codec if stream else whole.steadied(codec, wave), wave)
    found = whole.unpack(data)
    blocks = block_kbps([len(packet or b"") for packet in found.packets.packets], codec.packet / codec.rate)
    return found.wave, rates(whole.file_kbps(len(data), wave, RATE), found.packets.kbps, blocks)


def rates(kbps: float, packets: float, blocks: npt.NDArray[np.float64]) -> dict[str, float]:
    """The three rates by name."""
    return {"kbps": kbps, "packets": packets, "p95": float(np.percentile(blocks, 95))}


def opus(application: str) -> Callable[[Wave, float], Coded]:
    """Opus for ``application`` (voip or audio), at a rate near the one asked for."""

    def code(wave: Wave, kbps: float) -> Coded:
        asked = kbps
        for _ in range(6):
            found = through_ffmpeg(wave, "ogg", "libopus", asked, {"application": application, "frame_duration": "20"})
            if abs(found[1]["kbps"] / kbps - 1) < 0.03:
                break
            asked *= kbps / found[1]["kbps"]
        return found

    return code


def mp3(wave: Wave, kbps: float) -> Coded:
    """MP3 at the largest rate that is not far above the one asked for."""
    return through_ffmpeg(wave, "mp3", "libmp3lame", max(rate for rate in MP3_RATES if rate <= 1.25 * kbps), {})


def through_ffmpeg(wave: Wave, container: str, codec: str, kbps: float, options: dict[str, str]) -> Coded:
    """Encode and decode ``wave`` in memory; the answer is shifted to where it fits best."""
    target = io.BytesIO()
    sizes: list[int] = []
    with av.open(target, "w", format=container) as sink:
        stream = sink.add_stream(codec, rate=RATE, layout="mono", options=options)
        stream.bit_rate = round(kbps * 1000)
        kind = "flt" if codec == "libopus" else "fltp"
        frame = av.AudioFrame.from_ndarray(wave[None, :], format=kind, layout="mono")
        frame.sample_rate = RATE
        for piece in (frame, None):
            for packet in stream.encode(piece):
                sizes.append(packet.size)
                sink.mux(packet)
    with av.open(io.BytesIO(target.getvalue())) as source:
        rate = source.streams.audio[0].rate
        resampler = av.AudioResampler(format="flt", layout="mono")
        parts = [part.to_ndarray().reshape(-1) for one in source.decode(audio=0) for part in resampler.resample(one)]
    sound = np.concatenate(parts)
    sound = sound if rate == RATE else soxr.resample(sound, rate, RATE, quality="VHQ")
    blocks = block_kbps(sizes, len(wave) / RATE / len(sizes))
    kbps = whole.file_kbps(sum(sizes), wave, RATE)
    return aligned(wave, sound), rates(kbps, kbps, blocks)


def aligned(wave: Wave, sound: Wave, most: int = 2000) -> Wave:
    """``sound`` at the shift (up to ``most`` samples) where it fits ``wave`` best, at its length."""
    size = 1 << (len(wave) + len(sound)).bit_length()
    match = np.fft.irfft(np.fft.rfft(sound, size) * np.conj(np.fft.rfft(wave, size)), size)
    shift = int(np.argmax(np.concatenate([match[-most:], match[:most]]))) - most
    moved = sound[shift:] if shift >= 0 else np.concatenate([np.zeros(-shift, np.float32), sound])
    return np.pad(moved[: len(wave)], (0, max(len(wave) - len(moved), 0))).astype(np.float32)


PEERS: dict[str, Callable[[Wave, float], Coded]] = {
    "opus voip": opus("voip"),
    "opus audio": opus("audio"),
    "mp3": mp3,
}


# -- results -----------------------------------------------------------------------------------------------------------


def score(speaker: str, codec: str, waves: list[Wave], coded: list[Coded]) -> Row:
    """Means over the items of one speaker."""
    found = []
    for wave, (sound, spent) in zip(waves, coded, strict=True):
        found.append(spent | {"snr": snr(wave, sound)} | scores(wave, sound, RATE))
        if codec == "base":
            found[-1] |= codec_words.voice_scores(f0_track(wave, RATE), f0_track(sound, RATE))
            found[-1]["level_db"] = float(10 * np.log10(np.mean(sound**2) / np.mean(wave**2)))
    return Row(speaker, codec, {name: float(np.nanmean([one[name] for one in found])) for name in found[0]})


def understood(count: int) -> list[Row]:
    """The mode base on what espeak-ng says and on recorded prompts, with the words that are lost."""
    recogniser = codec_words.Recogniser()
    clips = codec_words.spoken(count)
    sets = {"espeak-en": [wave for _, wave in clips], "asterisk-en": codec_words.prompts(count, read)}
    rows = []
    for name, waves in sets.items():
        if not waves:
            continue
        ours = [encode_ours("base", None, wave, stream=True) for wave in waves]
        clean = [recogniser.words(wave) for wave in waves]
        right = [text for text, _ in clips] if name == "espeak-en" else clean
        row = score(name, "base", waves, ours)
        row.values["clean"] = codec_words.word_error(right, clean)
        row.values["wer"] = codec_words.word_error(right, [recogniser.words(sound) for sound, _ in ours])
        rows.append(row)
    return rows


def overall(rows: list[Row]) -> list[Row]:
    """The mean over the speakers, for each codec."""
    names = list(dict.fromkeys(row.codec for row in rows))
    found = []
    for name in names:
        values = [row.values for row in rows if row.codec == name]
        # Some speakers are asked more than others; the mean is over what all of them have.
        keys = [key for key in values[0] if all(key in one for one in values)]
        found.append(Row("all", name, {key: float(np.nanmean([one[key] for one in values])) for key in keys}))
    return found


def met(row: Row) -> bool | None:
    """Whether a mode of ours reaches its gate; None for a peer."""
    gate = GATES.get(row.codec)
    if gate is None:
        return None
    return all(
        row.values[name] <= goal if name in ("kbps", "packets") else row.values[name] >= goal
        for name, goal in gate.items()
    )


def table(rows: list[Row]) -> str:
    """All rows as text."""
    names = list(dict.fromkeys(name for row in rows for name in row.values))
    lines = [f"{'speaker':<12} {'codec':<26}" + "".join(f"{name:>9}" for name in names)]
    for row in [*rows, *overall(rows)]:
        verdict = {True: "  gate met", False: "  gate NOT met", None: ""}[met(row)]
        values = "".join(f"{row.values[name]:9.3f}" if name in row.values else " " * 9 for name in names)
        lines.append(f"{row.speaker:<12} {row.codec:<26}{values}{verdict}")
    return "\n".join(lines)


def to_json(rows: list[Row]) -> list[dict[str, object]]:
    """All rows as plain data."""
    return [
        {"speaker": row.speaker, "codec": row.codec, "met": met(row)} | row.values for row in [*rows, *overall(rows)]
    ]


if __name__ == "__main__":
    main()
