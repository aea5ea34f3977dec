"""Runs the model's two steps over slots: hears chunks, decides turns, says answers. Numpy alone.

::

    talk = Talk(steps, slots=4)
    talk.hear(frames, mask)                  # one chunk of the user for each slot of mask; tells whose turn has ended
    talk.begin(slot, Manner(speaker, ...))   # the decision: this slot answers now
    talk.say(mask)                           # one step of 40 ms: maybe a piece of text, maybe a frame of audio tokens

``Steps`` is what an implementation of the model must have; the one in torch is ``network.TorchSteps``. Random numbers are
drawn for each slot by a generator of its own, from the seed of its manner: what a slot says depends on nobody else.

A slot may be told its text: ``talk.begin(slot, manner, text)`` says those pieces one a step from the first step on, as the
training places them, and only the sound is the model's own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

from duplexforge.errors import InputError, UsageError
from duplexforge.models.s2s.features import SILENCE, WIDTH, scaled
from duplexforge.models.s2s.sampling import GREEDY, USUAL, Sampling, choose
from duplexforge.models.s2s.shape import Shape
from duplexforge.models.s2s.streams import undelayed
from duplexforge.models.s2s.vocabulary import END, PAD, START, UNKNOWN

__all__ = ["Answer", "Manner", "Said", "Steps", "Talk", "generate", "generate_streaming"]

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


class Steps(Protocol):
    """The model's steps over the state of ``slots``; see ``network.TorchSteps``."""

    shape: Shape
    slots: int
    speakers: Floats
    emotions: Floats

    def hear(self, frames: Floats, mask: Mask) -> Floats:
        """Take in one chunk (slots × chunk × 320); probability of the turn's end (slots)."""
        ...

    def begin(self, mask: Mask, speaker: Floats, emotion: Floats) -> None:
        """Let the slots of ``mask`` begin an answer."""
        ...

    def speak(self, text: Ints, audio: Ints, mask: Mask) -> tuple[Floats, Floats]:
        """Logits (slots × vocabulary; slots × books × entries) of one step."""
        ...

    def reset(self, mask: Mask) -> None:
        """Start the slots of ``mask`` afresh."""
        ...


@dataclass(frozen=True)
class Manner:
    """How a slot answers. ``speaker`` and ``emotion`` are rows of the model's tables, or vectors of their own (width)."""

    speaker: int | Floats = 0
    emotion: int | Floats = 0
    text: Sampling = GREEDY
    audio: Sampling = USUAL
    seed: int = 0


@dataclass(frozen=True)
class Said:
    """One step: the piece of text (``PAD``: none), the audio frame that is now whole (books), whether the answer is over."""

    text: int
    audio: Ints | None
    ended: bool


@dataclass(frozen=True)
class Answer:
    """A whole answer: pieces of text, audio tokens (frames × books); ``ended`` is False when it ran into the limit."""

    text: list[int]
    audio: Ints
    ended: bool


@dataclass
class _Slot:
    """What one slot is saying."""

    random: np.random.Generator
    manner: Manner
    given: tuple[int, ...] = ()
    """Pieces that are said whatever the model would say; none: it says its own."""
    step: int = 0
    text: int = START
    rows: list[Ints] = field(default_factory=list)
    frames: int | None = None
    """Length of the answer, once its end was said."""


