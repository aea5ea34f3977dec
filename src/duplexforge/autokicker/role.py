"""The loop: look, decide, act; on every change that is seen, and when time alone may change the decision."""

from __future__ import annotations

import os
import socket
import threading
import time
from dataclasses import dataclass

from duplexforge import log, metrics
from duplexforge.autokicker.act import Hands
from duplexforge.autokicker.cluster import Cluster, ClusterError
from duplexforge.autokicker.decide import Action, quiet_time
from duplexforge.autokicker.election import Election
from duplexforge.autokicker.eyes import Eyes, Workload
from duplexforge.autokicker.journal import Journal
from duplexforge.autokicker.lending import Loan, lend
from duplexforge.autokicker.memory import Memory, derive, next_look
from duplexforge.autokicker.world import Observation
from duplexforge.config import AutokickSettings
from duplexforge.errors import ConfigError, RetryLater

# Changes come in bursts (a pod, its node, its Deployment): one decision for those that come together.
_GATHER = 0.01
_LONGEST_PAUSE = 30.0
# Times INTERVAL between two notes of the GPU time where nothing is decided.
_NOTE_EVERY = 20


@dataclass(frozen=True)
class Look:
    """One look for a person: what was seen, what would be done about it, who leads."""

    seen: Observation
    action: Action
    leader: str
    loan: Loan | None = None


@dataclass(frozen=True)
class _Written:
    """The replicas that were written last, ``against`` which version of the Deployment: the next one is our own."""

    replicas: int
    against: str


