"""Where two people talk to each other: the stretches of an episode's segments that make a conversation, and why others do not.

Pure functions over one episode. A stretch is as long as it can be: it ends where a third speaker has something to say, where
nobody speaks for too long, and where it would be over the greatest length. Then it is judged whole, and one that is not
taken says why.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from duplexforge.duplex.segments import Segment, Stretch
from duplexforge.errors import UsageError
from duplexforge.layout import UNKNOWN_LANGUAGE, language_subtag

__all__ = ["Picked", "Refused", "StretchRules", "pick"]

# A stretch begins and ends so much before and behind its speech, where nobody else speaks.
_EDGE = 0.25
_SHARES = ("max_overlap", "max_others")


@dataclass(frozen=True)
class StretchRules:
    """What makes a conversation; seconds, shares (0..1) and DNSMOS (1..5)."""

    min_seconds: float = 20.0
    """A shorter stretch is left out."""
    max_seconds: float = 900.0
    """A longer one is cut at the widest pause of the second half of what fits."""
    max_pause: float = 4.0
    """Where nobody of the two speaks for longer, a stretch ends."""
    min_turns: float = 2.0
    """Least turns a minute, a turn being what one says until the other does."""
    max_overlap: float = 0.3
    """Greatest share of the speech in which both speak."""
    max_others: float = 0.0
    """Greatest share of the speech that a third may have within a stretch, which is marked then; 0: it ends before."""
    min_dnsmos: float = 2.5
    """Least mean DNSMOS, weighed by length."""
    allow_unscored: bool = False
    """Take a stretch with segments that have no score too; they do not count in the mean."""
    languages: tuple[str, ...] = ()
    """Take only these, ``en-US`` being ``en``; none: all."""

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if isinstance(value, float | int) and not 0 <= value < float("inf"):
                raise UsageError(f"{_option(name)} must be 0 or more, not {value}")
        for name in _SHARES:
            if getattr(self, name) > 1:
                raise UsageError(f"{_option(name)} is a share of 0 to 1, not {getattr(self, name)}")
        if self.min_seconds > self.max_seconds:
            raise UsageError("--min-seconds must not exceed --max-seconds")
        known = tuple(language_subtag(code) for code in self.languages)
        for code, given in zip(known, self.languages, strict=True):
            if code == UNKNOWN_LANGUAGE != given.strip().lower():
                raise UsageError(f"--languages: {given!r} is no language")
        object.__setattr__(self, "languages", known)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


class Refused(NamedTuple):
    """A stretch, or a segment, that is not taken: where, the class word of the reason, and the reason in words."""

    start: float
    end: float
    reason: str
    message: str


class Picked(NamedTuple):
    """What :func:`pick` gives, each in time order."""

    stretches: list[Stretch]
    refused: list[Refused]


def pick(segments: Iterable[Segment], rules: StretchRules) -> Picked:
    """The conversations of an episode under ``rules``, and everything else with its reason."""
    picked = Picked([], [])
    everyone = sorted(segments, key=lambda one: (one.start, one.end, one.segment_id))
    for one in everyone:
        if one.end <= one.start:
            message = f"the segment {one.segment_id} has no length"
            picked.refused.append(Refused(one.start, one.end, "no_length", message))
    everyone = [one for one in everyone if one.end > one.start]
    for run in _runs(everyone, rules):
        for part in _parts(run, rules):
            stretch = _framed(part, everyone)
            if why := _why_not(stretch, rules):
                picked.refused.append(Refused(part[0].start, max(one.end for one in part), *why))
            else:
                picked.stretches.append(stretch)
    return picked


def _runs(everyone: Sequence[Segment], rules: StretchRules) -> Iterator[list[Segment]]:
    """Neighbouring segments without a third speaker or a long pause; over a third speaker who hardly speaks they go on."""
    held: list[Segment] = []
    for run in _strict(everyone, rules.max_pause):
        together = held + run
        goes_on = rules.max_others > 0 and _reached(held) + rules.max_pause >= run[0].start
        if held and not (goes_on and _others_share(together) <= rules.max_others):
            yield held
            together = run
        held = together
    if held:
        yield held


def _strict(everyone: Sequence[Segment], max_pause: float) -> Iterator[list[Segment]]:
    at = 0
    while at < len(everyone):
        run = _talk(everyone, at, max_pause)
        if not run:
            return
        following = run[-1] + 1
        # Somebody who answers an announcer, and then talks for longer to somebody else, is not torn from that.
        second = _second_turn(everyone, run)
        if second is not None and following < len(everyone):
            other = _talk(everyone, second, max_pause)
            if _length(everyone, other) > _length(everyone, run):
                run, following = [index for index in run if index < second], second
        yield [everyone[index] for index in run]
        at = following


def _talk(everyone: Sequence[Segment], at: int, max_pause: float) -> list[int]:
    """Which segments from ``at`` on, in time order, belong together: at most two speakers and no long pause.

    A sound without a text neither begins a conversation nor keeps one up.
    """
    found: list[int] = []
    speakers: set[str] = set()
    reached = 0.0
    for index in range(at, len(everyone)):
        one = everyone[index]
        # Times are whole milliseconds; the difference of two of them is not, in binary.
        near = not found or round(one.start - reached, 6) <= max_pause
        if one.says and (not near or len(speakers | {one.speaker}) > 2):
            break
        if one.says:
            speakers.add(one.speaker)
            reached = max(reached, one.end)
        if one.says or (found and near):
            found.append(index)
    return found


def _second_turn(everyone: Sequence[Segment], run: Sequence[int]) -> int | None:
    """Where the second turn of ``run`` begins if it is the last, else None."""
    turns = [next(part) for _, part in groupby((i for i in run if everyone[i].says), lambda i: everyone[i].speaker)]
    return turns[1] if len(turns) == 2 else None


def _length(everyone: Sequence[Segment], run: Sequence[int]) -> float:
    return everyone[run[-1]].end - everyone[run[0]].start


def _reached(run: Sequence[Segment]) -> float:
    return max((one.end for one in run), default=0.0)


def _others_share(run: Sequence[Segment]) -> float:
    stretch = Stretch(tuple(run), run[0].start, run[-1].end)
    return stretch.others / (stretch.others + stretch.speech)


def _parts(run: list[Segment], rules: StretchRules) -> Iterator[list[Segment]]:
    """``run`` in parts of at most the greatest length, as far as there is a pause to cut at."""
    while run:
        at = _cut(run, rules.max_seconds)
        yield run[:at]
        run = run[at:]


def _cut(run: Sequence[Segment], most: float) -> int:
    """How many segments of ``run`` come before the cut."""
    begin, reached = run[0].start, run[0].end
    best, widest = len(run), -1.0
    if max(one.end for one in run) - begin <= most:
        return best
    for index, one in enumerate(run[1:], 1):
        if reached - begin > most:
            break
        pause = round(one.start - reached, 6)
        # Early cuts only when there is no other: crumbs are no conversations.
        if pause >= 0 and (pause >= widest or run[best - 1].end - begin < most / 2 <= reached - begin):
            best, widest = index, pause
        reached = max(reached, one.end)
    return best


def _framed(run: Sequence[Segment], everyone: Sequence[Segment]) -> Stretch:
    start, end = run[0].start, max(one.end for one in run)
    own = {one.segment_id for one in run}
    near = [one for one in everyone if one.end > start - 1 and one.start < end + 1 and one.segment_id not in own]
    before = max((min(one.end, start) for one in near if one.start < start), default=start - 2 * _EDGE)
    behind = min((max(one.start, end) for one in near if one.end > end), default=end + 2 * _EDGE)
    return Stretch(
        tuple(run),
        round(max(0.0, start - min(_EDGE, (start - before) / 2)), 3),
        round(end + min(_EDGE, (behind - end) / 2), 3),
        tuple(near),
    )


def _why_not(stretch: Stretch, rules: StretchRules) -> tuple[str, str] | None:
    """Reason and sentence for which ``stretch`` is no conversation, None when it is one."""
    if len(stretch.speakers) < 2:
        return "one_speaker", "only one speaker says something"
    if stretch.seconds < rules.min_seconds:
        return "too_short", f"{stretch.seconds:.1f} s, at least {rules.min_seconds:g} are wanted"
    if rules.languages and stretch.language not in rules.languages:
        return "language", f"the language is {stretch.language}, wanted is {', '.join(rules.languages)}"
    rate, share = stretch.turns * 60 / stretch.seconds, stretch.overlap / stretch.speech
    if rate < rules.min_turns:
        return "few_turns", f"{rate:.2f} turns a minute, at least {rules.min_turns:g} are wanted"
    if share > rules.max_overlap:
        return "much_overlap", f"both speak in {share:.0%} of the speech, at most {rules.max_overlap:.0%} are wanted"
    unscored = sum(one.dnsmos is None for one in stretch.theirs)
    if unscored and not rules.allow_unscored:
        return "unscored", f"{unscored} segments have no DNSMOS"
    if stretch.dnsmos is not None and stretch.dnsmos < rules.min_dnsmos:
        return "low_mos", f"the mean DNSMOS is {stretch.dnsmos:.2f}, at least {rules.min_dnsmos:g} is wanted"
    return None
