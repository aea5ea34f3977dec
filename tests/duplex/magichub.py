"""A corpus of the MagicHub multi-stream shape, made on the spot, with the truth that a correct reader must find.

Tracks differ in rate, channels, separators, line ends and decimal signs, as files from many hands do; that alone is no
problem. What is spoilt is named in ``spoil`` (:data:`LINE_SPOILS`, :data:`FILE_SPOILS`, or ``"all"``) and expected in
``Truth.problems``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import soundfile as sf

from duplexforge.duplex.corpus import Utterance
from duplexforge.layout import hashed_id
from tests.duplex.session import TAIL, MadeSession, MadeTrack, make_session, write

__all__ = [
    "FILE_SPOILS",
    "FORMATS",
    "KEPT",
    "LINE_SPOILS",
    "Expected",
    "MadeSession",
    "MadeTrack",
    "Truth",
    "make_corpus",
]

# Sorted by the times of the lines they add, so that one file can take several and stays in order.
LINE_SPOILS = (
    "bad_times",
    "negative_time",
    "end_before_start",
    "beyond_audio",
    "unknown_speaker",
    "missing_field",
    "undecodable",
    "duplicate_line",
    "overlaps_itself",
    "unknown_gender",
    "unknown_tag",
    "control_characters",
    "end_beyond_audio",
    "out_of_order",
)
FILE_SPOILS = (
    "no_transcript",
    "no_audio",
    "too_many_tracks",
    "one_track",
    "same_speaker",
    "unreadable_audio",
    "empty_audio",
    "odd_name",
    "duplicate_stem",
    "unsafe_name",
)
KEPT = frozenset(LINE_SPOILS[8:]) | {"unsafe_name"}
FORMATS = ((16_000, 1), (44_100, 2), (48_000, 1), (16_000, 2), (44_100, 1), (48_000, 2))

_SHORT = 10.0


class Expected(NamedTuple):
    """A problem that must be reported: file below the corpus (or the conversation's name), line, reason, kept."""

    file: str
    line: int | None
    reason: str
    kept: bool


@dataclass(frozen=True)
class Truth:
    """What a correct reader finds in ``folder``: sessions by id and problems, in no order; ``seconds`` of most tracks."""

    folder: Path
    seconds: float
    sessions: tuple[MadeSession, ...]
    problems: frozenset[Expected]

    def session(self, conversation_id: str) -> MadeSession:
        """The session of that id."""
        return next(one for one in self.sessions if one.conversation_id == conversation_id)


def make_corpus(
    folder: Path,
    *,
    sessions: int = 4,
    seconds: float = 30.0,
    seed: int = 7,
    spoil: Sequence[str] = (),
    pairs: Sequence[tuple[int, int]] | None = None,
    formats: Sequence[tuple[int, int]] = FORMATS,
) -> Truth:
    """Write a corpus into ``folder``. ``pairs`` gives the speakers of each session by number (default: all different).

    ``formats`` are (rate, channels), taken in turn by the tracks. The same arguments make the same bytes.
    """
    kinds = (*LINE_SPOILS, *FILE_SPOILS) if spoil == "all" or "all" in spoil else tuple(spoil)
    rng = np.random.default_rng(seed)
    for name in ("WAV", "TXT"):
        (folder / name).mkdir(parents=True, exist_ok=True)
    made = []
    for index in range(sessions):
        numbers = pairs[index] if pairs else (2 * index, 2 * index + 1)
        made.append(make_session(f"A{index + 1:04d}", numbers, index=index, seconds=seconds, formats=formats, rng=rng))
    tracks = [track for session in made for track in session.tracks]
    problems = _spoil_lines([kind for kind in LINE_SPOILS if kind in kinds], tracks, seconds)
    for track in tracks:
        write(folder, track, seconds, rng)
    for kind in (kind for kind in FILE_SPOILS if kind in kinds):
        kept, expected = _spoil_files(folder, kind, made, rng)
        made += kept
        problems += expected
    made.sort(key=lambda session: session.conversation_id)
    return Truth(folder, seconds, tuple(made), frozenset(problems))


def _spoil_lines(kinds: Sequence[str], tracks: Sequence[MadeTrack], seconds: float) -> list[Expected]:
    """Add one bad line for each of ``kinds``, in turn to the tracks."""
    expected = []
    for index, kind in enumerate(kinds):
        track = tracks[index % len(tracks)]
        line, utterance = _bad_line(kind, track, seconds)
        track.lines.append(line)
        expected.append(Expected(f"TXT/{track.stem}.txt", len(track.lines), kind, kind in KEPT))
        if utterance is not None:
            track.utterances = sorted([*track.utterances, utterance], key=lambda one: (one.start, one.end))
    return expected


def _bad_line(kind: str, track: MadeTrack, seconds: float) -> tuple[bytes, Utterance | None]:
    """The line, and what must be read from it all the same."""
    last = track.utterances[-1]
    by = round(seconds - TAIL, 3)
    kept = {
        "overlaps_itself": (
            round(last.end - 0.2, 3),
            round(last.end + 0.01, 3),
            "and another thing",
            "and another thing",
        ),
        "unknown_gender": (by + 0.1, by + 0.3, "who am I", "who am I"),
        "unknown_tag": (by + 0.4, by + 0.6, "is it [GIGGLE] you", "is it [GIGGLE] you"),
        "control_characters": (by + 0.7, by + 0.9, "a bell\x07 rings", "a bell rings"),
        "end_beyond_audio": (by + 1.0, seconds + 0.5, "to the very end", "to the very end"),
        "out_of_order": (0.2, 0.7, "early bird", "early bird"),
    }
    if kind in kept:
        start, end, written, read = kept[kind]
        gender = "robot" if kind == "unknown_gender" else ""
        if kind == "unknown_gender" and track.style == 1:
            # Between spaces such a word may as well be the first of the text; a tab says that it is a field.
            track.style = 0
        utterance = Utterance(round(start, 3), round(min(end, seconds), 3), read)
        return track.line(start, end, written, gender=gender), utterance
    ordinary = track.line(1.0, 1.4, "never to be read")
    whole = {
        "bad_times": b"[1.0;x]\t" + track.speaker.encode() + b"\tmale\tnever to be read",
        "negative_time": track.line(-0.5, 1.0, "never to be read"),
        "end_before_start": track.line(1.4, 1.0, "never to be read"),
        "beyond_audio": track.line(seconds + 1, seconds + 2, "never to be read"),
        "unknown_speaker": track.line(1.0, 1.4, "never to be read", speaker="G9999"),
        "missing_field": ordinary.split(track.gender.encode())[0].strip(),
        "undecodable": ordinary + b" caf\xe9",
        "duplicate_line": track.line(last.start, last.end, last.text),
    }
    return whole[kind], None


def _spoil_files(
    folder: Path, kind: str, made: Sequence[MadeSession], rng: np.random.Generator
) -> tuple[list[MadeSession], list[Expected]]:
    """Add a session that is spoilt in that way: what must be read of it, and what must be reported."""
    number = FILE_SPOILS.index(kind)
    if kind == "odd_name":
        (folder / "WAV" / "recording one.wav").write_bytes(
            (folder / "WAV" / f"{made[0].tracks[0].stem}.wav").read_bytes()
        )
        (folder / "TXT" / "recording one.txt").write_bytes(b"[0.0,1.0]\tG0001\tmale\thello\n")
        names = ("WAV/recording one.wav", "TXT/recording one.txt")
        return [], [Expected(name, None, kind, False) for name in names]
    if kind == "duplicate_stem":
        stem = made[0].tracks[0].stem
        sf.write(folder / "WAV" / f"{stem}.flac", np.zeros(16_000), 16_000, subtype="PCM_16")
        return [], [Expected(f"WAV/{stem}.flac", None, kind, False)]
    group = "Größe" if kind == "unsafe_name" else f"B{number:04d}"
    speakers = (900 + 2 * number, 901 + 2 * number)
    session = make_session(group, speakers, index=number, seconds=_SHORT, formats=((16_000, 1),), rng=rng)
    if kind == "same_speaker":
        twin = session.tracks[1]
        twin.lines = [line.replace(twin.speaker.encode(), session.tracks[0].speaker.encode()) for line in twin.lines]
        twin.speaker = session.tracks[0].speaker
        twin.stem = f"{group}_S001_1_{twin.speaker}"
    for track in session.tracks:
        write(folder, track, _SHORT, rng)
    if kind == "unsafe_name":
        name = hashed_id("conversation", f"{group}_S001")
        files = [Expected(f"{group}_S001", None, kind, True)]
        return [MadeSession(name, hashed_id("group", group), session.tracks)], files
    return [], [_damage(folder, kind, session)]


def _damage(folder: Path, kind: str, session: MadeSession) -> Expected:
    """Spoil the second track of a session, or add a third; the whole session is lost by it."""
    first, second = session.tracks
    wav, txt = folder / "WAV" / f"{second.stem}.wav", folder / "TXT" / f"{second.stem}.txt"
    where = session.conversation_id
    if kind in ("no_transcript", "one_track"):
        txt.unlink()
        where = f"WAV/{wav.name}" if kind == "no_transcript" else where
    if kind in ("no_audio", "one_track"):
        wav.unlink()
        where = f"TXT/{txt.name}" if kind == "no_audio" else where
    if kind == "too_many_tracks":
        for folder_name, suffix in (("WAV", "wav"), ("TXT", "txt")):
            third = folder / folder_name / f"{session.conversation_id}_0_G9998.{suffix}"
            third.write_bytes((folder / folder_name / f"{first.stem}.{suffix}").read_bytes())
    if kind == "unreadable_audio":
        wav.write_bytes(b"RIFF" + bytes(100))
        where = f"WAV/{wav.name}"
    if kind == "empty_audio":
        sf.write(wav, np.zeros(0), 16_000, subtype="PCM_16")
        where = f"WAV/{wav.name}"
    return Expected(where, None, kind, False)
