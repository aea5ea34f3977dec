"""What a client says over ``/v1/realtime``: OpenAI's Realtime events, in today's words and in those of the beta."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, ValidationError
from pydantic.functional_validators import AfterValidator
from pydantic_core import ErrorDetails, PydanticCustomError

from duplexforge.errors import InputError
from duplexforge.serving.protocols.messages import Incoming, parsed
from duplexforge.serving.protocols.realtime_settings import (
    BetaResponseWanted,
    BetaSessionWanted,
    ResponseWanted,
    SessionWanted,
)

__all__ = [
    "BETA",
    "CURRENT",
    "Append",
    "BetaCreate",
    "BetaUpdate",
    "Cancel",
    "Clear",
    "ClientEvent",
    "Commit",
    "Create",
    "ItemCreate",
    "ItemDelete",
    "ItemRetrieve",
    "ItemTruncate",
    "OutputClear",
    "Refused",
    "SaidItem",
    "SaidPart",
    "Update",
    "understood",
]

_Id = Annotated[str, Field(max_length=64)]
_MOST_TEXT = 16384


class Refused(InputError):
    """A client's event is wrong. ``param`` names the key, ``event_id`` the event, where they are known."""

    def __init__(self, message: str, code: str, *, param: str | None = None, event_id: str | None = None) -> None:
        super().__init__(message, reason=code)
        self.param, self.event_id = param, event_id


class _Client(Incoming):
    event_id: Annotated[str, Field(max_length=512)] | None = None
    """The client's own name for this event; an error names it."""


class Update(_Client):
    """Change the settings."""

    type: Literal["session.update"]
    session: SessionWanted


class BetaUpdate(_Client):
    """Change the settings."""

    type: Literal["session.update"]
    session: BetaSessionWanted


class Append(_Client):
    """The user's sound, in the session's input format, in base64."""

    type: Literal["input_audio_buffer.append"]
    audio: str


class Commit(_Client):
    """The user's turn is over."""

    type: Literal["input_audio_buffer.commit"]


class Clear(_Client):
    """Forget what was heard since the last turn."""

    type: Literal["input_audio_buffer.clear"]


class OutputClear(_Client):
    """Break off what is being said."""

    type: Literal["output_audio_buffer.clear"]


class Create(_Client):
    """Answer now."""

    type: Literal["response.create"]
    response: ResponseWanted | None = None


class BetaCreate(_Client):
    """Answer now."""

    type: Literal["response.create"]
    response: BetaResponseWanted | None = None


class Cancel(_Client):
    """Break off the answer that is being made."""

    type: Literal["response.cancel"]
    response_id: _Id | None = None


def _heard_or_written(kind: str) -> str:
    if kind == "input_image":
        raise PydanticCustomError("unsupported", "this server sees nothing")
    return kind


class SaidPart(Incoming):
    """A part of a message: text, or sound in the session's input format."""

    type: Annotated[
        Literal["input_text", "input_audio", "input_image", "output_text", "output_audio", "text", "audio"],
        AfterValidator(_heard_or_written),
    ]
    text: Annotated[str, Field(max_length=_MOST_TEXT)] | None = None
    audio: str | None = None
    transcript: Annotated[str, Field(max_length=_MOST_TEXT)] | None = None
    image_url: str | None = None
    detail: str | None = None


def _a_message(kind: str) -> str:
    if kind != "message":
        raise PydanticCustomError("unsupported", "this server has no tools: items are messages")
    return kind


class SaidItem(Incoming):
    """A message of somebody's."""

    type: Annotated[str, AfterValidator(_a_message)]
    role: Literal["user", "assistant", "system"]
    content: Annotated[list[SaidPart], Field(min_length=1, max_length=16)]
    id: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    object: Literal["realtime.item"] | None = None
    status: Literal["completed", "incomplete", "in_progress"] | None = None


class ItemCreate(_Client):
    """Put a message into the conversation, at its end or behind ``previous_item_id`` (``root``: at its beginning)."""

    type: Literal["conversation.item.create"]
    item: SaidItem
    previous_item_id: _Id | None = None


class ItemDelete(_Client):
    """Take an item out of the conversation."""

    type: Literal["conversation.item.delete"]
    item_id: _Id


class ItemRetrieve(_Client):
    """Tell an item as it is kept, without its sound."""

    type: Literal["conversation.item.retrieve"]
    item_id: _Id


class ItemTruncate(_Client):
    """Of this answer so much was played, and no more will be."""

    type: Literal["conversation.item.truncate"]
    item_id: _Id
    content_index: Literal[0]
    audio_end_ms: int = Field(ge=0)


_Same = Append | Commit | Clear | OutputClear | Cancel | ItemCreate | ItemDelete | ItemRetrieve | ItemTruncate
ClientEvent = _Same | Update | BetaUpdate | Create | BetaCreate
CURRENT: TypeAdapter[ClientEvent] = TypeAdapter(Annotated[_Same | Update | Create, Field(discriminator="type")])
BETA: TypeAdapter[ClientEvent] = TypeAdapter(Annotated[_Same | BetaUpdate | BetaCreate, Field(discriminator="type")])
_CODES = {
    "union_tag_invalid": "invalid_value",
    "union_tag_not_found": "missing_required_parameter",
    "missing": "missing_required_parameter",
    "extra_forbidden": "unknown_parameter",
    "unsupported": "unsupported",
}
_MOST_SAID = 200


def understood(message: str | bytes, model: TypeAdapter[ClientEvent]) -> ClientEvent:
    """The event that ``message`` is; ``Refused`` says what is wrong with it."""
    if isinstance(message, bytes):
        raise Refused("this protocol speaks JSON; sound goes into input_audio_buffer.append as base64", "binary")
    try:
        content = parsed(message)
    except InputError as error:
        raise Refused(str(error), error.reason) from error
    try:
        return model.validate_python(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise _refused(first, content) from error


def _refused(first: ErrorDetails, content: dict[str, Any]) -> Refused:
    kind, code = first["type"], _CODES.get(first["type"], "invalid_value")
    param = _where(first["loc"], content) or "type"
    if kind == "union_tag_invalid":
        message = f"{param}: there is no {str(first.get('ctx', {}).get('tag'))[:60]} here"
    elif kind == "extra_forbidden":
        message = f"{param} is unknown here"
    elif code == "missing_required_parameter":
        message = f"{param} is missing"
    else:
        message = f"{param}: {first['msg']}"
    mine = content.get("event_id")
    return Refused(message[:_MOST_SAID], code, param=param, event_id=mine[:512] if isinstance(mine, str) else None)


def _where(place: tuple[int | str, ...], content: Any) -> str:
    """The path of ``place`` in what the client sent, without the names of models that stand in between."""
    found = []
    for part in place:
        inside = isinstance(content, list) if isinstance(part, int) else isinstance(content, dict) and part in content
        if inside:
            content = content[part]
        elif not isinstance(content, dict) or part != place[-1]:
            continue
        found.append(str(part))
    return ".".join(found)
