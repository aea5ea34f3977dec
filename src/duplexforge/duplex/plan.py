"""What a build will do, found out from the metadata alone: which sides there are, in which order, in which split."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from duplexforge.duplex.alignment import Aligned
from duplexforge.duplex.corpus import Conversation, Corpus, Problem, Track, blamed
from duplexforge.duplex.splits import Member, assign
from duplexforge.errors import InputError, UsageError

Ratios = tuple[float, float, float]


@dataclass(frozen=True)
class Seat:
    """A side to be built: the conversation as it is for its agent, the track number ``agent``."""

    conversation: Conversation
    agent: int
    split: str

    @property
    def session_id(self) -> str:
        """``<conversation>--<agent's speaker>``."""
        return f"{self.conversation.conversation_id}--{self.agent_track.speaker}"

    @property
    def agent_track(self) -> Track:
        """The track that the model is to speak."""
        return self.conversation.tracks[self.agent]

    @property
    def user_track(self) -> Track:
        """The track that the model hears."""
        return self.conversation.tracks[1 - self.agent]


@dataclass
class Plan:
    """Sides in the order of their session ids; ``problems`` of the corpus; ``skipped`` lack the speaker asked for."""

    seats: list[Seat] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    conversations: int = 0
    skipped: int = 0
    notes: tuple[str, ...] = ()


def plan(corpus: Corpus, ratios: Ratios, agent_speaker: str | None = None) -> Plan:
    """Read ``corpus`` and plan its sides: both of every conversation, or those with ``agent_speaker`` as the agent.

    InputError(``empty``) when there is no conversation at all, UsageError when nobody is called ``agent_speaker``.
    """
    conversations = list(corpus.conversations())
    found = Plan(problems=list(corpus.problems), conversations=len(conversations))
    conversations = _single(conversations, found.problems)
    if not conversations:
        told = f": {blamed(found.problems).message}" if found.problems else ""
        raise InputError(f"there is no conversation of two tracks to build from{told}", reason="empty")
    wanted = [(one, _agents(one, agent_speaker)) for one in conversations]
    kept = [one for one, agents in wanted if agents]
    found.skipped = len(wanted) - len(kept)
    if not kept:
        speakers = sorted({track.speaker for one in conversations for track in one.tracks})
        raise UsageError(f"nobody is called {agent_speaker}: there are {', '.join(speakers[:20])}")
    division = assign([_member(one) for one in kept], ratios)
    found.notes = division.notes
    found.seats = sorted(
        (Seat(one, agent, division.split_of[one.conversation_id]) for one, agents in wanted for agent in agents),
        key=lambda seat: seat.session_id,
    )
    return found


def _single(conversations: Sequence[Conversation], problems: list[Problem]) -> list[Conversation]:
    """Without those whose id has been taken, as their sides would be taken for one another's."""
    seen: dict[str, Conversation] = {}
    for one in conversations:
        if one.conversation_id in seen:
            message = f"there are two conversations {one.conversation_id}: the second was left out"
            problems.append(Problem(one.conversation_id, None, "duplicate_conversation", message))
        seen.setdefault(one.conversation_id, one)
    return list(seen.values())


def _agents(conversation: Conversation, speaker: str | None) -> list[int]:
    return [number for number, track in enumerate(conversation.tracks) if speaker in (None, track.speaker)]


def _member(conversation: Conversation) -> Member:
    # Without decoding, the end of the last utterance is what is known of the length.
    ends = [utterance.end for track in conversation.tracks for utterance in track.utterances]
    longest = max((end for end in ends if math.isfinite(end)), default=0.0)
    speakers = tuple(track.speaker for track in conversation.tracks)
    return Member(conversation.conversation_id, speakers, conversation.group, max(0, round(longest * 1000)))


def track_name(seat: Seat, track: Track) -> str:
    """How a report names a track: by its file where it is one."""
    path = getattr(track.audio, "path", None)
    # The name alone: where the corpus lies must not change the report.
    return Path(path).name if path else f"{seat.conversation.conversation_id}: {track.speaker}"


def left_out(seat: Seat, aligned: Aligned) -> list[Problem]:
    """What the alignment of the agent's words has left out or changed."""
    where = track_name(seat, seat.agent_track)
    found = [Problem(where, None, reason, message) for _, reason, message in aligned.problems]
    if aligned.capped:
        message = f"{aligned.capped} tokens beyond the cap of their utterance were left out"
        found.append(Problem(where, None, "event_tokens_capped", message, kept=True))
    if aligned.spread:
        message = f"{aligned.spread} utterances have no word times: their tokens were spread evenly"
        found.append(Problem(where, None, "no_word_times", message, kept=True))
    return found
