"""Who has the floor: when a turn of the user is over, when an answer begins, and what breaks it off.

A machine without a clock or a network of its own: it is told what happened, each time with ``now`` (seconds of a clock that
never goes back) and, for the user's sound, ``at`` (seconds of their stream), and says what follows from it.

* The user's turn ends after ``silence`` seconds without voice, or after ``sure_silence`` when the model is sure, or when the
  client says so.
* Voice during an answer ducks it at once. Voice for ``confirm`` seconds breaks it off; when it falls silent before, it was a
  false alarm, and the answer goes on.
* There is one answer at a time, its epoch is higher than those before, and it ends exactly once: whole or broken off.

In the mode ``turn``, and without interruption, the user's voice during an answer is no turn: it may be the answer's own echo.
"""

from __future__ import annotations

from duplexforge.serving.actions import Action, Attend, Broken, Counts, Made, Whole
from duplexforge.serving.events import AnswerBegan, Ducked, Resumed, SpeechBegan, SpeechEnded
from duplexforge.serving.playing import Live
from duplexforge.serving.session import SessionConfig
from duplexforge.serving.voicing import Voicing

__all__ = ["Action", "Attend", "Broken", "Counts", "Made", "Turns", "Whole"]

_DUCK = 0.064
"""Seconds of voice that duck an answer: two windows, since one is often a click."""
_ONSET = 0.096
"""Seconds of voice that begin a turn."""
_STRAY = 0.1
"""Silence after which less voice than that is forgotten."""
_GAP = 0.2
"""Silence after which a duck was a false alarm; shorter gaps are within words."""
_TAKEN_OVER = 0.5
"""An answer of which less was heard when the user goes on came too early: the turn before goes on."""
_LULL = 1.0
"""Seconds without any sound from the client after which a duck was a false alarm."""
_STALL = 2.0
"""The same for an open turn: who sends nothing while silent has finished, and a network that stalls mostly comes back before."""


