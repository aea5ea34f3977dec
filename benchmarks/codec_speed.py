"""Speed of the codec on one core: streaming chunk by chunk in every mode, and the mode token against three neural codecs.

    python benchmarks/codec_speed.py [--quick] [--json] [--mode token] [--chunk-ms 20]

Peers are transformers' EncodecModel, DacModel and MimiModel with random weights, one thread, brought to our number of
parameters (codebooks counted on both sides) and to 200 frames a second with eight books of 1024 (Mimi: 100 with sixteen;
its transformer keeps a few hidden layers). They are run twice: on the whole wave at once, which is the kindest way and no
live one, and chunk by chunk with nothing carried over, which is what a live session would pay at least (what comes out has
seams, since none of them streams its encoder there). Ours is the stream itself, pushed in chunks, in both. Both sides
encode to codes and decode back. The wave is synthetic; neither side's work depends on what it says. A chunk's time is
processor time, since other work on the machine is none of the codec's.
"""

from __future__ import annotations

from harness import Comparison, Figure, arguments, compare, report  # isort: skip

import time
from collections.abc import Callable
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from duplexforge.models import token_weights
from duplexforge.models.codec import MODES, Codec, open_codec

RATE = 16_000
CHUNK = 320
BOUND_MS = 10.0
GOAL = 1.5
SEED = 0
Wave = npt.NDArray[np.float32]


def voice(seconds: float) -> Wave:
    """Harmonics of a gliding pitch, in syllables, over a little noise."""
    random = np.random.default_rng(SEED)
    at = np.arange(round(seconds * RATE)) / RATE
    phase = 2 * np.pi * np.cumsum(120 + 20 * np.sin(4 * at)) / RATE
    wave = sum(np.sin(number * phase) / number for number in range(1, 25)) * np.clip(np.sin(13 * at), 0, None)
    whole = wave + 0.01 * random.standard_normal(len(at))
    return (0.3 * whole / np.abs(whole).max()).astype(np.float32)


def through(codec: Codec, wave: Wave, chunk: int) -> Wave:
    """The wave after encoding and decoding it in chunks."""
    encoder, decoder = codec.encoder(), codec.decoder()
    parts = [decoder.push(encoder.push(wave[None, start : start + chunk])) for start in range(0, len(wave), chunk)]
    parts.append(decoder.push(encoder.flush()))
    return np.concatenate(parts, axis=1)[0, : len(wave)]


def chunk_times(codec: Codec, wave: Wave, chunk: int) -> list[float]:
    """Milliseconds of encoding and decoding each chunk, the first ten left out."""
    encoder, decoder = codec.encoder(), codec.decoder()
    times = []
    for start in range(0, len(wave) - chunk + 1, chunk):
        began = time.process_time()
        decoder.push(encoder.push(wave[None, start : start + chunk]))
        times.append(1000 * (time.process_time() - began))
    return times[10:]