class Talk:
    """Conversations in the slots of ``steps``."""

    def __init__(self, steps: Steps) -> None:
        self.shape, self._steps = steps.shape, steps
        self._slots: dict[int, _Slot] = {}
        self._speakers, self._emotions = (np.zeros((steps.slots, steps.shape.width), np.float32) for _ in range(2))

    @property
    def speaking(self) -> Mask:
        """The slots that are in an answer."""
        return self._mask(self._slots)

    def hear(self, frames: Floats, mask: Mask | None = None) -> Floats:
        """Take in one chunk (slots × chunk × 320) for the slots of ``mask`` (None: all); probability that a turn has ended."""
        wanted = (self._steps.slots, self.shape.chunk, WIDTH)
        if frames.shape != wanted:
            raise InputError(f"the model hears chunks of shape {wanted}, not {frames.shape}")
        return self._steps.hear(frames, np.ones(self._steps.slots, np.bool_) if mask is None else mask)

    def begin(self, slot: int, manner: Manner, text: Sequence[int] = ()) -> None:
        """Decide that ``slot`` answers now what it has heard; an answer that it was in is dropped.

        ``text`` are the pieces that it is to say (none: its own); InputError when they are none or find no room.
        """
        given = _given(self.shape, text)
        self._speakers[slot] = _vector(manner.speaker, self._steps.speakers, "speaker")
        self._emotions[slot] = _vector(manner.emotion, self._steps.emotions, "emotion")
        self._slots[slot] = _Slot(np.random.Generator(np.random.Philox(manner.seed)), manner, given)
        self._steps.begin(self._mask([slot]), self._speakers, self._emotions)

    def say(self, mask: Mask | None = None) -> dict[int, Said]:
        """One step of the slots in an answer (those of ``mask`` alone): what each said. A slot that ends is out of it."""
        slots = [slot for slot in sorted(self._slots) if mask is None or mask[slot]]
        if not slots:
            return {}
        text = np.full(self._steps.slots, PAD, np.int64)
        audio = np.full((self._steps.slots, self.shape.books), self.shape.none, np.int64)
        for slot in slots:
            text[slot] = self._slots[slot].text
            if self._slots[slot].rows:
                audio[slot] = self._slots[slot].rows[-1]
        said, sound = self._steps.speak(text, audio, self._mask(slots))
        return {slot: self._chosen(slot, said[slot], sound[slot]) for slot in slots}

    def _chosen(self, slot: int, said: Floats, sound: Floats) -> Said:
        one, shape = self._slots[slot], self.shape
        piece = int(choose(self._open(one, said)[None], one.manner.text, one.random)[0])
        row = choose(sound, one.manner.audio, one.random)
        if one.frames is not None:
            piece = PAD
        elif piece == END:
            one.frames = one.step - shape.lead
        frames = one.step - shape.lead - np.arange(shape.books)
        row[(frames < 0) | (frames >= (one.step if one.frames is None else one.frames))] = shape.none
        whole = one.step >= shape.wait
        one.text, one.step = piece, one.step + 1
        one.rows.append(row)
        ended = one.step >= shape.steps or one.step == (one.frames or shape.steps) + shape.wait
        if ended:
            del self._slots[slot]
        return Said(piece, undelayed(shape, np.stack(one.rows[-shape.wait - 1 :]))[0] if whole else None, ended)

    def _open(self, one: _Slot, said: Floats) -> Floats:
        """The logits of what may be said: a given text alone; never the start, and no end before there is a frame."""
        found = said.copy()
        if one.given:
            due = one.given[one.step : one.step + 1]
            found[np.isin(np.arange(len(found)), due or (PAD, END), invert=True)] = -np.inf
        found[START] = -np.inf
        if one.step <= self.shape.lead:
            found[END] = -np.inf
        return found

    def reset(self, mask: Mask | None = None) -> None:
        """Start the slots of ``mask`` (None: all) afresh: nothing heard, no answer."""
        chosen = np.ones(self._steps.slots, np.bool_) if mask is None else mask
        for slot in np.flatnonzero(chosen):
            self._slots.pop(int(slot), None)
        self._steps.reset(chosen)

    def _mask(self, slots: Iterable[int]) -> Mask:
        mask = np.zeros(self._steps.slots, np.bool_)
        mask[list(slots)] = True
        return mask


