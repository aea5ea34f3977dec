"""The user's side of ``/v1/realtime``: what was appended, where a turn begins and ends, and the items that turns become."""

from __future__ import annotations

from dataclasses import replace

from duplexforge.errors import InputError
from duplexforge.serving.protocols import realtime_outgoing as told
from duplexforge.serving.protocols.realtime_incoming import Refused, SaidItem
from duplexforge.serving.protocols.realtime_items import Ids, Items, Kept
from duplexforge.serving.protocols.realtime_settings import AudioFormat
from duplexforge.serving.protocols.realtime_shapes import Item, Problem, SpokenPart, Told
from duplexforge.serving.protocols.realtime_sound import heard, rate_of
from duplexforge.serving.protocols.realtime_wording import Wire, Wording
from duplexforge.serving.session import Session

__all__ = ["Buffer"]

_LATE = 0.2
"""Seconds that voice activity is behind what was appended (resampling, windows): speech from before a commit that is told
after it lies further back."""
_NO_TRANSCRIPT = Problem(code="unsupported", message="this server does not write down what the user says")


class Buffer:
    """The input buffer of one session."""

    def __init__(self, session: Session, items: Items, wording: Wording, ids: Ids) -> None:
        self._session, self._items, self._wording, self._ids = session, items, wording, ids
        self._given = self._mark = 0.0
        """Seconds appended, and how many of them the client has committed, cleared or had answered."""
        self._speech: str | None = None
        """The name of the item that the open turn will be."""

    # -- what the client does -----------------------------------------------------------------------------------------

    def append(self, audio: str, form: AudioFormat) -> None:
        """More of the user's sound."""
        samples = heard(audio, form)
        if len(samples):
            self._session.hear(samples, rate_of(form))
            self._given += len(samples) / rate_of(form)

    def commit(self, wire: Wire, name: str | None = None, after: str | None = None) -> list[Told]:
        """The client says that the turn is over. No answer follows from it by itself, whoever watches the turns."""
        config = self._session.config
        if config.answers:
            self._session.configure(replace(config, answers=False))
        try:
            self._session.commit()
        except InputError as error:
            raise Refused(str(error), "input_audio_buffer_commit_empty") from error
        finally:
            if config.answers:
                self._session.configure(config)
        name, self._speech = name or self._speech or self._ids("item"), None
        self._mark = self._given
        return self._turn(name, wire, after)

    def clear(self) -> list[Told]:
        """The client wants what was heard since the last turn forgotten."""
        self._session.clear()
        self._speech, self._mark = None, self._given
        return [told.Cleared(event_id=self._ids("event"))]

    def answered(self, wire: Wire) -> list[Told]:
        """The client asks for an answer. What it appended and did not commit was heard too, so that it is an item now."""
        open_turn = wire.detection is None and self._given > self._mark
        self._mark = self._given
        return self._turn(self._ids("item"), wire) if open_turn else []

    def whole(self, item: SaidItem, name: str, after: str | None, wire: Wire) -> list[Told]:
        """A turn of the user's in one piece."""
        if wire.detection is not None:
            raise Refused("with turn detection, sound goes into input_audio_buffer.append", "unsupported", param="item")
        part = item.content[0]
        if item.role != "user" or len(item.content) != 1 or part.audio is None:
            raise Refused("a message of sound is the user's, with one part", "invalid_value", param="item.content")
        if self._given > self._mark:
            raise Refused("commit or clear what was appended first", "input_audio_buffer_not_empty")
        self._items.check(name, after)
        self.append(part.audio, wire.hears)
        return self.commit(wire, name, after)[1:]

    # -- what happens ---------------------------------------------------------------------------------------------------

    def began(self, at: float, prefix: float) -> list[Told]:
        """The user speaks since ``at`` seconds of their stream."""
        if at < self._mark - _LATE:
            return []
        self._speech = self._ids("item")
        start = round(1000 * max(at - prefix, 0.0))
        return [told.SpeechStarted(event_id=self._ids("event"), audio_start_ms=start, item_id=self._speech)]

    def ended(self, until: float, wire: Wire) -> list[Told]:
        """The turn is over; a turn that the client has committed or cleared in the meantime has been told of."""
        if self._speech is None:
            return []
        name, self._speech = self._speech, None
        stopped = told.SpeechStopped(event_id=self._ids("event"), audio_end_ms=round(1000 * until), item_id=name)
        return [stopped, *self._turn(name, wire)]

    def _turn(self, name: str, wire: Wire, after: str | None = None) -> list[Told]:
        """A turn becomes an item."""
        content = [SpokenPart(type="input_audio", transcript=None)]
        item = Item(id=name, status="completed", role="user", content=list(content))
        before = self._items.add(Kept(item), after)
        committed = told.Committed(event_id=self._ids("event"), previous_item_id=before, item_id=name)
        found = [committed, *self.told(item, before)]
        if wire.transcription is not None:
            found.append(
                told.TranscriptionFailed(
                    event_id=self._ids("event"), item_id=name, content_index=0, error=_NO_TRANSCRIPT
                )
            )
        return found

    def told(self, item: Item, before: str | None) -> list[Told]:
        """An item that is whole is in the conversation."""
        added = told.ItemTold(event_id=self._ids("event"), type=self._wording.added, previous_item_id=before, item=item)
        if not self._wording.done:
            return [added]
        done = told.ItemTold(
            event_id=self._ids("event"), type="conversation.item.done", previous_item_id=before, item=item
        )
        return [added, done]
