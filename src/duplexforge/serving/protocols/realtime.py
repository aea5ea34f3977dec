"""``/v1/realtime``: OpenAI's Realtime events, so that clients written for them need no change.

``Realtime`` speaks today's words, ``RealtimeBeta`` those of clients that send ``OpenAI-Beta: realtime=v1``. What is different:

* The model in the address is left aside; ``session.created`` says what answers. Voices are those of ``/speakers``.
* A session begins with ``semantic_vad``: the model's own opinion ends a turn, see ``realtime_settings.SemanticVad``.
* An answer comes half a second ahead of the clock, not all at once, so that ``response.done`` is near its end.
* Nobody writes down what the user says, there are no tools and no images, and text is taken for models that read alone;
  ``realtime_settings`` tells what is left aside and what is an error.
* A message has at most SCA_FRAME_BYTES; sound is to be appended as it is recorded, and not faster than it can be heard.
* Items are kept without their sound, the latest 256 of them. To delete one changes what the client wrote, not what was heard.
* ``usage`` is null: nothing is billed. ``rate_limits.updated`` is never said.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from pydantic import TypeAdapter

from duplexforge.config import ServeSettings
from duplexforge.errors import DuplexforgeError, InputError, UsageError
from duplexforge.serving import events
from duplexforge.serving.events import Event
from duplexforge.serving.protocols import realtime_incoming as said
from duplexforge.serving.protocols import realtime_outgoing as told
from duplexforge.serving.protocols.realtime_buffer import Buffer
from duplexforge.serving.protocols.realtime_choices import asked, changed, first
from duplexforge.serving.protocols.realtime_incoming import Refused
from duplexforge.serving.protocols.realtime_items import Ids, Items, Kept
from duplexforge.serving.protocols.realtime_reply import Reply
from duplexforge.serving.protocols.realtime_shapes import Conversation, Error, Item, Told, WrittenPart
from duplexforge.serving.protocols.realtime_wording import Beta, Changes, Current, How, Wording
from duplexforge.serving.session import Session

__all__ = ["BETA_MESSAGES", "MESSAGES", "Realtime", "RealtimeBeta", "speaks_beta"]

MESSAGES: dict[str, TypeAdapter[Any]] = {"in": said.CURRENT, "out": TypeAdapter(told.ServerEvent)}
BETA_MESSAGES: dict[str, TypeAdapter[Any]] = {**MESSAGES, "in": said.BETA}
_BETA_PROTOCOL = "openai-beta.realtime-v1"
_CUT_SHORT = events.Failed("cut_short", "the session ended before all of it was made")
_SLACK = 0.001
"""Seconds by which a client that counts in whole milliseconds may be off."""


def speaks_beta(headers: Mapping[str, str], subprotocols: Iterable[str]) -> bool:
    """Whether a client wants the beta's words; browsers, which send no headers, say it by a subprotocol."""
    return "realtime=v1" in headers.get("openai-beta", "").lower() or _BETA_PROTOCOL in subprotocols


