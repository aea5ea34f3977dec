"""``/v1/realtime``: whatever happens, in whatever order, a client can follow it."""

from __future__ import annotations

from typing import Any

from hypothesis import settings as trying
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from duplexforge.serving import events
from tests.unit.serving.realtime_made import Client, sound
from tests.unit.serving.running import noise

OLD = "what an older answer says"


class Following(RuleBasedStateMachine):
    """A session that does what a session may do, a client that does what it likes, and what the client can know of it all."""

    @initialize(beta=st.booleans(), text=st.booleans())
    def begin(self, beta: bool, text: bool) -> None:
        self.client = Client(beta=beta)
        if text:
            self.client.update(**({"modalities": ["text"]} if beta else {"output_modalities": ["text"]}))
        self.epoch, self.live, self.made, self.speaks = 0, False, False, False
        self.wishes, self.at = 0, 0.0
        self.names: set[str] = set()
        self.items: list[str] = []
        self.open: str | None = None
        self.cancelled = 0

    # -- what the client knows --------------------------------------------------------------------------------------------

    def follow(self, told: list[dict[str, Any]]) -> None:
        for one in told:
            assert one["event_id"] not in self.names, "each event has its own name"
            self.names.add(one["event_id"])
            kind = one["type"]
            if kind == "response.created":
                assert self.open is None, "one answer at a time"
                self.open = one["response"]["id"]
            elif kind == "response.done":
                assert one["response"]["id"] == self.open, "what is done was begun, and is done once"
                assert one["response"]["status"] != "in_progress"
                self.open = None
            elif kind.startswith("response."):
                assert one["response_id"] == self.open, "nothing comes of what is done"
                assert one.get("delta") != OLD, "nothing comes of an answer before this one"
            elif kind in ("conversation.item.added", "conversation.item.created"):
                assert one["previous_item_id"] == (self.items[-1] if self.items else None)
                self.items.append(one["item"]["id"])
            elif kind == "conversation.item.deleted":
                self.items.remove(one["item_id"])
            elif kind == "conversation.item.done":
                assert one["item"]["id"] in self.items

    def happens(self, *happened: events.Event) -> None:
        self.follow(self.client.told(*happened))

    # -- what the session does ----------------------------------------------------------------------------------------------

    def ended(self, by: str) -> None:
        if self.live:
            self.live = False
            self.happens(events.Interrupted(self.epoch, 0.0, "", by))

    @precondition(lambda self: not self.speaks)
    @rule()
    def user_begins(self) -> None:
        self.at += 1.0
        self.client.says(noise(1.0, 24000))
        self.speaks = True
        self.happens(events.SpeechBegan(self.at - 0.2))
        self.ended("voice")

    @precondition(lambda self: self.speaks)
    @rule(answers=st.booleans())
    def user_ends(self, answers: bool) -> None:
        self.speaks = False
        self.happens(events.SpeechEnded(self.at, 0.2))
        if answers and not self.wishes:
            self.answer_begins()

    @precondition(lambda self: self.wishes and not self.speaks)
    @rule()
    def answer_begins(self) -> None:
        self.ended("turn")
        self.epoch, self.live, self.made, self.wishes = self.epoch + 1, True, False, 0
        self.happens(events.AnswerBegan(self.epoch))

    @precondition(lambda self: self.live and not self.made)
    @rule(text=st.text(max_size=5), seconds=st.sampled_from([0.01, 0.08]))
    def answer_goes_on(self, text: str, seconds: float) -> None:
        self.happens(events.Words(self.epoch, text), sound(self.epoch, seconds), events.Heard(self.epoch, 0.2, 0.3))

    @precondition(lambda self: self.live and not self.made)
    @rule(fails=st.booleans())
    def answer_is_made(self, fails: bool) -> None:
        self.made = True
        if fails:
            self.happens(events.Failed("no_answer", "it says nothing"))
        self.happens(events.AnswerMade(self.epoch, 1.0))

    @precondition(lambda self: self.live and self.made)
    @rule()
    def answer_was_played(self) -> None:
        self.live = False
        self.happens(events.AnswerEnded(self.epoch, 1.0, "it"))

    @rule(stale=st.integers(1, 3))
    def something_old_comes(self, stale: int) -> None:
        self.happens(events.Words(self.epoch - stale, OLD), sound(self.epoch - stale, 0.01))

    # -- what the client does -------------------------------------------------------------------------------------------------

    @rule()
    def client_asks(self) -> None:
        told = self.client.send("response.create")
        refused = [one for one in told if one["type"] == "error"]
        assert bool(refused) == bool(self.wishes or self.open), "it is refused while an answer is made, and only then"
        self.wishes += not refused
        self.follow(told)

    @rule()
    def client_cancels(self) -> None:
        told = self.client.send("response.cancel")
        self.follow(told)
        if not told and self.live:
            self.ended("client")

    @rule(what=st.sampled_from(["commit", "clear"]))
    def client_says_that_it_is_over(self, what: str) -> None:
        self.follow(self.client.send(f"input_audio_buffer.{what}"))

    @precondition(lambda self: self.items)
    @rule(number=st.integers(0, 50), what=st.sampled_from(["delete", "retrieve", "truncate"]))
    def client_looks_at_an_item(self, number: int, what: str) -> None:
        more = {"content_index": 0, "audio_end_ms": 0} if what == "truncate" else {}
        name = self.items[number % len(self.items)]
        calls = len(self.client.session.calls)
        told = self.client.send(f"conversation.item.{what}", item_id=name, **more)
        assert len(told) == 1
        self.follow(told)
        if len(self.client.session.calls) > calls and self.live:
            self.ended("client")

    @invariant()
    def an_answer_that_is_told_is_one_that_goes_on(self) -> None:
        if hasattr(self, "open"):
            assert bool(self.open) == (self.live and not self.made)


Following.TestCase.settings = trying(max_examples=25, stateful_step_count=30, deadline=None)
TestFollowing = Following.TestCase
