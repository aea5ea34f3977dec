"""What we say over ``/v1/realtime``: OpenAI's Realtime events.

Where the beta had another name, a type has both; which one is said is up to ``realtime_wording``.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Literal

from pydantic import Field

from duplexforge.errors import DuplexforgeError, InputError, UsageError
from duplexforge.serving.protocols.realtime_shapes import (
    BetaResponse,
    BetaSession,
    Conversation,
    Error,
    Item,
    PlainPart,
    Problem,
    Response,
    Session,
    Told,
)

__all__ = [
    "AudioDone",
    "Cleared",
    "Committed",
    "ConversationTold",
    "Delta",
    "ErrorTold",
    "ItemDeleted",
    "ItemRetrieved",
    "ItemTold",
    "ItemTruncated",
    "OutputCleared",
    "PartTold",
    "ResponseItem",
    "ResponseTold",
    "ServerEvent",
    "SessionTold",
    "SpeechStarted",
    "SpeechStopped",
    "TextDone",
    "TranscriptDone",
    "TranscriptionFailed",
    "complaint",
]


class _Event(Told):
    event_id: str


class SessionTold(_Event):
    """The settings that hold from now on."""

    type: Literal["session.created", "session.updated"]
    session: Session | BetaSession


class ConversationTold(_Event):
    """The conversation begins (beta)."""

    type: Literal["conversation.created"] = "conversation.created"
    conversation: Conversation


class ItemTold(_Event):
    """An item is in the conversation (``created`` in the beta, else ``added``), and is as it will stay (``done``)."""

    type: Literal["conversation.item.added", "conversation.item.done", "conversation.item.created"]
    previous_item_id: str | None
    item: Item


class ItemRetrieved(_Event):
    """An item as it is kept."""

    type: Literal["conversation.item.retrieved"] = "conversation.item.retrieved"
    item: Item


class ItemDeleted(_Event):
    """An item is gone."""

    type: Literal["conversation.item.deleted"] = "conversation.item.deleted"
    item_id: str


class ItemTruncated(_Event):
    """Of an answer so much counts as heard."""

    type: Literal["conversation.item.truncated"] = "conversation.item.truncated"
    item_id: str
    content_index: int
    audio_end_ms: int


class TranscriptionFailed(_Event):
    """Nobody writes down what the user says."""

    type: Literal["conversation.item.input_audio_transcription.failed"] = (
        "conversation.item.input_audio_transcription.failed"
    )
    item_id: str
    content_index: int
    error: Problem


class SpeechStarted(_Event):
    """The user speaks, since ``audio_start_ms`` of their stream, with the padding before it."""

    type: Literal["input_audio_buffer.speech_started"] = "input_audio_buffer.speech_started"
    audio_start_ms: int
    item_id: str


class SpeechStopped(_Event):
    """The user has finished, and ``audio_end_ms`` of their stream belong to the turn, with the silence after it."""

    type: Literal["input_audio_buffer.speech_stopped"] = "input_audio_buffer.speech_stopped"
    audio_end_ms: int
    item_id: str


class Committed(_Event):
    """A turn of the user's is over and an item."""

    type: Literal["input_audio_buffer.committed"] = "input_audio_buffer.committed"
    previous_item_id: str | None
    item_id: str


class Cleared(_Event):
    """What was heard since the last turn is forgotten."""

    type: Literal["input_audio_buffer.cleared"] = "input_audio_buffer.cleared"


class OutputCleared(_Event):
    """What is being said is broken off: throw away what was not played."""

    type: Literal["output_audio_buffer.cleared"] = "output_audio_buffer.cleared"
    response_id: str


class ResponseTold(_Event):
    """An answer begins, or is over."""

    type: Literal["response.created", "response.done"]
    response: Response | BetaResponse


class _InResponse(_Event):
    response_id: str
    output_index: int = 0


class ResponseItem(_InResponse):
    """The message that an answer is made of."""

    type: Literal["response.output_item.added", "response.output_item.done"]
    item: Item


class _InPart(_InResponse):
    item_id: str
    content_index: int = 0


class PartTold(_InPart):
    """The part that the message is made of."""

    type: Literal["response.content_part.added", "response.content_part.done"]
    part: PlainPart


class Delta(_InPart):
    """A piece of sound (base64), of its transcript, or of text."""

    type: Literal[
        "response.output_audio.delta",
        "response.output_audio_transcript.delta",
        "response.output_text.delta",
        "response.audio.delta",
        "response.audio_transcript.delta",
        "response.text.delta",
    ]
    delta: str


class AudioDone(_InPart):
    """No more sound."""

    type: Literal["response.output_audio.done", "response.audio.done"]


class TranscriptDone(_InPart):
    """No more of its transcript, which is this."""

    type: Literal["response.output_audio_transcript.done", "response.audio_transcript.done"]
    transcript: str


class TextDone(_InPart):
    """No more text; it is this."""

    type: Literal["response.output_text.done", "response.text.done"]
    text: str


class ErrorTold(_Event):
    """Something was wrong; the session goes on unless it is closed."""

    type: Literal["error"] = "error"
    error: Error


ServerEvent = Annotated[
    SessionTold
    | ConversationTold
    | ItemTold
    | ItemRetrieved
    | ItemDeleted
    | ItemTruncated
    | TranscriptionFailed
    | SpeechStarted
    | SpeechStopped
    | Committed
    | Cleared
    | OutputCleared
    | ResponseTold
    | ResponseItem
    | PartTold
    | Delta
    | AudioDone
    | TranscriptDone
    | TextDone
    | ErrorTold,
    Field(discriminator="type"),
]


def complaint(error: DuplexforgeError, event_id: str | None) -> str:
    """An error as an event; ``event_id`` names the client's event that caused it, where the error does not."""
    mine = isinstance(error, InputError | UsageError)
    wrong = Error(
        type="invalid_request_error" if mine else "server_error",
        code=error.reason,
        message=str(error),
        param=getattr(error, "param", None),
        event_id=getattr(error, "event_id", None) or event_id,
    )
    return ErrorTold(event_id=f"event_{secrets.token_hex(8)}", error=wrong).line()