def generate(
    talk: Talk, heard: Sequence[Floats], manners: Sequence[Manner], texts: Sequence[Sequence[int]] | None = None
) -> list[Answer]:
    """The answers to whole turns (frames × 320 each), one a slot from the first on; the slots are started afresh.

    A turn's last chunk is filled up with silence. ``texts`` are the pieces that each is to say (empty: its own).
    """
    texts = [()] * len(heard) if texts is None else texts
    if not len(heard) == len(manners) == len(texts):
        told = f"{len(heard)} turns and {len(manners)} manners and {len(texts)} texts"
        raise InputError(f"{told}: one of each a slot is wanted")
    talk.reset()
    slots = len(talk.speaking)
    chunks = [list(_chunks(talk.shape, one)) for one in heard]
    for number in range(max(map(len, chunks))):
        frames = np.zeros((slots, talk.shape.chunk, WIDTH), np.float32)
        mask = np.zeros(slots, np.bool_)
        for slot, mine in enumerate(chunks):
            if number < len(mine):
                frames[slot], mask[slot] = mine[number], True
        talk.hear(frames, mask)
    for slot, (manner, text) in enumerate(zip(manners, texts, strict=True)):
        talk.begin(slot, manner, text)
    said: list[list[Said]] = [[] for _ in heard]
    while talk.speaking.any():
        for slot, one in talk.say().items():
            said[slot].append(one)
    return [_answer(talk.shape, one) for one in said]


def generate_streaming(
    talk: Talk, frames: Iterable[Floats], manner: Manner, *, decide: Callable[[float], bool], text: Sequence[int] = ()
) -> Iterator[Said]:
    """What slot 0 says while it hears ``frames`` (chunk × 320 each), up to its answer's end.

    ``decide`` is asked after each chunk, with the model's probability that the turn has ended, whether to answer now. When
    the frames end first, the turn has ended. ``text`` is what it is to say, as in :meth:`Talk.begin`. The talk wants one slot.
    """
    if len(talk.speaking) != 1:
        raise UsageError("a stream of one voice wants a talk of one slot")
    talk.reset()
    stream = iter(frames)
    begun = False
    while not begun:
        chunk = next(stream, None)
        begun = chunk is None or decide(float(talk.hear(chunk[None])[0]))
    talk.begin(0, manner, text)
    due = talk.shape.burst
    while True:
        for _ in range(due):
            said = talk.say()[0]
            yield said
            if said.ended:
                return
        due = talk.shape.chunk
        chunk = next(stream, None)
        if chunk is not None:
            talk.hear(chunk[None])


def _chunks(shape: Shape, frames: Floats) -> Iterator[Floats]:
    missing = -len(frames) % shape.chunk
    silence = np.full((missing, WIDTH), float(scaled(np.array(SILENCE, np.float32))), np.float32)
    yield from np.concatenate([frames, silence]).reshape(-1, shape.chunk, WIDTH)


def _answer(shape: Shape, said: Sequence[Said]) -> Answer:
    audio = [one.audio for one in said if one.audio is not None]
    text = [one.text for one in said if one.text not in (PAD, END)]
    ended = any(one.text == END for one in said)
    return Answer(text, np.stack(audio) if audio else np.zeros((0, shape.books), np.int64), ended)


def _given(shape: Shape, text: Sequence[int]) -> tuple[int, ...]:
    # The end stands behind the last piece at the earliest, and the books behind the first fall silent after it.
    room = shape.steps - shape.books + 1
    if len(text) > room:
        raise InputError(f"the text has {len(text)} pieces, and an answer of this model has room for {room}")
    wrong = [piece for piece in text if not UNKNOWN <= piece < shape.vocabulary or piece == START]
    if wrong:
        raise InputError(
            f"{wrong[0]} is no piece of text: the model has {UNKNOWN} to {shape.vocabulary - 1} without {START}"
        )
    return tuple(text)


def _vector(wanted: int | Floats, table: Floats, what: str) -> Floats:
    if isinstance(wanted, np.ndarray):
        if wanted.shape != table.shape[1:]:
            raise InputError(f"a {what} is a vector of {table.shape[1]} numbers, not of shape {wanted.shape}")
        return wanted
    if not 0 <= wanted < len(table):
        raise UsageError(f"there is no {what} {wanted}: the model has {len(table)}")
    found: Floats = table[wanted]
    return found
