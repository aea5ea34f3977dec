"""A transcript of the MagicHub layout: ``[start,end] speaker gender text`` a line, read strictly and reported in full.

Every line becomes an utterance, a known non-text (blank, noise or nothing but tags; counted) or a problem with its number.
Fields stand between tabs or spaces, times are seconds with a decimal point or, both of them, a decimal comma.

Left out, with a problem: ``undecodable`` (no UTF-8), ``bad_times`` (no ``[start,end]``, no plain numbers),
``missing_field`` (speaker, gender or text), ``negative_time``, ``end_before_start`` (or at it), ``beyond_audio`` (starts when
the audio is over), ``unknown_speaker`` (neither the file's nor noise: whose audio it is nobody knows), ``no_words`` (no letter
or digit) and ``duplicate_line`` (same times and text).

Mended, with a problem that is ``kept``: ``end_beyond_audio`` (cut to the audio; less than 10 ms is rounding and not told),
``out_of_order`` (sorted in), ``control_characters`` (made spaces), ``other_encoding`` (UTF-16 by its mark).

Kept with doubt: ``overlaps_itself`` (starts before the same speaker has ended; the queue says one after the other),
``unknown_tag`` (brackets stay in the text), ``unknown_gender`` and ``gender_differs`` (the most frequent one counts).

Taken without a word: a UTF-8 mark, any line ends, blanks round times and fields. Times of lines without text do not matter.
Tags inside a text are taken out and counted; beside the documented ones the corpora hold ``[LAUGHTER] [UNK] [+] [++]``.
"""

from __future__ import annotations

import codecs
import re
import unicodedata
from collections import Counter
from dataclasses import dataclass, field

from duplexforge.duplex.corpus import Problem, Utterance

__all__ = ["TAGS", "Transcript", "parse_transcript"]

TAGS = frozenset(("*", "NPS", "PII", "SONANT", "MUSIC", "SYSTEM", "ENS", "LAUGHTER", "UNK", "+", "++"))

_NOISE = ("0", "none")
_GENDERS = {
    **dict.fromkeys(("female", "f", "woman", "女"), "female"),
    **dict.fromkeys(("male", "m", "man", "男"), "male"),
    **dict.fromkeys(("0", "none", "unknown", "-"), None),
}

_LINE = re.compile(r"\s*\[([^\[\]]*)\](.*)", re.DOTALL)
# Nine digits: hundreds of days, and no number that a float would round.
_NUMBER = r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)"
_TIMES = re.compile(rf"\s*{_NUMBER}\s*,\s*{_NUMBER}\s*")
_COMMA_TIMES = re.compile(r"\s*(-?[0-9]{1,9}),([0-9]{1,9})\s*,\s*(-?[0-9]{1,9}),([0-9]{1,9})\s*")
_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
# No blank inside: "[so he said]" is text.
_TAG = re.compile(r"\[\s*([^\[\]\s]+)\s*\]")
# Times of two decimals may end so much later than the samples do.
_ROUNDING = 0.01
_SHOWN = 60


@dataclass
class Transcript:
    """What a file says: utterances by start, problems by line.

    ``lines`` counts all of them, ``blank``, ``noise`` and ``non_text`` those that are no speech, ``left_out`` those that
    are lost; the rest are utterances. ``tags`` counts what was taken out of the texts of utterances.
    """

    utterances: list[Utterance] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    gender: str | None = None
    lines: int = 0
    blank: int = 0
    noise: int = 0
    non_text: int = 0
    left_out: int = 0
    tags: Counter[str] = field(default_factory=Counter)


def parse_transcript(body: bytes, *, file: str, speaker: str, seconds: float | None) -> Transcript:
    """Read a transcript whose file is named for ``speaker`` and whose audio lasts ``seconds`` (None: not known)."""
    reader = _Reader(file, unicodedata.normalize("NFC", speaker), seconds)
    text = reader.decoded(body)
    # As bytes: in a text, splitlines would also part at signs that may stand inside a line.
    for number, line in enumerate(text.splitlines(), 1):
        reader.read(number, line)
    return reader.finish()