class Autokicker:
    """One autokicker process. ``stop`` may be called from a signal."""

    def __init__(
        self,
        cluster: Cluster,
        config: AutokickSettings,
        *,
        workload: Workload | None = None,
        dry_run: bool = False,
        name: str = "",
    ) -> None:
        self._cluster, self._config, self._dry_run = cluster, config, dry_run
        self._namespace = config.namespace or cluster.namespace
        me = name or f"{socket.gethostname()}_{os.getpid()}"
        self._stopping, self._change = threading.Event(), threading.Event()
        self._changed_at = 0.0
        self._eyes = Eyes(cluster, self._namespace, config, workload=workload, changed=self._wake)
        self._hands = Hands(cluster, self._namespace, me=me, dry_run=dry_run)
        self._election = Election(
            cluster, self._namespace, config.lease_name, me=me, length=config.leader_seconds, changed=self._wake
        )
        self._journal = Journal(config.resource)
        self._memory: Memory | None = None
        self._wrote: _Written | None = None
        self._said: tuple[str, str] = ("", "")
        self._log = log.get("autokick")
        self.moved_at = self._noted = time.monotonic()

    @property
    def seeing(self) -> bool:
        """Whether the cluster can be seen now."""
        return not self._eyes.fault()

    def stop(self) -> None:
        """Ask for an end; the scale stays as it is."""
        self._stopping.set()
        self._change.set()

    def run(self) -> None:
        """Look after the Deployment until stopped."""
        self._open()
        if not self._dry_run:
            self._election.start()
        pause, failures = 0.0, 0
        try:
            while not self._stopping.is_set():
                self._change.wait(pause)
                if self._change.is_set():
                    self._stopping.wait(_GATHER)
                self._change.clear()
                try:
                    pause, failures = self._turn(), 0
                except ClusterError as error:
                    failures += 1
                    pause = max(min(_LONGEST_PAUSE, 0.2 * 2 ** min(failures, 10)), error.after or 0.0)
                    self._log.warning("not done; the scale stays as it is", error=str(error), again_in=round(pause, 1))
                    self._stopping.wait(min(pause, 1.0))
        finally:
            self._eyes.close()
            self._election.stop()

    def look(self) -> Look:
        """One look, writing nothing. Raises RetryLater when the cluster cannot be seen within CLUSTER_TIMEOUT."""
        self._open()
        until = time.monotonic() + self._config.cluster_timeout
        while (fault := self._eyes.fault()) and time.monotonic() < until:
            self._change.wait(0.05)
            self._change.clear()
        self._eyes.close()
        if fault:
            raise RetryLater(f"cannot see enough to decide: {fault}", reason="cluster")
        self._eyes.ask_rivals(write=False)
        self._eyes.ask_queue()
        seen = self._eyes.look()
        loan, _ = lend(seen, derive(seen, self._config.resource), self._config)
        self._election.once_seen()
        return Look(seen, loan.action, self._election.holder, loan)

    def act_once(self) -> Look:
        """Look and act once, as the leader. RetryLater while another autokicker leads, ConfigError beside an HPA."""
        if not self._dry_run:
            self._election.once()
            if not self._election.leading:
                raise RetryLater(f"{self._election.holder} leads; only one may set the replicas", reason="not_leading")
        try:
            found = self.look()
            self._eyes.ask_rivals(write=not self._dry_run)
            if found.seen.rival:
                self._hands.tell(found.seen.target, "Conflict", found.action.reason, warning=True)
                raise ConfigError(found.action.reason)
            self._apply(found.seen, found.action)
            self._lend(found.seen, found.loan or Loan(found.action))
        finally:
            self._election.stop()
        return found

    # -- one turn --------------------------------------------------------------------------------------------------

    def _open(self) -> None:
        self._eyes.open(write=lambda: self._election.leading)
        if not self._config.probe and not self._eyes.exact:
            raise ConfigError(
                "PROBE=false wants to see nodes and all pods, which this account may not list: "
                "grant the read-only ClusterRole, or set PROBE=true"
            )

    def _wake(self) -> None:
        if not self._change.is_set():
            self._changed_at = time.monotonic()
        self._change.set()

    def _turn(self) -> float:
        """Look, decide and act; how long nothing but a change needs another look, in seconds."""
        self.moved_at = time.monotonic()
        leading = self._election.leading
        metrics.AUTOKICK_LEADING.set(leading)
        fault = self._eyes.fault()
        metrics.AUTOKICK_BLIND.set(bool(fault))
        if fault or not (leading or self._dry_run):
            # Another leader decides meanwhile: what this one remembers will be old when it leads again.
            self._memory = None if not leading else self._memory
            self._say("blind" if fault else "standing by", fault or f"{self._election.holder or 'nobody'} leads")
            return self._config.interval
        seen = self._eyes.look()
        if self._wrote is not None and seen.target.version == self._wrote.against:
            # The Deployment's mirror has not shown our own write yet: it wakes us when it does.
            return self._config.interval
        if self._memory is None:
            # Before its first word a new leader makes sure that nobody else sets the replicas.
            self._eyes.ask_rivals(write=not self._dry_run)
            seen = self._eyes.look()
            self._memory = derive(seen, self._config.resource)
            if not self._dry_run:
                self._journal.restore(self._election.notes())
        loan, memory = lend(seen, self._memory, self._config)
        self._journal.account(seen, loan.action)
        self._apply(seen, loan.action)
        self._lend(seen, loan)
        if time.monotonic() - self._noted > _NOTE_EVERY * self._config.interval:
            # GPU time goes by without decisions too.
            self._note()
        # Remembered only when it was done: what failed is decided anew.
        self._memory = memory
        wait = next_look(memory, time.time(), self._config.escalation_seconds, quiet_time(self._config))
        return min(self._config.interval, wait + _GATHER if wait is not None else self._config.interval)

    def _apply(self, seen: Observation, action: Action) -> None:
        self._report(seen, action)
        if action.word in ("hold", "passive") or action.replicas == seen.target.replicas:
            return
        if not self._hands.carry_out(action, seen):
            return
        # A dry run changes nothing and so has nothing to remember or to wait for.
        if self._dry_run:
            return
        # Only decisions that answer a change have a reaction time; others come because time has passed.
        if self._changed_at:
            metrics.AUTOKICK_REACTION.observe(time.monotonic() - self._changed_at)
        self._wrote = _Written(action.replicas, seen.target.version)
        self._journal.add(action, seen.target.replicas, seen.now)
        self._note()

    def _lend(self, seen: Observation, loan: Loan) -> None:
        """Suspend and resume Jobs; each is a decision like those about the replicas, which stay as they are."""
        replicas = loan.action.replicas
        for word, jobs in (("yield", loan.suspend), ("grow", loan.resume)):
            for job in jobs:
                if self._hands.put_off(job, suspended=word == "yield", reason=loan.reason, now=seen.now):
                    said = f"Job {job.name} is {'suspended' if word == 'yield' else 'resumed'}: {loan.reason}"
                    self._journal.add(Action(word, replicas, said, job.placed), replicas, seen.now)
                    self._note()

    def _note(self) -> None:
        if not self._dry_run:
            self._election.note(self._journal.notes())
        self._noted = time.monotonic()

    def _report(self, seen: Observation, action: Action) -> None:
        """Say what is new: why nothing is done, and that somebody else has set the replicas."""
        wrote, found = self._wrote, seen.target.replicas
        # What is looked at is later than our write, or there would be no look: another number is another's.
        if wrote is not None and found != wrote.replicas:
            text = (
                f"somebody else set {found} replicas, the autokicker had set {wrote.replicas}; to bound it, "
                "annotate the Deployment with duplexforge.io/autokick-min, -max or -paused"
            )
            self._log.warning("somebody else set the replicas", found=found, wrote=wrote.replicas)
            self._hands.tell(seen.target, "ReplicasChanged", text, warning=True)
            self._wrote = None
        if action.word == "passive" and self._said != ("passive", action.reason):
            self._hands.tell(
                seen.target, "Conflict" if seen.rival else "Paused", action.reason, warning=bool(seen.rival)
            )
        if action.word in ("hold", "passive"):
            self._say(action.word, action.reason)

    def _say(self, word: str, why: str) -> None:
        """Log a state once, not at every look."""
        if (word, _gist(why)) != (self._said[0], _gist(self._said[1])):
            (self._log.warning if word in ("blind", "passive") else self._log.info)(word, why=why)
        self._said = (word, why)


def _gist(text: str) -> str:
    """A reason without its numbers, which change all the time."""
    return "".join(letter for letter in text if not letter.isdigit())
