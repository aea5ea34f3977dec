"""One answer on its way to a client of ``/v1/realtime``: the events from ``response.created`` to ``response.done``."""

from __future__ import annotations

from typing import Any, Literal

from duplexforge.serving.answer import Answer
from duplexforge.serving.events import Failed
from duplexforge.serving.packets import AudioOutput
from duplexforge.serving.protocols import realtime_outgoing as told
from duplexforge.serving.protocols.realtime_shapes import (
    Item,
    Part,
    PlainPart,
    Problem,
    SpokenPart,
    Status,
    StatusDetails,
    Told,
    WrittenPart,
)
from duplexforge.serving.protocols.realtime_sound import Speaking
from duplexforge.serving.protocols.realtime_wording import How, Wording

__all__ = ["Reply"]

Reason = Literal["turn_detected", "client_cancelled"]


class Reply:
    """Answer number ``epoch``. ``ids`` names it, its item and its events; ``conversation`` is what it belongs to."""

    def __init__(self, epoch: int, how: How, wording: Wording, ids: Any, conversation: str) -> None:
        self.epoch, self.how = epoch, how
        self.id, self.item_id = ids("resp"), ids("item")
        self.failed: Failed | None = None
        """Why it will not be whole."""
        self._wording, self._ids, self._conversation = wording, ids, conversation
        self._answer = Answer(epoch)
        self._speaking = Speaking(how.form)
        self._status: Status = "in_progress"
        self._details: StatusDetails | None = None
        self._heard: str | None = None
        """The text that counts as heard, where that is less than all of it."""

    @property
    def open(self) -> bool:
        """Whether more of it may come."""
        return self._status == "in_progress"

    @property
    def seconds(self) -> float:
        """Sound that was handed to the client."""
        return self._answer.seconds

    # -- as it is now -----------------------------------------------------------------------------------------------------

    def item(self) -> Item:
        """The message that it is."""
        status: Any = "in_progress" if self.open else "completed" if self._status == "completed" else "incomplete"
        return Item(id=self.item_id, status=status, role="assistant", content=self._content())

    def heard(self, text: str) -> None:
        """Of its text, this counts as heard."""
        self._heard = text

    def cut(self, seconds: float) -> None:
        """Of its sound, so much counts as heard."""
        self._heard = self._answer.until(seconds)

    def _content(self) -> list[Part]:
        text = self._answer.text if self._heard is None else self._heard
        if self.how.modality == "audio":
            return [SpokenPart(type=self._wording.spoken, transcript=text)]
        return [WrittenPart(type=self._wording.written, text=text)]

    # -- what the client is told --------------------------------------------------------------------------------------------

    def began(self, previous: str | None) -> list[Told]:
        """It begins, behind the item ``previous``."""
        item = self.item().model_copy(update={"content": []})
        return [
            self._response("response.created"),
            told.ResponseItem(
                event_id=self._event(), type="response.output_item.added", response_id=self.id, item=item
            ),
            told.ItemTold(event_id=self._event(), type=self._wording.added, previous_item_id=previous, item=item),
            self._part("response.content_part.added", ""),
        ]

    def says(self, text: str) -> list[Told]:
        """A piece of text."""
        self._answer.words(text)
        return [self._delta("output_audio_transcript" if self.how.modality == "audio" else "output_text", text)]

    def sounds(self, audio: AudioOutput) -> list[Told]:
        """A piece of sound. A client that reads alone is told none."""
        self._answer.sound(audio.seconds)
        return self._sound(self._speaking.push(audio)) if self.how.modality == "audio" else []

    def over(self, status: Status, previous: str | None, reason: Reason | None = None) -> list[Told]:
        """No more of it comes."""
        tail = self._sound(self._speaking.rest()) if status == "completed" and self.how.modality == "audio" else []
        if self.failed is not None:
            status = "failed"
        self._status = status
        if status == "failed" and self.failed is not None:
            error = Problem(code=self.failed.code, message=self.failed.message)
            self._details = StatusDetails(type="failed", error=error)
        elif status == "cancelled":
            self._details = StatusDetails(type="cancelled", reason=reason)
        return [*tail, *self._done(previous)]

    def _done(self, previous: str | None) -> list[Told]:
        found: list[Told] = []
        place: dict[str, Any] = {"response_id": self.id, "item_id": self.item_id}
        text = self._answer.text
        if self.how.modality == "audio":
            found.append(told.AudioDone(event_id=self._event(), type=self._name("output_audio.done"), **place))
            name = self._name("output_audio_transcript.done")
            found.append(told.TranscriptDone(event_id=self._event(), type=name, transcript=text, **place))
        else:
            name = self._name("output_text.done")
            found.append(told.TextDone(event_id=self._event(), type=name, text=text, **place))
        item = self.item()
        found.append(self._part("response.content_part.done", text))
        found.append(
            told.ResponseItem(event_id=self._event(), type="response.output_item.done", response_id=self.id, item=item)
        )
        if self._wording.done:
            kind: Any = "conversation.item.done"
            found.append(told.ItemTold(event_id=self._event(), type=kind, previous_item_id=previous, item=item))
        return [*found, self._response("response.done")]

    def _response(self, kind: Literal["response.created", "response.done"]) -> Told:
        response = self._wording.response(
            self.how,
            id=self.id,
            status=self._status,
            status_details=self._details,
            output=[] if kind == "response.created" else [self.item()],
            conversation_id=self._conversation,
            metadata=self.how.metadata,
        )
        return told.ResponseTold(event_id=self._event(), type=kind, response=response)

    def _part(self, kind: Literal["response.content_part.added", "response.content_part.done"], text: str) -> Told:
        spoken = self.how.modality == "audio"
        part = PlainPart(type="audio", transcript=text) if spoken else PlainPart(type="text", text=text)
        return told.PartTold(event_id=self._event(), type=kind, response_id=self.id, item_id=self.item_id, part=part)

    def _sound(self, data: str) -> list[Told]:
        return [self._delta("output_audio", data)] if data else []

    def _delta(self, what: str, piece: str) -> Told:
        name = self._name(f"{what}.delta")
        return told.Delta(event_id=self._event(), type=name, response_id=self.id, item_id=self.item_id, delta=piece)

    def _name(self, name: str) -> Any:
        whole = f"response.{name}"
        return self._wording.renamed.get(whole, whole)

    def _event(self) -> str:
        name: str = self._ids("event")
        return name