class _Bad(Exception):
    """A line that is left out."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class _Reader:
    """Reads one file line by line."""

    def __init__(self, file: str, speaker: str, seconds: float | None) -> None:
        self._file, self._speaker, self._seconds = file, speaker, seconds
        self._found = Transcript()
        self._said: list[tuple[Utterance, int]] = []
        self._seen: dict[Utterance, int] = {}
        self._latest = 0.0
        self._genders: Counter[str] = Counter()

    def decoded(self, body: bytes) -> bytes:
        """The file in UTF-8 without a mark; lines in it may still be none."""
        if body.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            try:
                body = body.decode("utf-16").encode()
            except UnicodeError:
                self._tell(None, "undecodable", "the file is marked as UTF-16 and is not", kept=False)
                return b""
            self._tell(None, "other_encoding", "the file is UTF-16, not UTF-8", kept=True)
        return body.removeprefix(codecs.BOM_UTF8)

    def read(self, number: int, line: bytes) -> None:
        """Take in a line."""
        self._found.lines += 1
        try:
            self._take(number, line)
        except _Bad as bad:
            self._found.left_out += 1
            self._tell(number, bad.reason, str(bad), kept=False)

    def _take(self, number: int, line: bytes) -> None:
        try:
            text = line.decode()
        except UnicodeDecodeError as error:
            raise _Bad("undecodable", f"byte {error.start + 1} of the line is no UTF-8") from error
        if not text.strip():
            self._found.blank += 1
            return
        times, speaker, gender, said = _fields(text)
        start, end = _seconds(times)
        # Before the times are weighed: nothing is made of them.
        if speaker.casefold() in _NOISE:
            self._found.noise += 1
            return
        if speaker != self._speaker:
            raise _Bad("unknown_speaker", f"the line is of {speaker[:_SHOWN]!r}, the file of {self._speaker!r}")
        words, tags = _without_tags(said)
        if tags and not _has_words(words):
            self._found.non_text += 1
            return
        # Whatever leaves the line out comes first; what is only doubted must not be told of a line that is lost.
        self._say(number, self._timed(number, start, end, words))
        self._found.tags += tags
        self._doubt(number, gender, said, words)

    def _timed(self, number: int, start: float, end: float, words: str) -> Utterance:
        """The utterance, its end no later than the audio's."""
        if start < 0:
            raise _Bad("negative_time", f"the line starts at {start:g} s")
        if end <= start:
            raise _Bad("end_before_start", f"the line starts at {start:g} s and ends at {end:g} s")
        if not _has_words(words):
            raise _Bad("no_words", f"the text {words[:_SHOWN]!r} has no letter or digit")
        if self._seconds is not None and start >= self._seconds:
            raise _Bad("beyond_audio", f"the line starts at {start:g} s, the audio lasts {self._seconds:g} s")
        if self._seconds is not None and end > self._seconds:
            if end > self._seconds + _ROUNDING:
                message = f"the line ends at {end:g} s, the audio at {self._seconds:g} s: the end was cut"
                self._tell(number, "end_beyond_audio", message, kept=True)
            end = self._seconds
        return Utterance(start, end, words)

    def _say(self, number: int, one: Utterance) -> None:
        if one in self._seen:
            raise _Bad("duplicate_line", f"the same times and text stand in line {self._seen[one]}")
        if one.start < self._latest:
            message = f"the line starts at {one.start:g} s, after one that starts at {self._latest:g} s: sorted in"
            self._tell(number, "out_of_order", message, kept=True)
        self._seen[one] = number
        self._latest = max(self._latest, one.start)
        self._said.append((one, number))

    def _doubt(self, number: int, gender: str, said: str, words: str) -> None:
        """What may be wrong with a line that is taken."""
        if _CONTROL.search(said):
            self._tell(number, "control_characters", "control characters in the text were made spaces", kept=True)
        if "[" in words or "]" in words:
            self._tell(number, "unknown_tag", f"brackets that are no known tag stay in {words[:_SHOWN]!r}", kept=True)
        if gender.casefold() not in _GENDERS:
            self._tell(number, "unknown_gender", f"{gender[:_SHOWN]!r} is no gender that is known", kept=True)
        elif known := _GENDERS[gender.casefold()]:
            self._genders[known] += 1

    def finish(self) -> Transcript:
        """What can only be said of the whole file."""
        # Lines of the same times stay in the order of the file, so that two runs agree.
        self._said.sort(key=lambda said: (said[0].start, said[0].end, said[1]))
        ends = 0.0
        for one, number in self._said:
            if one.start < ends:
                message = f"the line starts at {one.start:g} s, before the same speaker has ended at {ends:g} s"
                self._tell(number, "overlaps_itself", message, kept=True)
            ends = max(ends, one.end)
        if self._genders:
            self._found.gender = min(self._genders, key=lambda name: (-self._genders[name], name))
        if len(self._genders) > 1:
            counts = ", ".join(f"{count} times {name}" for name, count in sorted(self._genders.items()))
            self._tell(None, "gender_differs", f"the speaker is {counts}", kept=True)
        self._found.utterances = [one for one, _ in self._said]
        self._found.problems.sort(key=lambda problem: (problem.line or 0, problem.reason))
        return self._found

    def _tell(self, number: int | None, reason: str, message: str, *, kept: bool) -> None:
        self._found.problems.append(Problem(self._file, number, reason, message, kept))


