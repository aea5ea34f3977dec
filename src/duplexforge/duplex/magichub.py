"""MagicHub's multi-stream layout as a corpus: ``WAV/`` and ``TXT/`` with one recording and one transcript a speaker.

Names are ``<group>_<session>_<n>_<speaker>``; the two names of one ``<group>_<session>`` are one conversation, its tracks in
the order of their names. A wrong pair would teach a model to answer somebody else, so a conversation is taken whole and
without doubt or left out. What becomes of lines stands in :mod:`~duplexforge.duplex.transcript`; of files:

Left out, with a problem: ``odd_name`` (not of that form), ``duplicate_stem`` (the same name with another ending: WAV is taken,
else the first of them), ``no_audio`` and ``no_transcript`` (one file of a pair is missing), ``one_track``,
``too_many_tracks``, ``same_speaker`` (both tracks are of one), ``unreadable_audio``, ``empty_audio``,
``unreadable_transcript``. Whatever breaks one track leaves out its conversation, and the message says so.

Kept, with a problem: ``unsafe_name`` (a name with signs that no key may hold is hashed; the true one stands in the
provenance), ``other_file`` (no audio or text by its ending, or a folder) and ``length_unknown`` (times beyond the audio cannot
be noticed). Names are compared in Unicode's composed form; those that begin with a dot are the system's own.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duplexforge.duplex.audio import FileAudio, Header, header_of
from duplexforge.duplex.corpus import Conversation, Problem, Track
from duplexforge.duplex.transcript import Transcript, parse_transcript
from duplexforge.errors import InputError, UsageError
from duplexforge.layout import AUDIO_EXTENSIONS, UNKNOWN_LANGUAGE, hashed_id, safe_name

__all__ = ["AUDIO", "TEXT", "MagicHub"]

AUDIO, TEXT = "WAV", "TXT"

_NAME = re.compile(r"([^_]+)_([^_]+)_([0-9]+)_([^_]+)")


@dataclass(frozen=True)
class _Seat:
    """One name of the layout, with the files that bear it."""

    stem: str
    group: str
    session: str
    speaker: str
    audio: Path | None
    text: Path | None

    @property
    def conversation(self) -> str:
        return f"{self.group}_{self.session}"


class _Broken(Exception):
    """A conversation that is left out: where, why."""

    def __init__(self, file: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.file, self.reason = file, reason


class MagicHub:
    """The corpus in ``folder``, or in the one folder below it that holds ``WAV`` and ``TXT``.

    ``language`` and ``licence`` are those of the whole corpus, which does not state them in its files. UsageError when
    there is no such folder, InputError (``no_corpus``) when it holds none or more than one.
    """

    def __init__(self, folder: Path, *, language: str = UNKNOWN_LANGUAGE, licence: str | None = None) -> None:
        self.folder = _corpus_folder(folder)
        self.problems: list[Problem] = []
        self._language, self._licence = language, licence

    def conversations(self) -> Iterator[Conversation]:
        """All pairs that can be taken, by id; ``problems`` starts anew."""
        self.problems.clear()
        sessions: dict[str, list[_Seat]] = {}
        for seat in self._seats():
            sessions.setdefault(seat.conversation, []).append(seat)
        # By the id that is written, hashed or not: that is the order others rely on.
        named = sorted((_safe("conversation", name), name) for name in sessions)
        for conversation_id, name in named:
            try:
                yield self._conversation(conversation_id, sessions[name])
            except _Broken as broken:
                message = f"{broken}: the conversation {name} is left out"
                self._tell(broken.file, broken.reason, message, kept=False)

    def _seats(self) -> list[_Seat]:
        """Every name that either folder holds, sorted."""
        audio, text = self._files(AUDIO, AUDIO_EXTENSIONS), self._files(TEXT, ("txt",))
        seats = []
        for stem in sorted(audio.keys() | text.keys()):
            name = _NAME.fullmatch(stem)
            if name is None:
                for path in (audio.get(stem), text.get(stem)):
                    if path is not None:
                        message = "the name is not <group>_<session>_<n>_<speaker>"
                        self._tell(self._relative(path), "odd_name", message, kept=False)
                continue
            seats.append(_Seat(stem, name[1], name[2], name[4], audio.get(stem), text.get(stem)))
        return seats

    def _files(self, folder: str, endings: tuple[str, ...]) -> dict[str, Path]:
        """Files with one of ``endings`` by their stems."""
        found: dict[str, Path] = {}
        try:
            entries = [path for path in (self.folder / folder).iterdir() if not path.name.startswith(".")]
        except OSError as error:
            raise InputError(f"{self.folder / folder} cannot be read: {error.strerror}", reason="no_corpus") from error
        # The layout's own ending first, so that of two with one stem it is the one that is taken.
        for path in sorted(entries, key=lambda path: (path.suffix.lower() not in (".wav", ".txt"), path.name)):
            where = self._relative(path)
            if not path.is_file() or path.suffix.lower().removeprefix(".") not in endings:
                self._tell(where, "other_file", f"no part of the corpus: {folder} holds {_list(endings)}", kept=True)
                continue
            stem = unicodedata.normalize("NFC", path.stem)
            if stem in found:
                self._tell(where, "duplicate_stem", f"{found[stem].name} was taken for this name", kept=False)
                continue
            found[stem] = path
        return found

    def _conversation(self, conversation_id: str, seats: list[_Seat]) -> Conversation:
        name, group = seats[0].conversation, seats[0].group
        first, second = self._pair(name, seats)
        tracks, sources = [], {}
        # Both of all before the lines: a conversation that is left out is one problem, not one for each of its lines too.
        headers = [self._header(seat) for seat in (first, second)]
        bodies = [self._body(seat) for seat in (first, second)]
        for seat, header, body in zip((first, second), headers, bodies, strict=True):
            where = self._relative(_there(seat.text))
            said = parse_transcript(body, file=where, speaker=seat.speaker, seconds=header.seconds)
            self.problems += said.problems
            # A worker process may stand in another folder.
            audio = FileAudio(str(_there(seat.audio).absolute()))
            speaker = _safe("speaker", seat.speaker)
            tracks.append(Track(speaker, audio, tuple(said.utterances), said.gender))
            sources[speaker] = self._source(seat, header, said, hashlib.sha256(body).hexdigest())
        if (conversation_id, *sources) != (name, first.speaker, second.speaker) or _safe("group", group) != group:
            message = "the name holds signs that no key may hold: it is hashed, and stands in the provenance"
            self._tell(name, "unsafe_name", message, kept=True)
        provenance = {"corpus": "magichub", "name": _plain(name), "tracks": sources}
        return Conversation(
            conversation_id,
            (tracks[0], tracks[1]),
            group=_safe("group", group),
            language=self._language,
            licence=self._licence,
            provenance=provenance,
        )

    def _pair(self, name: str, seats: list[_Seat]) -> tuple[_Seat, _Seat]:
        """The two of a conversation, complete and of different speakers."""
        # Even when only two of them are complete: which two belong together is a guess.
        if len(seats) > 2:
            raise _Broken(name, "too_many_tracks", f"{len(seats)} tracks, {_list([seat.stem for seat in seats])}")
        for seat in seats:
            if seat.text is None:
                raise _Broken(
                    self._relative(_there(seat.audio)), "no_transcript", f"there is no {TEXT}/{seat.stem}.txt"
                )
            if seat.audio is None:
                raise _Broken(self._relative(seat.text), "no_audio", f"there is no {AUDIO}/{seat.stem}.wav")
        if len(seats) < 2:
            raise _Broken(name, "one_track", f"only one track, {seats[0].stem}")
        # A second take of one person, and no talk.
        if seats[0].speaker == seats[1].speaker:
            raise _Broken(name, "same_speaker", f"both tracks are of {seats[0].speaker}")
        return seats[0], seats[1]

    def _header(self, seat: _Seat) -> Header:
        path = _there(seat.audio)
        where = self._relative(path)
        try:
            header = header_of(path)
        except (InputError, OSError) as error:
            raise _Broken(where, "unreadable_audio", str(error).removesuffix(".")) from error
        if header.frames == 0:
            raise _Broken(where, "empty_audio", "the recording holds no sample")
        if header.frames is None:
            message = "only decoding would tell the length: lines beyond the end are not noticed"
            self._tell(where, "length_unknown", message, kept=True)
        return header

    def _body(self, seat: _Seat) -> bytes:
        path = _there(seat.text)
        try:
            return path.read_bytes()
        except OSError as error:
            raise _Broken(self._relative(path), "unreadable_transcript", str(error.strerror)) from error

    def _source(self, seat: _Seat, header: Header, said: Transcript, digest: str) -> dict[str, Any]:
        """Where a track came from, and what its lines amounted to."""
        return {
            "audio": self._relative(_there(seat.audio)),
            "text": self._relative(_there(seat.text)),
            "text_sha256": digest,
            "speaker": _plain(seat.speaker),
            "rate": header.rate,
            "channels": header.channels,
            "samples": header.frames,
            "lines": said.lines,
            "utterances": len(said.utterances),
            "non_text": said.non_text,
            "noise": said.noise,
            "left_out": said.left_out,
            "tags": dict(sorted(said.tags.items())),
        }

    def _relative(self, path: Path) -> str:
        return _plain(unicodedata.normalize("NFC", path.relative_to(self.folder).as_posix()))

    def _tell(self, file: str, reason: str, message: str, *, kept: bool) -> None:
        self.problems.append(Problem(_plain(file), None, reason, _plain(message), kept))


def _corpus_folder(folder: Path) -> Path:
    if not folder.is_dir():
        raise UsageError(f"there is no folder {folder}")
    # Archives unpack into a folder of their own, sometimes twice.
    for depth in ("", "*", "*/*"):
        found = sorted(path for path in (folder.glob(depth) if depth else [folder]) if _is_corpus(path))
        if len(found) > 1:
            names = _list([path.name for path in found])
            raise InputError(f"{folder} holds more than one corpus, name one of {names}", reason="no_corpus")
        if found:
            return found[0]
    raise InputError(f"{folder} is no MagicHub corpus: it must hold the folders {AUDIO} and {TEXT}", reason="no_corpus")


def _is_corpus(folder: Path) -> bool:
    return (folder / AUDIO).is_dir() and (folder / TEXT).is_dir()


def _safe(kind: str, name: str) -> str:
    """The name where a key may hold it, else a hash of it."""
    try:
        return safe_name(name)
    except ValueError:
        return hashed_id(kind, name)


def _plain(name: str) -> str:
    """A file's name as text: bytes that are no UTF-8 come as signs that no report could be written with."""
    return name.encode("utf-8", "replace").decode()


def _there(path: Path | None) -> Path:
    assert path is not None, "only complete seats are read"
    return path


def _list(names: list[str] | tuple[str, ...]) -> str:
    return ", ".join(names)