class Turns:
    """The floor of one conversation. ``decides``: the model begins by itself, and nobody tells it to."""

    def __init__(self, config: SessionConfig, *, decides: bool = False) -> None:
        self.config, self.counts, self.epoch = config, Counts(), 0
        self.after: float | None = None
        """When the last sound before the last answer arrived, which was its question; None: the user had said nothing."""
        self._spoke: float | None = None
        """The same for the turn that goes on."""
        self._decides = decides
        self._voicing = Voicing()
        self._live: Live | None = None
        self._speaking = False
        self._at = self._mark = self._ended = 0.0
        """The user's stream: heard so far, belonging to turns that are over, and where the last of these ended."""
        self._arrived = self._onset = 0.0
        self._turn = 0.0
        """The model's last probability that the turn is over, since there was voice."""

    @property
    def live(self) -> int | None:
        """The epoch of the answer that goes on."""
        return self._live.epoch if self._live else None

    @property
    def open(self) -> bool:
        """Whether an answer goes on of which the model has not yet said all."""
        return self._live is not None and not self._live.finished

    @property
    def whole(self) -> bool:
        """Whether the answer that goes on is to be handed over whole."""
        return self._live is not None and self._live.whole

    @property
    def speaking(self) -> bool:
        """Whether a turn of the user is open."""
        return self._speaking

    @property
    def empty(self) -> bool:
        """Whether nothing was heard since the last turn."""
        return self._at <= self._mark

    @property
    def watches(self) -> bool:
        """Whether anybody wants to know where there is voice."""
        return self.config.turns == "server" or (self.config.interruption and self.config.mode == "stream")

    # -- the user's side ------------------------------------------------------------------------------------------------

    def heard(self, at: float, now: float) -> None:
        """The user's stream has come up to ``at``, whatever is in it."""
        self._at, self._arrived = at, now
        if not self.watches:
            self._spoke = now

    def voice(self, probability: float, at: float, now: float) -> list[Action]:
        """A window of the stream that ends at ``at`` is voice with this probability."""
        fresh = self._voicing.since is None
        self._voicing.hear(probability, at, self.config.vad_threshold)
        self._at, self._arrived = max(at, self._at), now
        if self._voicing.voiced:
            self._spoke, self._turn = now, 0.0
            self._onset = now if fresh else self._onset
        if self._live is not None:
            return self._meanwhile(self._live, now)
        if self.config.turns == "client":
            return self._stray()
        return self._ending(now) if self._speaking else self._beginning()

    def thinks(self, probability: float, now: float) -> list[Action]:
        """The model holds the user's turn to be over with this probability."""
        self._turn = 0.0 if self._voicing.voiced else probability
        return self._ending(now) if self._speaking and self._live is None else []

    def commit(self, now: float) -> list[Action]:
        """The client says that the turn is over."""
        self.counts.turns += not self._speaking
        self._spoke = self._arrived if self._spoke is None else self._spoke
        return self._closed() + (self._answered(now) if self.config.answers else [])

    def clear(self) -> list[Action]:
        """What was heard since the last turn is to be forgotten."""
        actions = self._closed()
        self._spoke = None
        return [*actions, Attend(self._mark)]

    # -- the answer's side ----------------------------------------------------------------------------------------------

    def respond(self, now: float) -> list[Action]:
        """Answer now; an open turn is over with it, and an older answer broken off."""
        return self._closed() + self._answered(now)

    def speaks(self, now: float) -> list[Action]:
        """A model that decides by itself has begun to speak, and no answer is open; what it had said all of is over."""
        return self.end() + self._closed() + self._answered(now)

    def interrupt(self, played: float | None, now: float) -> list[Action]:
        """The client breaks off the answer that goes on, if there is one."""
        if self._live is None:
            return []
        self.counts.stopped += 1
        return self._broken(self._live, "client", now, played)

    def made(self, seconds: float, now: float) -> None:
        """The model has said so much more (0: text alone)."""
        if self._live is not None:
            self._live.last = now
            self._live.playing.made += seconds

    def handed(self, epoch: int, seconds: float, now: float) -> None:
        """A piece of answer ``epoch`` went out to the client."""
        if self._live is not None and self._live.epoch == epoch:
            self._live.playing.hand(seconds, now)

    def played(self, epoch: int, seconds: float, now: float) -> list[Action]:
        """The client has played so much of answer ``epoch``; of another than this one nothing follows."""
        if self._live is None or self._live.epoch != epoch:
            return []
        self._live.playing.report(seconds)
        return self._settled(now)

    def finished(self, now: float) -> list[Action]:
        """The model has said all of its answer."""
        made: list[Action] = []
        if self._live is not None and not self._live.finished:
            self._live.finished = True
            made = [Made(self._live.epoch)]
        return made + self._settled(now)

    # -- time -----------------------------------------------------------------------------------------------------------

    def configure(self, config: SessionConfig) -> list[Action]:
        """From now on, run so. A turn that the server watched ends without an answer when the client is to say."""
        self.config, live = config, self._live
        if live is not None and live.ducked and not (config.interruption and self.watches):
            return self._false_alarm()
        return self._closed() if config.turns == "client" and self._speaking else []

    def due(self) -> float | None:
        """When ``tick`` is to be called next; None: nothing is to happen by itself."""
        return min((when for when, _ in self._deadlines()), default=None)

    def tick(self, now: float) -> list[Action]:
        """Time has passed."""
        ready = [what for when, what in self._deadlines() if when <= now]
        if "over" in ready:
            return self._settled(now)
        if "quiet" in ready:
            return self.finished(now)
        if "lull" in ready:
            return self._false_alarm()
        return self._over(now, self._arrived) if "stall" in ready else []

    def end(self) -> list[Action]:
        """The conversation ends: so does its answer."""
        live, self._live = self._live, None
        return [Whole(live.epoch)] if live else []

    def _deadlines(self) -> list[tuple[float, str]]:
        live, found = self._live, []
        if live is not None and live.finished and (end := live.playing.end()) is not None:
            found.append((end, "over"))
        if live is not None and self._decides and not live.finished:
            found.append((live.quiet(), "quiet"))
        if live is not None and live.ducked:
            found.append((self._arrived + _LULL, "lull"))
        if self._speaking and live is None:
            found.append((self._arrived + max(_STALL, self.config.silence), "stall"))
        return found

    # -- what follows ---------------------------------------------------------------------------------------------------

    def _beginning(self) -> list[Action]:
        since = self._voicing.since
        if since is None or not self._voicing.spoken(_ONSET):
            return self._stray()
        self._speaking = True
        return [SpeechBegan(since), self._attend(since)]

    def _ending(self, now: float) -> list[Action]:
        sure = self._turn >= self.config.sure and self._voicing.silent(self.config.sure_silence)
        return self._over(now, now) if sure or self._voicing.silent(self.config.silence) else []

    def _over(self, now: float, until: float) -> list[Action]:
        actions = self._closed(self._voicing.silence + max(now - until, 0.0))
        return actions + (self._answered(now) if self.config.answers and not self._decides else [])

    def _meanwhile(self, live: Live, now: float) -> list[Action]:
        """Voice, or silence, during an answer."""
        if not self.config.interruption or live.whole:
            self._voicing.drop()
            return []
        if self._voicing.spoken(max(self.config.confirm, _DUCK)):
            return self._broken_in(live, now)
        if live.ducked:
            return self._false_alarm() if self._voicing.silent(_GAP) else []
        if not self._voicing.spoken(_DUCK):
            return self._stray()
        live.ducked = True
        self.counts.ducks.append(now - self._onset)
        return [Ducked(live.epoch)]

    def _broken_in(self, live: Live, now: float) -> list[Action]:
        since = self._voicing.since or 0.0
        goes_on = live.playing.heard(now) < _TAKEN_OVER and since - self._ended < _STALL
        self.counts.interruptions += 1
        self.counts.stops.append(now - self._onset)
        self._speaking = self.config.turns == "server"
        began: list[Action] = [SpeechBegan(since)] if self._speaking else []
        return [*began, *self._broken(live, "voice", now), *([] if goes_on else [self._attend(since)])]

    def _false_alarm(self) -> list[Action]:
        assert self._live is not None
        self._live.ducked = False
        self._voicing.drop()
        self.counts.false_alarms += 1
        return [Resumed(self._live.epoch)]

    def _stray(self) -> list[Action]:
        if self._voicing.silent(_STRAY):
            self._voicing.drop()
        return []

    def _attend(self, since: float) -> Attend:
        return Attend(max(since - self.config.prefix, 0.0))

    def _closed(self, after: float | None = None) -> list[Action]:
        """End the user's turn if one is open; what was heard so far belongs to it."""
        said = self._speaking
        ended = SpeechEnded(self._voicing.last, self._voicing.silence if after is None else after)
        self.counts.turns += said
        self._speaking, self._turn = False, 0.0
        self._mark, self._ended = self._at, self._voicing.last if said else self._at
        self._voicing.drop()
        return [ended] if said else []

    def _answered(self, now: float) -> list[Action]:
        """A new answer begins."""
        actions = self._broken(self._live, "turn", now) if self._live else []
        self.epoch += 1
        self.counts.answers += 1
        self._live = Live(self.epoch, now, self.config.mode == "turn")
        self.after, self._spoke = self._spoke, None
        # The server's turns say themselves where the next one begins; the client's begins behind this one.
        after: list[Action] = [Attend(self._mark)] if self.config.turns == "client" else []
        return [*actions, AnswerBegan(self.epoch), *after]

    def _broken(self, live: Live, by: str, now: float, told: float | None = None) -> list[Action]:
        self._live = None
        return [Broken(live.epoch, live.playing.heard(now, told), by)]

    def _settled(self, now: float) -> list[Action]:
        """End the answer when it is over: said, and played as far as anybody can tell."""
        live = self._live
        end = live.playing.end() if live is not None and live.finished else None
        if live is None or not live.finished or not (live.whole or (end is not None and end <= now)):
            return []
        return self.end()
