"""What a codec does to a recording: bits really written, error, time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from time import process_time

import numpy as np
import numpy.typing as npt

from duplexforge.models.codec import Codec, Wave
from duplexforge.models.whole import file_kbps, pack, unpack

_BLOCK = 0.1


@dataclass(frozen=True)
class Row:
    """One recording. ``packet_ms`` is the processor's time to encode and decode what one packet covers, on average."""

    name: str
    seconds: float
    kbps: float
    p95_kbps: float
    snr: float
    packet_ms: float

    def to_json(self) -> dict[str, object]:
        """As it is printed with ``--json``."""
        return {name: round(value, 3) if isinstance(value, float) else value for name, value in asdict(self).items()}


def snr(clean: Wave, coded: Wave) -> float:
    """10·log10(Σx²/Σ(x−y)²), in dB: no scale is fitted and nothing is shifted. Infinite for equal waves."""
    x, y = clean.astype(np.float64), coded.astype(np.float64)
    error = float(np.sum((x - y) ** 2))
    signal = float(np.sum(x * x))
    if not error:
        return float("inf")
    return 10 * float(np.log10(signal / error)) if signal else float("-inf")


def block_kbps(sizes: Sequence[int], packet_seconds: float, block: float = _BLOCK) -> npt.NDArray[np.float64]:
    """The rate of each block of ``block`` seconds; a packet's bits are spread evenly over the time that it covers."""
    spent = np.concatenate([[0.0], np.cumsum(np.asarray(sizes, np.float64) * 8)])
    times = np.arange(len(spent)) * packet_seconds
    edges = np.arange(0.0, times[-1] + 1e-9, block)
    rates: npt.NDArray[np.float64] = np.diff(np.interp(edges, times, spent)) / block / 1000
    return rates


def measure(name: str, codec: Codec, wave: Wave) -> Row:
    """Encode ``wave`` to a file and back."""
    begun = process_time()
    data = pack(codec, wave)
    found = unpack(data)
    took = process_time() - begun
    sizes = [len(packet or b"") for packet in found.packets.packets]
    blocks = block_kbps(sizes, codec.packet / codec.rate)
    return Row(
        name=name,
        seconds=len(wave) / codec.rate,
        kbps=file_kbps(len(data), wave, codec.rate),
        p95_kbps=float(np.percentile(blocks, 95)) if len(blocks) else 0.0,
        snr=snr(wave, found.wave),
        packet_ms=1000 * took / max(len(sizes), 1),
    )


def table(rows: Sequence[Row]) -> str:
    """The rows and their mean as text."""
    head = f"{'seconds':>8} {'kbps':>7} {'p95/100ms':>10} {'SNR dB':>7} {'ms/packet':>10}  recording"
    lines = [
        f"{row.seconds:8.1f} {row.kbps:7.2f} {row.p95_kbps:10.2f} {row.snr:7.2f} {row.packet_ms:10.2f}  {row.name}"
        for row in rows
    ]
    if len(rows) > 1:
        values = [
            float(np.mean([getattr(row, name) for row in rows]))
            for name in ("seconds", "kbps", "p95_kbps", "snr", "packet_ms")
        ]
        lines.append("{:8.1f} {:7.2f} {:10.2f} {:7.2f} {:10.2f}  mean".format(*values))
    return "\n".join([head, *lines])
