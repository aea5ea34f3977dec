"""What always holds of the floor, whatever happens in whatever order."""

from __future__ import annotations

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from duplexforge.serving.actions import Action, Attend, Broken, Made, Whole
from duplexforge.serving.events import AnswerBegan, Ducked, Resumed, SpeechBegan, SpeechEnded
from duplexforge.serving.session import SessionConfig
from duplexforge.serving.turns import Turns

WINDOW = 0.032

configs = st.builds(
    SessionConfig,
    mode=st.sampled_from(["stream", "turn"]),
    turns=st.sampled_from(["server", "client"]),
    interruption=st.booleans(),
    answers=st.booleans(),
    confirm=st.sampled_from([0.0, 0.1, 0.24, 0.6]),
    silence=st.sampled_from([0.2, 0.6]),
)


class Talking(RuleBasedStateMachine):
    """A user, a client and a model that do what they like; ``follow`` is the reader who checks what is told."""

    @initialize(config=configs, decides=st.booleans())
    def begin(self, config: SessionConfig, decides: bool) -> None:
        self.turns, self.decides = Turns(config, decides=decides), decides
        self.now, self.at, self.made = 50.0, 0.0, 0.0
        self.epoch, self.live, self.ducked, self.speaking = 0, False, False, False
        self.said = False

    def follow(self, actions: list[Action]) -> None:
        for action in actions:
            match action:
                case SpeechBegan(at):
                    assert not self.speaking, "a turn within a turn"
                    assert 0.0 <= at <= self.at
                    self.speaking = True
                case SpeechEnded(at, after):
                    assert self.speaking, "the end of a turn that did not begin"
                    assert at <= self.at + 1e-9
                    assert after >= 0.0
                    self.speaking = False
                case Attend(since):
                    assert 0.0 <= since <= self.at + 1e-9
                case AnswerBegan(epoch):
                    assert not self.live, "two answers at once"
                    assert epoch > self.epoch, "epochs only rise"
                    self.epoch, self.live, self.ducked, self.said, self.made = epoch, True, False, False, 0.0
                case Ducked(epoch):
                    assert (self.live, self.ducked, epoch) == (True, False, self.epoch)
                    self.ducked = True
                case Resumed(epoch):
                    assert (self.live, self.ducked, epoch) == (True, True, self.epoch)
                    self.ducked = False
                case Broken(epoch, played, by):
                    assert (self.live, epoch) == (True, self.epoch), "an answer ends once"
                    assert -1e-9 <= played <= self.made + 1e-9
                    assert by in ("voice", "client", "turn")
                    self.live = self.ducked = False
                case Made(epoch):
                    assert (self.live, self.said, epoch) == (True, False, self.epoch)
                    self.said = True
                case Whole(epoch):
                    assert (self.live, epoch) == (True, self.epoch), "an answer ends once"
                    self.live = self.ducked = False

    @rule(windows=st.integers(1, 25), probability=st.sampled_from([0.0, 0.4, 0.95]))
    def user(self, windows: int, probability: float) -> None:
        for _ in range(windows):
            self.at += WINDOW
            self.now += WINDOW
            self.tick()
            if self.turns.watches:
                self.follow(self.turns.voice(probability, self.at, self.now))
            self.turns.heard(self.at, self.now)

    @rule(seconds=st.floats(0.0, 4.0))
    def waits(self, seconds: float) -> None:
        self.now += seconds
        self.tick()

    def tick(self) -> None:
        for _ in range(10):
            due = self.turns.due()
            if due is None or due > self.now:
                return
            self.follow(self.turns.tick(self.now))
        raise AssertionError("what is due does not happen")

    @rule(probability=st.floats(0, 1))
    def thinks(self, probability: float) -> None:
        self.follow(self.turns.thinks(probability, self.now))

    @rule(seconds=st.floats(0.0, 2.0), handed=st.booleans(), finished=st.booleans())
    @precondition(lambda self: self.live)
    def model(self, seconds: float, handed: bool, finished: bool) -> None:
        self.turns.made(seconds, self.now)
        if handed:
            self.made += seconds
            self.turns.handed(self.epoch, seconds, self.now)
        if finished:
            self.follow(self.turns.finished(self.now))

    @rule()
    @precondition(lambda self: self.decides and not self.turns.open)
    def speaks(self) -> None:
        self.follow(self.turns.speaks(self.now))

    @rule()
    @precondition(lambda self: not self.turns.empty)
    def commit(self) -> None:
        self.follow(self.turns.commit(self.now))

    @rule()
    def clear(self) -> None:
        self.follow(self.turns.clear())

    @rule()
    def respond(self) -> None:
        self.follow(self.turns.respond(self.now))
        assert self.live

    @rule(played=st.none() | st.floats(-1, 10))
    def interrupt(self, played: float | None) -> None:
        self.follow(self.turns.interrupt(played, self.now))
        assert not self.live

    @rule(behind=st.integers(0, 2), seconds=st.floats(-1, 10))
    def played(self, behind: int, seconds: float) -> None:
        self.follow(self.turns.played(self.epoch - behind, seconds, self.now))

    @rule(config=configs)
    def configure(self, config: SessionConfig) -> None:
        self.follow(self.turns.configure(dataclasses.replace(config)))

    @invariant()
    def agree(self) -> None:
        assert self.turns.live == (self.epoch if self.live else None)
        assert self.turns.speaking == self.speaking
        assert not (self.speaking and self.live), "nobody speaks on without the other being stopped"
        assert self.turns.counts.answers == self.turns.epoch == self.epoch

    def teardown(self) -> None:
        if hasattr(self, "turns"):
            self.follow(self.turns.end())
            assert not self.live


Talking.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestTalking = Talking.TestCase
