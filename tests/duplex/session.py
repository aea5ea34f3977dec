"""One made session: two synthetic voices that take turns, overlap and fall into each other's word, and its files.

Voices are vowel-like harmonic tones: loud in their speaker's utterances, at about −80 dB elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soundfile as sf

from duplexforge.duplex.corpus import Utterance

Samples = npt.NDArray[np.float32]

WORDS = (
    *("well", "I", "think", "the", "rain", "café", "never", "stops", "on", "a", "Tuesday", "so", "we", "went", "home"),
    *("and", "naïve", "as", "ever", "it", "was", "fun", "yeah"),
)

# Silent at both ends of every track, where spoilt lines find their times.
LEAD, TAIL = 1.5, 2.0


@dataclass
class MadeTrack:
    """One speaker of a session: what must be read, and how it was written. ``tags`` counts those inside texts."""

    stem: str
    speaker: str
    gender: str
    rate: int
    channels: int
    style: int
    utterances: list[Utterance]
    lines: list[bytes] = field(default_factory=list)
    tags: dict[str, int] = field(default_factory=dict)
    non_text: int = 0
    noise: int = 0

    def line(self, start: float, end: float, text: str, *, speaker: str = "", gender: str = "") -> bytes:
        """A line in this file's own style."""
        separator = " " if self.style == 1 else "\t"
        times = f"[{start:.3f},{end:.3f}]"
        if self.style == 3:
            times = f"[{start:.3f}".replace(".", ",") + f",{end:.3f}]".replace(".", ",")
        return separator.join([times, speaker or self.speaker, gender or self.gender, text]).encode()


@dataclass(frozen=True)
class MadeSession:
    """Two tracks of one conversation, sorted by their names."""

    conversation_id: str
    group: str
    tracks: tuple[MadeTrack, MadeTrack]


def make_session(
    group: str,
    numbers: tuple[int, int],
    *,
    index: int,
    seconds: float,
    formats: Sequence[tuple[int, int]],
    rng: np.random.Generator,
) -> MadeSession:
    """A session of the speakers of those ``numbers``; ``index`` says which of the ``formats`` and styles its files have."""
    spoken = _turns(seconds, rng)
    made = []
    for seat in (0, 1):
        rate, channels = formats[(2 * index + seat) % len(formats)]
        speaker = f"G{numbers[seat] + 1:04d}"
        gender = ("female", "male")[numbers[seat] % 2]
        style = (2 * index + seat) % 4
        track = MadeTrack(f"{group}_S001_0_{speaker}", speaker, gender, rate, channels, style, spoken[seat])
        _fill(track)
        made.append(track)
    made.sort(key=lambda track: track.stem)
    return MadeSession(f"{group}_S001", group, (made[0], made[1]))


def _turns(seconds: float, rng: np.random.Generator) -> tuple[list[Utterance], list[Utterance]]:
    """Two people who take turns, now and then before the other has ended; a backchannel falls into some turns."""
    spoken: tuple[list[Utterance], list[Utterance]] = ([], [])
    free = [LEAD, LEAD]
    now, who = LEAD, 0
    # Short enough for a turn of each of them, however short the session is.
    longest = min(3.0, max(0.6, (seconds - LEAD - TAIL) / 3))
    while True:
        start = round(max(now + rng.uniform(-0.5, 0.6), free[who]), 3)
        end = round(start + rng.uniform(0.6, longest), 3)
        if end > seconds - TAIL:
            return spoken
        spoken[who].append(Utterance(start, end, _text(rng, max(1, int(3 * (end - start))))))
        free[who] = end + 0.05
        if end - start > 2.0 and free[1 - who] < start + 0.5 and rng.random() < 0.5:
            spoken[1 - who].append(Utterance(round(start + 0.8, 3), round(start + 1.1, 3), "mhm"))
            free[1 - who] = start + 1.2
        now, who = end, 1 - who


def _text(rng: np.random.Generator, words: int) -> str:
    return " ".join(WORDS[index] for index in rng.integers(0, len(WORDS), words))


def _fill(track: MadeTrack) -> None:
    """The lines of a track: its utterances, some with tags inside, and between them lines that are no speech."""
    for number, one in enumerate(track.utterances):
        text = one.text
        if number % 3 == 1:
            text = f"[SONANT] {text}[PII]"
            for tag in ("[SONANT]", "[PII]"):
                track.tags[tag] = track.tags.get(tag, 0) + 1
        track.lines.append(track.line(one.start, one.end, text))
        if number % 4 == 0:
            track.lines.append(track.line(one.start, one.end, "[*] [NPS]" if number % 8 else "[MUSIC][ENS]"))
            track.non_text += 1
        if number % 5 == 0:
            track.lines.append(track.line(one.start, one.end, "[SYSTEM]", speaker="0", gender="none"))
            track.noise += 1


def voice(track: MadeTrack, seconds: float, rng: np.random.Generator) -> Samples:
    """The sound of a track: one period as a table, read at the speaker's pitch, with syllables; noise at −80 dB."""
    count = round(seconds * track.rate)
    number = int.from_bytes(track.speaker.encode(), "big") % 97
    pitch = 90.0 + 1.7 * number
    turn = np.arange(1024) * (2 * np.pi / 1024)
    formant = 500.0 + 9.0 * number
    table = np.zeros(1024)
    for order in range(1, int(3000 / pitch)):
        table += np.exp(-(((order * pitch - formant) / 400.0) ** 2)) * np.sin(order * turn) + 0.05 * np.sin(
            order * turn
        )
    table *= 0.5 / np.abs(table).max()
    samples = rng.standard_normal(count, dtype=np.float32) * np.float32(1e-4)
    for one in track.utterances:
        first, end = round(one.start * track.rate), min(round(one.end * track.rate), count)
        at = np.arange(end - first) / track.rate
        ramp = np.minimum(1.0, np.minimum(at, at[::-1]) / 0.02) * (0.75 + 0.25 * np.sin(2 * np.pi * 4 * at))
        samples[first:end] += (table[(at * pitch * 1024).astype(np.int64) % 1024] * ramp).astype(np.float32)
    return samples


def write(folder: Path, track: MadeTrack, seconds: float, rng: np.random.Generator) -> None:
    """Write WAV and TXT of a track."""
    mono = voice(track, seconds, rng)
    sound = np.repeat(mono[:, None], track.channels, axis=1)
    sf.write(folder / "WAV" / f"{track.stem}.wav", sound, track.rate, subtype="PCM_16")
    mark, ends = (b"\xef\xbb\xbf", b"\r\n") if track.style == 2 else (b"", b"\n")
    (folder / "TXT" / f"{track.stem}.txt").write_bytes(mark + ends.join([*track.lines, b""]))