class Realtime:
    """One client of ``/v1/realtime``."""

    wording: Wording = Current()

    def __init__(self, session: Session, settings: ServeSettings) -> None:
        self._session, self._facts = session, session.facts
        self._expires = int(time.time() + settings.sca_session_seconds)
        self._wire, config = first(session.facts, session.config)
        session.configure(config)
        self._ids, self._items = Ids(session.id), Items()
        self._buffer = Buffer(session, self._items, self.wording, self._ids)
        self._conversation = f"conv_{session.id}"
        self._asked: deque[How] = deque()
        """Answers that the client asked for and that have not begun."""
        self._reply: Reply | None = None
        """The last answer."""
        self._greeted = self._lagged = False

    def greet(self) -> Iterable[str]:
        """Who is there; once, though a client that speaks at once is greeted before it is answered."""
        if self._greeted:
            return []
        self._greeted = True
        found: list[Told] = [self._settings("session.created")]
        if not self.wording.done:
            conversation = Conversation(id=self._conversation)
            found.append(told.ConversationTold(event_id=self._ids("event"), conversation=conversation))
        return _texts(found)

    def take(self, message: str | bytes) -> Iterable[str]:
        """An event of the client; what is wrong with it is told with its name."""
        # Whoever reads and whoever greets are two tasks: a client that sends at once may be read first.
        greeting = list(self.greet())
        event_id = None
        try:
            event = said.understood(message, self.wording.events)
            event_id = event.event_id
            return [*greeting, *_texts(self._done(event))]
        except (InputError, UsageError) as error:
            return [*greeting, told.complaint(error, event_id)]

    def tell(self, event: Event) -> Iterable[str]:
        """What the client is told of ``event``."""
        return _texts(self._told(event))

    @staticmethod
    def complain(error: DuplexforgeError) -> str:
        """An event ``error``."""
        return told.complaint(error, None)

    # -- what the client says -----------------------------------------------------------------------------------------

    def _done(self, event: said.ClientEvent) -> list[Told]:
        match event:
            case said.Append(audio=audio):
                self._buffer.append(audio, self._wire.hears)
            case said.Commit():
                return self._buffer.commit(self._wire)
            case said.Clear():
                return self._buffer.clear()
            case said.Update(session=wanted) | said.BetaUpdate(session=wanted):
                return self._update(self.wording.changes(wanted))
            case said.Create(response=wanted) | said.BetaCreate(response=wanted):
                return self._create(self.wording.changes(wanted) if wanted is not None else Changes())
            case said.Cancel(response_id=name):
                self._cancel(name)
            case said.OutputClear():
                return self._silence()
            case _:
                return self._changed(event)
        return []

    def _changed(self, event: said.ClientEvent) -> list[Told]:
        """The client changes the conversation itself, or looks at it."""
        match event:
            case said.ItemCreate(item=item, previous_item_id=after):
                return self._written(item, after)
            case said.ItemRetrieve(item_id=name):
                return [told.ItemRetrieved(event_id=self._ids("event"), item=self._items.get(name).told)]
            case said.ItemDelete(item_id=name):
                return self._delete(name)
            case said.ItemTruncate(item_id=name, audio_end_ms=end):
                return self._truncate(name, end)
        return []

    def _update(self, changes: Changes) -> list[Told]:
        wire, config = changed(self._wire, self._session.config, changes, self._facts)
        prompt = self._items.prompt(wire.instructions)
        # The session refuses what its model has not; only then is the rest agreed on.
        self._session.configure(replace(config, manner=replace(config.manner, prompt=prompt)))
        self._wire = wire
        return [self._settings("session.updated")]

    def _create(self, changes: Changes) -> list[Told]:
        if self._asked or (self._reply is not None and self._reply.open):
            raise Refused("an answer is being made: cancel it first", "conversation_already_has_active_response")
        instructions = self._wire.instructions if changes.instructions is None else changes.instructions
        prompt = self._items.prompt(instructions)
        how, manner = asked(self._wire, self._session.config, changes, self._facts, prompt)
        self._session.respond(manner)
        self._asked.append(how)
        return self._buffer.answered(self._wire)

    def _cancel(self, name: str | None) -> None:
        reply = self._reply if self._reply is not None and self._reply.open else None
        if (reply is None and not self._asked) or (name is not None and (reply is None or reply.id != name)):
            raise Refused("no such answer is being made", "response_cancel_not_active", param="response_id")
        self._session.interrupt()

    def _silence(self) -> list[Told]:
        if self._reply is None:
            raise Refused("nothing was said yet", "output_audio_buffer_empty")
        self._session.interrupt()
        return [told.OutputCleared(event_id=self._ids("event"), response_id=self._reply.id)]

    def _written(self, item: said.SaidItem, after: str | None) -> list[Told]:
        """A message that the client made: what was said, or, for models that read, text."""
        name = item.id or self._ids("item")
        if any(part.type == "input_audio" for part in item.content):
            return self._buffer.whole(item, name, after, self._wire)
        if not self._facts.reads:
            raise Refused(
                f"{self._facts.name} hears and does not read: send sound", "unsupported", param="item.content"
            )
        kind: Any = self.wording.written if item.role == "assistant" else "input_text"
        content = [WrittenPart(type=kind, text=part.text or "") for part in item.content]
        kept = Kept(Item(id=name, status="completed", role=item.role, content=list(content)), written=True)
        before = self._items.add(kept, after)
        try:
            self._reread()
        except UsageError:
            self._items.remove(name)
            raise
        return self._buffer.told(kept.item, before)

    def _delete(self, name: str) -> list[Told]:
        kept = self._items.get(name)
        if kept.reply is not None and kept.reply.open:
            raise Refused("this item is being said: cancel its answer first", "item_in_progress", param="item_id")
        self._items.remove(name)
        if kept.written:
            self._reread()
        return [told.ItemDeleted(event_id=self._ids("event"), item_id=name)]

    def _reread(self) -> None:
        """What the client wrote is others: the model is told."""
        config = self._session.config
        prompt = self._items.prompt(self._wire.instructions)
        self._session.configure(replace(config, manner=replace(config.manner, prompt=prompt)))

    def _truncate(self, name: str, end: int) -> list[Told]:
        reply = self._items.get(name).reply
        if reply is None or reply.how.modality != "audio":
            raise Refused("only the sound of an answer can be truncated", "invalid_item", param="item_id")
        played = end / 1000
        if played > reply.seconds + _SLACK:
            long = f"of {name} there are {1000 * reply.seconds:.0f} ms so far, not {end}"
            raise Refused(long, "invalid_value", param="audio_end_ms")
        # The session knows the last answer alone: with a newer one on its way, that one would be broken off.
        if reply is self._reply and not self._asked:
            self._session.interrupt(played)
        reply.cut(played)
        return [told.ItemTruncated(event_id=self._ids("event"), item_id=name, content_index=0, audio_end_ms=end)]

    # -- what the client is told ----------------------------------------------------------------------------------------

    def _told(self, event: Event) -> list[Told]:
        match event:
            case events.SpeechBegan(at=at):
                self._lagged = False
                return self._buffer.began(at, self._session.config.prefix)
            case events.SpeechEnded(at=at, after=after):
                return self._buffer.ended(at + after, self._wire)
            case events.AnswerBegan(epoch=epoch):
                return self._began(epoch)
            case events.Lagged() | events.Failed():
                return self._wrong(event)
            case _:
                return self._answered(event)

    def _began(self, epoch: int) -> list[Told]:
        config = self._session.config
        usual, _ = asked(self._wire, config, Changes(), self._facts, config.manner.prompt)
        how = self._asked.popleft() if self._asked else usual
        reply = self._reply = Reply(epoch, how, self.wording, self._ids, self._conversation)
        return reply.began(self._items.add(Kept(reply.item(), reply)))

    def _answered(self, event: Event) -> list[Told]:
        """What belongs to the answer; of one that is over already, only how much was heard is of interest."""
        reply = self._reply
        if reply is None or getattr(event, "epoch", None) != reply.epoch:
            return []
        match event:
            case events.Words(text=text) if reply.open:
                return reply.says(text)
            case events.Sound(audio=audio) if reply.open:
                return reply.sounds(audio)
            case events.AnswerMade() if reply.open:
                return reply.over("completed", self._items.before(reply.item_id))
            case events.AnswerEnded() if reply.open:
                reply.failed = _CUT_SHORT
                return reply.over("failed", self._items.before(reply.item_id))
            case events.Interrupted(text=text, by=by):
                # Its sound may be with the client already, and its response.done too: the item is corrected all the same.
                reply.heard(text)
                if reply.open:
                    reason: Any = "turn_detected" if by == "voice" else "client_cancelled"
                    return reply.over("cancelled", self._items.before(reply.item_id), reason)
        return []

    def _wrong(self, event: events.Lagged | events.Failed) -> list[Told]:
        if isinstance(event, events.Failed):
            # The engine tells what was wrong with an answer before its end, which then says it in response.done.
            if self._reply is not None and self._reply.open and not event.over:
                self._reply.failed = event
                return []
            error = Error(type="server_error", code=event.code, message=event.message)
        elif self._lagged:
            return []
        else:
            self._lagged = True
            message = f"the model is behind: {event.seconds:.2f} s of what the user said were left out"
            error = Error(type="server_error", code="lagged", message=message)
        return [told.ErrorTold(event_id=self._ids("event"), error=error)]

    def _settings(self, kind: Any) -> Told:
        config = self._session.config
        session = self.wording.session(f"sess_{self._session.id}", self._facts, self._wire, config, self._expires)
        return told.SessionTold(event_id=self._ids("event"), type=kind, session=session)


class RealtimeBeta(Realtime):
    """One client of ``/v1/realtime`` that speaks as in the beta."""

    wording: Wording = Beta()


def _texts(found: Iterable[Told]) -> list[str]:
    return [one.line() for one in found]