def _fields(text: str) -> tuple[str, str, str, str]:
    """Times, speaker, gender and text of a line."""
    line = _LINE.fullmatch(text)
    if line is None:
        raise _Bad("bad_times", f"no [start,end] at the beginning of {text.strip()[:_SHOWN]!r}")
    times, rest = line.groups()
    if rest and not rest[0].isspace():
        raise _Bad("missing_field", "no tab or space behind the times")
    fields = [part.strip() for part in rest.lstrip(" ").removeprefix("\t").split("\t", 2)]
    if len(fields) < 3 or len(fields[0].split()) > 1:
        fields = rest.split(None, 2)
        # Without tabs a gender that is none would be the first word of the text.
        if len(fields) < 3 or fields[1].casefold() not in _GENDERS:
            raise _Bad("missing_field", "the line does not hold times, speaker, gender and text")
    if not fields[0] or not fields[2].strip():
        raise _Bad("missing_field", f"the line has no {'text' if fields[0] else 'speaker'}")
    return times, unicodedata.normalize("NFC", fields[0]), fields[1], fields[2]


def _seconds(times: str) -> tuple[float, float]:
    """Both times. Decimal commas are told from the comma between the times by their number."""
    if plain := _TIMES.fullmatch(times):
        return float(plain[1]), float(plain[2])
    if commas := _COMMA_TIMES.fullmatch(times):
        return float(f"{commas[1]}.{commas[2]}"), float(f"{commas[3]}.{commas[4]}")
    raise _Bad("bad_times", f"[{times[:_SHOWN]}] is not [start,end] in seconds")


def _without_tags(said: str) -> tuple[str, Counter[str]]:
    """The text without known tags and with single spaces, and how many of which tag were in it."""
    tags: Counter[str] = Counter()

    def taken(tag: re.Match[str]) -> str:
        name = tag[1].upper()
        if name not in TAGS:
            return tag[0]
        tags[f"[{name}]"] += 1
        return " "

    text = _TAG.sub(taken, said)
    return " ".join(_CONTROL.sub(" ", text).split()), tags


def _has_words(text: str) -> bool:
    return any(sign.isalnum() for sign in text)