def figures(modes: list[str], wave: Wave, chunks: list[int]) -> list[Figure]:
    """Median and 99th percentile of a chunk, by mode and chunk."""
    found = []
    for mode in modes:
        codec = open_codec(mode)
        for chunk_ms in chunks:
            # A packet may cover several chunks: its work falls on the one that completes it, as it would live.
            times = chunk_times(codec, wave, chunk_ms * RATE // 1000)
            for name, value in (("median", median(times)), ("p99", float(np.percentile(times, 99)))):
                goal = f"goal < {BOUND_MS:g} ms" if name == "p99" else ""
                met = value < BOUND_MS if goal else None
                found.append(Figure(f"{mode}, {chunk_ms} ms chunk, {name}", value, "ms", goal, met))
    return found


@dataclass(frozen=True)
class Peer:
    """A codec of transformers: its name, its parameters, and a function from a wave to what comes back."""

    name: str
    parameters: int
    run: Callable[[torch.Tensor], torch.Tensor]


def _count(model: torch.nn.Module) -> int:
    """Numbers in weights and codebooks; what only training needs of a codebook is no part of the model."""
    own = [
        (name, tensor)
        for name, tensor in model.state_dict().items()
        if not name.endswith(("cluster_size", "embed_avg", "embed_sum", "cluster_usage", "initialized", "inited"))
    ]
    return sum(tensor.numel() for _, tensor in own)


def _fitted(make: Callable[[int], torch.nn.Module], wanted: int, sizes: range) -> torch.nn.Module:
    """The model whose size is nearest to ``wanted``."""
    best = min(sizes, key=lambda size: abs(_count(make(size)) - wanted))
    torch.manual_seed(SEED)
    return make(best).eval()


def encodec(wanted: int) -> Peer:
    """EncodecModel at 16 kHz and 16 kbps."""
    from transformers import EncodecConfig, EncodecModel

    def make(size: int) -> Any:
        return EncodecModel(
            EncodecConfig(
                sampling_rate=RATE, target_bandwidths=[16.0], upsampling_ratios=[5, 4, 4], num_filters=size,
                hidden_size=32, codebook_dim=32, codebook_size=1024, num_lstm_layers=2,
            )
        )  # fmt: skip

    model: Any = _fitted(make, wanted, range(4, 33, 2))

    def run(wave: torch.Tensor) -> torch.Tensor:
        coded = model.encode(wave, bandwidth=16.0)
        assert coded.audio_codes.shape[2] == 8
        return model.decode(coded.audio_codes, coded.audio_scales)[0]

    return Peer("EncodecModel", _count(model), run)


def dac(wanted: int) -> Peer:
    """DacModel at 16 kHz and 16 kbps."""
    from transformers import DacConfig, DacModel

    def make(size: int) -> Any:
        return DacModel(
            DacConfig(
                encoder_hidden_size=size, downsampling_ratios=[4, 4, 5], decoder_hidden_size=12 * size,
                upsampling_ratios=[5, 4, 4], n_codebooks=8, codebook_size=1024, codebook_dim=8, sampling_rate=RATE,
                hidden_size=16 * size,
            )
        )  # fmt: skip

    model: Any = _fitted(make, wanted, range(4, 33, 2))

    def run(wave: torch.Tensor) -> torch.Tensor:
        coded = model.encode(wave)
        assert coded.audio_codes.shape[1] == 8
        return model.decode(audio_codes=coded.audio_codes)[0]

    return Peer("DacModel", _count(model), run)


def mimi(wanted: int) -> Peer:
    """MimiModel at 16 kHz and 16 kbps."""
    from transformers import MimiConfig, MimiModel

    def make(size: int) -> Any:
        return MimiModel(
            MimiConfig(
                sampling_rate=RATE, upsampling_ratios=[5, 4, 4], num_filters=size, hidden_size=8 * size,
                vector_quantization_hidden_dimension=16, codebook_dim=16, codebook_size=1024, num_quantizers=16,
                num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=4, head_dim=2 * size,
                intermediate_size=16 * size, upsample_groups=8 * size, frame_rate=100.0,
            )
        )  # fmt: skip

    model: Any = _fitted(make, wanted, range(4, 33, 2))

    def run(wave: torch.Tensor) -> torch.Tensor:
        coded = model.encode(wave, num_quantizers=16)
        assert coded.audio_codes.shape[1] == 16
        return model.decode(coded.audio_codes)[0]

    return Peer("MimiModel", _count(model), run)


def our_parameters() -> int:
    """Numbers in the weights of the mode token: books, networks, filter, trust."""
    weights = token_weights.load()
    looks = [*weights.looks, weights.filter]
    networks = sum(part.size for look in looks for part in (look.past, look.now, look.bias, *look.second, look.last))
    books = [*weights.gains, *(book for group in weights.groups for book in group)]
    return networks + weights.trust.size + sum(book.vectors.size for book in books)


def against(peer: Peer, codec: Codec, ours: int, wave: Wave, *, live: bool, repetitions: int) -> Comparison:
    """The stream of the mode token against ``peer`` on the same wave; ``live``: the peer gets chunks too."""
    whole = torch.from_numpy(wave)[None, None]
    pieces = whole.split(CHUNK, dim=-1) if live else [whole]

    def check(mine: Wave, theirs: torch.Tensor) -> str:
        assert len(mine) == len(wave)
        assert np.isfinite(mine).all()
        assert bool(torch.isfinite(theirs).all())
        assert theirs.shape[-1] >= 0.9 * len(wave)
        return f"both gave {len(wave) / RATE:g} s back; parameters {ours:,} against {peer.parameters:,}"

    def theirs() -> torch.Tensor:
        with torch.inference_mode():
            return torch.cat([peer.run(piece) for piece in pieces], dim=-1)

    return compare(
        f"token against {peer.name}" + (", live" if live else ""),
        lambda: through(codec, wave, CHUNK),
        theirs,
        check=check,
        peer_name=f"{peer.name}, random weights, " + ("20 ms at a time" if live else "whole wave at once"),
        repetitions=repetitions,
        goal=GOAL if peer.name == "EncodecModel" else 0.0,
    )


def main() -> None:
    """Measure and print."""
    parser = arguments(__doc__)
    parser.add_argument("--mode", choices=[*MODES, "all"], default="all")
    parser.add_argument("--chunk-ms", type=int, nargs="+", default=[20, 40])
    options = parser.parse_args()
    torch.set_num_threads(1)
    wave = voice(3.0 if options.quick else 10.0)
    modes = list(MODES) if options.mode == "all" else [options.mode]
    found = figures(modes, wave, options.chunk_ms)
    ours = our_parameters()
    short = wave[: RATE * (1 if options.quick else 4)]
    codec = open_codec("token")
    rows = []
    if "token" in modes:
        rows = [
            against(peer, codec, ours, short, live=live, repetitions=options.repetitions)
            for peer in (make(ours) for make in (encodec, dac, mimi))
            for live in (False, True)
        ]
    report(
        "Codec: encode and decode on one core",
        rows,
        found,
        as_json=options.json,
        packages=["numpy", "torch", "transformers"],
        seed=SEED,
    )


if __name__ == "__main__":
    main()
