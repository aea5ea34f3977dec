"""Conversations out of processed episodes: the stretches in which two people talk to each other, each on a track of their own.

The pipeline knows who speaks when, but keeps one sound for all. A track is that sound where its speaker is heard and zero
elsewhere, with short cross-fades; where both speak at once both tracks hold both, and the conversation is flagged. (Tracks
that a network has pulled apart would be better; the pipeline keeps none.)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal, get_args

from pydantic import TypeAdapter

from duplexforge import config
from duplexforge.config import StoreSettings
from duplexforge.duplex.corpus import Conversation, Problem, Track, Utterance, Word
from duplexforge.duplex.masking import Masking, Said
from duplexforge.duplex.segments import Segment, Stretch
from duplexforge.duplex.sounds import EpisodeFile, MaskedAudio, Piece, SegmentFiles, Sound
from duplexforge.duplex.stretches import Picked, Refused, StretchRules, pick
from duplexforge.episodes import SEGMENTS, Committed, parse_rows, read_file
from duplexforge.errors import InputError, UsageError
from duplexforge.layout import Layout, hashed_id, safe_name
from duplexforge.loading.schema import SideFlag
from duplexforge.records import Manifest
from duplexforge.storage import Store

__all__ = ["Processed", "Refuses", "SoundFrom"]

SoundFrom = Literal["auto", "episode", "segments"]
Refuses = Callable[[Manifest], str | None]
"""Why an episode may not be used, in words; None: it may."""

OTHERS, DOUBTFUL = "other_speakers_left_out", "doubtful_text"
# Reasons of the pipeline to doubt a text, not a sound.
_DOUBTS = frozenset({"low_confidence", "repetition", "few_characters", "odd_rate", "unsupported_language"})
_LEFT_OUT = {"purged": "it was purged from the data set", "not_committed": "it has no manifest yet"}
_WORDS = "words.json"
# A session's id holds the episode's id twice, and a name has at most 200 signs.
_LONGEST_ID = 80

_ROWS: TypeAdapter[list[Segment]] = TypeAdapter(list[Segment])
_SPOKEN: TypeAdapter[dict[str, list[tuple[float, float, str, float]]]] = TypeAdapter(
    dict[str, list[tuple[float, float, str, float]]]
)


@dataclass(frozen=True)
class _Episode:
    """A committed episode and what was picked from it; ``sound`` is None when nothing was."""

    manifest: Manifest
    picked: Picked
    words: dict[str, tuple[Word, ...]]
    sound: Sound | None


def nobody(_manifest: Manifest) -> str | None:
    """Every episode may be used."""
    return None


class Processed:
    """The conversations of all committed episodes of a store: a :class:`~duplexforge.duplex.corpus.Corpus`.

    ``settings`` are those of ``store``, for the processes that read the sound; None: this environment's, with its URL.
    The sound comes from the downloaded recording where that is still there and else from the segments' files, or only from
    one of them if ``sound`` says so. ``refuses`` knows who has opted out. An episode that cannot be used and each stretch
    that is not taken is a problem.
    """

    def __init__(
        self,
        store: Store,
        layout: Layout,
        rules: StretchRules,
        *,
        settings: StoreSettings | None = None,
        masking: Masking | None = None,
        sound: SoundFrom = "auto",
        refuses: Refuses = nobody,
    ) -> None:
        if sound not in get_args(SoundFrom):
            raise UsageError(f"there is no sound from {sound!r}: {', '.join(get_args(SoundFrom))}")
        self._store, self._layout = store, layout
        self._settings = settings or config.load("status", store_url=store.url)[StoreSettings]
        self._rules, self._masking, self._from = rules, masking or Masking(), sound
        self._refuses = refuses
        self.problems: list[Problem] = []

    def conversations(self) -> Iterator[Conversation]:
        """All of them by episode and start; no audio is read."""
        self.problems = []
        committed = Committed(self._store, self._layout)
        for episode, found in committed.each(self._read):
            if isinstance(found, InputError):
                self.problems.append(Problem(episode, None, found.reason, str(found)))
                continue
            key = self._layout.manifest(found.manifest.language, found.manifest.episode_id)
            self.problems += _refused(found, key)
            for stretch in found.picked.stretches:
                yield self._conversation(found, stretch, key)
        for episode, reason in committed.left_out:
            self.problems.append(Problem(episode, None, reason, _LEFT_OUT[reason], by_rule=True))

    def _read(self, manifest: Manifest) -> _Episode:
        try:
            safe_name(manifest.episode_id)
        except ValueError as error:
            raise InputError(f"{manifest.folder}: {error}", reason="bad_record") from error
        if why := self._refuses(manifest):
            refused = Refused(0.0, manifest.hours.source * 3600, "opted_out", why)
            return _Episode(manifest, Picked([], [refused]), {}, None)
        rows = parse_rows(_ROWS, read_file(self._store, manifest, SEGMENTS) or b"[]", manifest.folder + SEGMENTS)
        if len(rows) != manifest.segments:
            message = f"{manifest.folder}{SEGMENTS} has {len(rows)} segments, its manifest says {manifest.segments}"
            raise InputError(message, reason="bad_record")
        picked = pick(rows, self._rules)
        if not picked.stretches:
            return _Episode(manifest, picked, {}, None)
        spoken = parse_rows(_SPOKEN, read_file(self._store, manifest, _WORDS) or b"{}", manifest.folder + _WORDS)
        words = {name: tuple(Word(text, start, end) for start, end, text, _ in said) for name, said in spoken.items()}
        return _Episode(manifest, picked, words, self._sound(manifest, rows))

    def _sound(self, manifest: Manifest, rows: list[Segment]) -> Sound:
        # Where packets were damaged, decoding again need not put the same sound at the same time.
        whole = self._from == "episode" or (self._from == "auto" and not manifest.facts.get("decode_errors"))
        if whole and self._store.head(manifest.audio_key) is not None:
            gain, channel = manifest.facts.get("gain_db"), 0 if manifest.facts.get("downmix") == "first" else None
            return EpisodeFile(self._settings, manifest.audio_key, manifest.source_sha256, float(gain or 0.0), channel)
        if self._from == "episode":
            raise InputError(f"{manifest.audio_key} is not in the store any more", reason="input_missing")
        committed = {entry.name: entry for entry in manifest.files}
        pieces = []
        for row in sorted(rows, key=lambda row: (row.start, row.end)):
            if row.audio not in committed:
                message = f"{manifest.folder}{SEGMENTS}: {row.segment_id}: no audio file {row.audio[:80]!r}"
                raise InputError(message, reason="bad_record")
            pieces.append(Piece(row.start, row.end, manifest.folder + row.audio, committed[row.audio].sha256))
        return SegmentFiles(self._settings, tuple(pieces))

    def _conversation(self, found: _Episode, stretch: Stretch, key: str) -> Conversation:
        episode = _short(found.manifest.episode_id)
        one, other = (self._track(found, stretch, speaker) for speaker in stretch.speakers)
        return Conversation(
            # By its start, which stays when another stretch of the episode comes or goes.
            f"{episode}-{round(stretch.start * 1000):09d}",
            (one, other),
            group=episode,
            language=stretch.language,
            licence=found.manifest.licence,
            flags=_flags(stretch),
            provenance=_provenance(found, stretch, key),
        )

    def _track(self, found: _Episode, stretch: Stretch, speaker: str) -> Track:
        assert found.sound is not None
        said = tuple(Said(one.start, one.end, one.speaker) for one in stretch.segments + stretch.around)
        audio = MaskedAudio(_part(found.sound, stretch), stretch.start, stretch.end, speaker, said, self._masking)
        utterances = [_utterance(one, stretch, found.words) for one in stretch.of(speaker) if one.says]
        return Track(_speaker(found.manifest.episode_id, speaker), audio, tuple(utterances))


def _refused(found: _Episode, key: str) -> Iterator[Problem]:
    for one in found.picked.refused:
        message = f"{one.start:.3f} to {one.end:.3f} s: {one.message}"
        yield Problem(key, None, one.reason, message, by_rule=True)
    if not (found.picked.stretches or found.picked.refused):
        outcome = found.manifest.outcome
        reason = "no_text" if outcome == "ok" else outcome
        yield Problem(key, None, reason, f"nobody says anything in it (its outcome is {outcome})", by_rule=True)


def _part(sound: Sound, stretch: Stretch) -> Sound:
    """``sound`` without the files that the stretch does not need: a track travels to other processes."""
    if isinstance(sound, EpisodeFile):
        return sound
    near = [piece for piece in sound.pieces if piece.end >= stretch.start - 1 and piece.start <= stretch.end + 1]
    return SegmentFiles(sound.settings, tuple(near))


def _utterance(segment: Segment, stretch: Stretch, words: dict[str, tuple[Word, ...]]) -> Utterance:
    def at(seconds: float) -> float:
        return round(min(max(seconds, stretch.start), stretch.end) - stretch.start, 3)

    timed = tuple(Word(word.text, at(word.start), at(word.end)) for word in words.get(segment.segment_id, ()))
    # A segment is padded; its words say when somebody really begins.
    start = min(timed[0].start, at(segment.end)) if timed else at(segment.start)
    return Utterance(max(start, at(segment.start)), at(segment.end), segment.text.strip(), timed or None)


def _flags(stretch: Stretch) -> tuple[str, ...]:
    found = {
        SideFlag.OVERLAP: stretch.overlap > 0,
        OTHERS: stretch.others > 0,
        DOUBTFUL: any(_DOUBTS & set(one.flags) for one in stretch.theirs),
    }
    return tuple(sorted(flag for flag, holds in found.items() if holds))


def _provenance(found: _Episode, stretch: Stretch, key: str) -> dict[str, Any]:
    manifest, whole = found.manifest, isinstance(found.sound, EpisodeFile)
    flags = Counter(flag for one in stretch.theirs for flag in one.flags)
    facts = {
        "episode_id": manifest.episode_id,
        "manifest": key,
        "attempt": manifest.attempt,
        "config_hash": manifest.config_hash,
        "title": manifest.title,
        "url": manifest.url,
        "licence": manifest.licence,
        "start": stretch.start,
        "end": stretch.end,
        "segments": [one.segment_id for one in stretch.theirs],
        "segments_without_text": sum(not one.says for one in stretch.theirs),
        "segment_flags": dict(sorted(flags.items())),
        "tracks": "masked recording" if whole else "masked segment files",
        "audio": manifest.audio_key if whole else None,
        "overlap_seconds": round(stretch.overlap, 3),
        "other_speakers_seconds": round(stretch.others, 3),
        "dnsmos": None if stretch.dnsmos is None else round(stretch.dnsmos, 4),
    }
    return {name: value for name, value in facts.items() if value is not None}


def _short(episode: str) -> str:
    return episode if len(episode) <= _LONGEST_ID else hashed_id("episode", episode)


def _speaker(episode: str, speaker: str) -> str:
    """A safe name of ``<episode>/S00`` that no other episode's speaker has."""
    local = speaker.removeprefix(f"{episode}/")
    try:
        return f"{_short(episode)}-{safe_name(local)}"[: _LONGEST_ID + 20]
    except ValueError:
        return hashed_id(_short(episode), local)
