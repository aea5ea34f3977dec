"""The rules of a timeline: what is cut off, what is merged, what is left out. Pure functions over one episode.

In this order: speech of the parts that are cut off goes; neighbours of one speaker are merged; what is then too short
goes. Times stay those of the whole recording, so that a timeline fits the recording's audio whatever was cut. Everything
that goes is counted under a reason.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

from duplexforge.converting.episode import Episode, Sound, Speech
from duplexforge.errors import UsageError

__all__ = ["Rules", "Timeline", "keep", "merge", "spoken"]

# Languages that put no space between words.
_UNSPACED = frozenset({"zh", "ja", "th", "lo", "km", "my"})
LONG = "over_max_duration"


@dataclass(frozen=True)
class Rules:
    """All in seconds; None is no limit.

    Neighbours of one speaker are merged over a pause of at most ``merge_threshold`` (None: never), up to ``max_duration``
    together. A single segment that is longer stays and carries the flag ``over_max_duration``. ``min_duration`` is of a
    merged entry. ``cut_start`` and ``cut_end`` are taken off the recording's beginning and end: speech that reaches into
    them goes whole, since its text cannot be cut; sounds are shortened. An episode with less than ``min_speech_duration`` goes.
    With ``clean`` flagged segments go.
    """

    merge_threshold: float | None = None
    min_duration: float = 0.0
    max_duration: float | None = None
    cut_start: float = 0.0
    cut_end: float = 0.0
    min_speech_duration: float = 0.0
    clean: bool = False

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if value is not None and not 0 <= value < float("inf"):
                raise UsageError(f"--{name.replace('_', '-')} must be 0 or more seconds, not {value}")
        if self.max_duration is not None and self.min_duration > self.max_duration:
            raise UsageError("--min-duration must not exceed --max-duration")


class Timeline(NamedTuple):
    """What is kept of an episode, each in time order, and the segments that went, by reason.

    ``refused`` is the reason for which the whole episode goes, None when it stays.
    """

    speech: list[Speech]
    sounds: list[Sound]
    left_out: Counter[str]
    refused: str | None = None


def keep(episode: Episode, rules: Rules) -> Timeline:
    """The timeline of ``episode`` under ``rules``."""
    gone: Counter[str] = Counter()
    if episode.outcome != "ok":
        return Timeline([], [], gone, episode.outcome)
    if rules.cut_end > 0 and episode.duration is None:
        return Timeline([], [], gone, "unknown_duration")
    low = rules.cut_start
    high = float("inf") if episode.duration is None or rules.cut_end == 0 else episode.duration - rules.cut_end
    everyone = sorted(episode.speech, key=_order)
    speech = []
    for one in everyone:
        reason = _why_not(one, low, high, clean=rules.clean)
        if reason:
            gone[reason] += 1
        else:
            speech.append(one)
    sounds = [sound for sound in (_cut(sound, low, high) for sound in sorted(episode.sounds, key=_when)) if sound]
    gone["event_cut_off"] += len(episode.sounds) - len(sounds)
    # What was left out was said all the same: nothing is merged over it.
    merged = merge(speech, [*everyone, *episode.sounds], rules)
    kept = [one for one in merged if one.end - one.start >= rules.min_duration]
    gone["too_short"] += sum(len(one.segments) for one in merged) - sum(len(one.segments) for one in kept)
    refused = None if not kept or spoken(kept) >= rules.min_speech_duration else "little_speech"
    if not kept:
        refused = "no_speech" if not episode.speech else "nothing_left"
    return Timeline(kept, sounds, +gone, refused)


def _order(speech: Speech) -> tuple[float, float, tuple[str, ...]]:
    return speech.start, speech.end, speech.segments


def _when(sound: Sound) -> tuple[float, float, str]:
    return sound.start, sound.end, sound.event


def _why_not(speech: Speech, low: float, high: float, *, clean: bool) -> str | None:
    if speech.end <= speech.start:
        return "no_length"
    if speech.end <= low or speech.start >= high:
        return "cut_off"
    if speech.start < low or speech.end > high:
        return "cut_through"
    return "flagged" if clean and speech.flags else None


def _cut(sound: Sound, low: float, high: float) -> Sound | None:
    start, end = max(sound.start, low), min(sound.end, high)
    return replace(sound, start=start, end=end) if end > start else None


def merge(speech: Sequence[Speech], heard: Iterable[Speech | Sound], rules: Rules) -> list[Speech]:
    """``speech`` in time order with neighbours of one speaker made one, where nothing of ``heard`` that is not part of
    them lies in the pause. Entries over ``max_duration`` are flagged, merged or not.
    """
    done: list[Speech] = []
    if rules.merge_threshold is None:
        done = list(speech)
    else:
        others = _Others(heard)
        last: dict[str, int] = {}
        for one in speech:
            place = last.get(one.speaker)
            if place is not None and _joins(done[place], one, rules, others):
                done[place] = _joined(done[place], one)
            else:
                last[one.speaker] = len(done)
                done.append(one)
    limit = rules.max_duration
    return sorted((_flagged(one) if limit is not None and _length(one) > limit else one for one in done), key=_order)


def _joins(one: Speech, other: Speech, rules: Rules, others: _Others) -> bool:
    assert rules.merge_threshold is not None
    # Times are whole milliseconds; the difference of two of them is not, in binary.
    if round(other.start - one.end, 6) > rules.merge_threshold:
        return False
    together = max(one.end, other.end) - one.start
    if rules.max_duration is not None and round(together, 6) > rules.max_duration:
        return False
    return one.language == other.language and not others.between(one, other)


def _length(speech: Speech) -> float:
    return round(speech.end - speech.start, 6)


def _joined(one: Speech, other: Speech) -> Speech:
    space = "" if one.language in _UNSPACED else " "
    return replace(
        one,
        end=max(one.end, other.end),
        text=space.join(text for text in (one.text.strip(), other.text.strip()) if text),
        segments=one.segments + other.segments,
        flags=tuple(sorted({*one.flags, *other.flags})),
    )


def _flagged(speech: Speech) -> Speech:
    return replace(speech, flags=tuple(sorted({*speech.flags, LONG})))


class _Others:
    """Everything that is heard, asked for what lies in a pause."""

    def __init__(self, heard: Iterable[Speech | Sound]) -> None:
        self._all = sorted(heard, key=lambda one: one.start)
        self._starts = [one.start for one in self._all]
        self._longest = max((one.end - one.start for one in self._all), default=0.0)

    def between(self, one: Speech, other: Speech) -> bool:
        """Whether anything but the two themselves is heard in the pause from ``one`` to ``other``."""
        own = {*one.segments, *other.segments}
        # Nothing that begins further back than the longest entry reaches into the pause.
        first = bisect_left(self._starts, one.end - self._longest)
        for heard in self._all[first : bisect_left(self._starts, other.start)]:
            if heard.end > one.end and not (isinstance(heard, Speech) and own.issuperset(heard.segments)):
                return True
        return False


def spoken(speech: Iterable[Speech]) -> float:
    """Seconds in which at least one of ``speech`` is heard."""
    total, reached = 0.0, 0.0
    for one in sorted(speech, key=_order):
        total += max(0.0, one.end - max(one.start, reached))
        reached = max(reached, one.end)
    return round(total, 3)
