"""From what a speaker says and when to events: the tokens of each utterance and the chunks in which they are due.

``queue``: all of an utterance is due when it starts, the plain rule; the text then runs ahead of the voice.
``even``: the tokens are spread evenly over the utterance. ``words``: each word's tokens are due when the word starts.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate

from duplexforge.duplex.corpus import Utterance, Word
from duplexforge.duplex.tokens import Tokenizer
from duplexforge.framing import DuplexFormat
from duplexforge.loading.schema import Event, EventWord


@dataclass
class Aligned:
    """The events of a side by their start. ``problems`` are utterances that were left out: which, reason, one sentence.

    ``capped`` counts tokens beyond ``max_event_tokens``; ``spread`` counts utterances whose words' times were wanted and
    not known, so that their tokens were spread evenly.
    """

    events: list[Event] = field(default_factory=list)
    problems: list[tuple[Utterance, str, str]] = field(default_factory=list)
    capped: int = 0
    spread: int = 0


def events(utterances: Iterable[Utterance], fmt: DuplexFormat, tokenizer: Tokenizer) -> Aligned:
    """Align ``utterances`` as ``fmt`` says, which is bound to ``tokenizer``.

    Left out, with a problem each, are utterances without tokens (``no_tokens``), with times that are none
    (``bad_times``), and those whose text makes the silence token or another control token (``control_token``).
    """
    found = Aligned()
    for utterance in sorted(utterances, key=lambda one: one.start if math.isfinite(one.start) else math.inf):
        made = tokenizer.ids(utterance.text)
        if problem := _problem(utterance, made, fmt, tokenizer):
            found.problems.append((utterance, *problem))
            continue
        due = None
        if fmt.alignment == "words":
            due = _at_words(utterance, fmt, tokenizer)
            found.spread += due is None
        if due is None and fmt.alignment != "queue":
            due = _evenly(utterance, len(made), fmt)
        most = fmt.max_event_tokens or len(made)
        found.capped += max(0, len(made) - most)
        found.events.append(_event(utterance, made[:most], None if due is None else due[:most]))
    return found


def _problem(
    utterance: Utterance, made: Sequence[int], fmt: DuplexFormat, tokenizer: Tokenizer
) -> tuple[str, str] | None:
    start, end = utterance.start, utterance.end
    if not (math.isfinite(start) and math.isfinite(end) and 0 <= start <= end):
        return "bad_times", f"an utterance from {start:g} s to {end:g} s has no place in time"
    if not made:
        return "no_tokens", f"the utterance at {start:g} s makes no tokens"
    for number in made:
        # It would be learnt as silence, as the end of a turn or as a place for audio.
        if number == fmt.silence_token_id or number in tokenizer.controls:
            return "control_token", f"the text at {start:g} s makes the control token {tokenizer.token_of(number)}"
    return None


def _event(utterance: Utterance, tokens: list[int], due: list[int] | None) -> Event:
    words = None
    if utterance.words is not None:
        words = [EventWord(text=word.text, start=word.start, end=word.end) for word in utterance.words]
    start, end = utterance.start, utterance.end
    return Event(
        start=start, end=end, text=utterance.text, input_ids=tokens, duration=end - start, due=due, words=words
    )


def _evenly(utterance: Utterance, count: int, fmt: DuplexFormat) -> list[int]:
    step = (utterance.end - utterance.start) / count
    return [fmt.chunk_at(utterance.start + step * order) for order in range(count)]


def _at_words(utterance: Utterance, fmt: DuplexFormat, tokenizer: Tokenizer) -> list[int] | None:
    """The chunk of its word's start for each token; None when not every word has a time or is found in the text."""
    places = _places(utterance.text, utterance.words or ())
    if places is None or not utterance.words:
        return None
    times = (min(max(utterance.start, word.start), utterance.end) for word in utterance.words)
    # Words that were timed backwards keep the order of the text.
    chunks = list(accumulate((fmt.chunk_at(time) for time in times), max))
    due, word = [], 0
    for begin, end in tokenizer.spans(utterance.text):
        # The space before a word belongs to its token, a mark behind it to the word before.
        piece = utterance.text[begin:end]
        first = begin + len(piece) - len(piece.lstrip())
        while word + 1 < len(places) and places[word + 1] <= first:
            word += 1
        due.append(chunks[word])
    return due


def _places(text: str, words: Sequence[Word]) -> list[int] | None:
    """Where each word begins in ``text``; None when one is not found there behind the one before or has no true time."""
    places, at = [], 0
    for word in words:
        name = word.text.strip()
        found = text.find(name, at)
        if found < 0 or not name or not math.isfinite(word.start):
            return None
        places.append(found)
        at = found + len(name)
    return places
