"""The one tree of errors; each class carries a retry rule for the worker and an exit code for the command line.

::

    DuplexforgeError                 bug (70)      permanent
    ├── UsageError                   2             permanent   the command line is wrong
    ├── ConfigError                  78            halt        settings are wrong or missing (all of them named at once)
    ├── InputError                   65            permanent   the input is to blame: corrupt audio, gone video, bad task body
    ├── ModelError                   69            halt        a model is missing or gated on this machine
    ├── RetryLater                   75            later       nothing wrong with the task: throttled, network, hub
    │   ├── StoreError               75            later       the object store did not answer as it should
    │   └── Throttled                75            wait        asked to come back later: the task goes back uncounted
    ├── SiteBroken                   75            halt        what reads a site is broken for everybody: update it
    ├── DeviceLost                   75            broken      the GPU context is beyond repair: this process must end
    ├── LeaseLost                    75            abandon     another worker holds the task now
    └── Preempted                    0             release     this worker was asked to stop

A message is one sentence and, where there is one, what to do next. ``reason`` is a short class word that is counted.
"""

from __future__ import annotations

from enum import Enum


class Retry(Enum):
    """What the worker does with a lease whose task raised the error."""

    PERMANENT = "permanent"
    LATER = "later"
    WAIT = "wait"
    HALT = "halt"
    BROKEN = "broken"
    ABANDON = "abandon"
    RELEASE = "release"


class DuplexforgeError(Exception):
    """Root of the tree. ``reason`` is the word under which the error is counted."""

    retry = Retry.PERMANENT
    exit_code = 70
    default_reason = "bug"

    def __init__(self, message: str, *, reason: str | None = None) -> None:
        super().__init__(message)
        self.reason = reason or self.default_reason


class UsageError(DuplexforgeError):
    """The command line does not make sense."""

    exit_code = 2
    default_reason = "usage"


class ConfigError(DuplexforgeError):
    """Settings are wrong or missing, or a key or token is refused: no task would fare better, so none is blamed."""

    retry = Retry.HALT
    exit_code = 78
    default_reason = "configuration"


class InputError(DuplexforgeError):
    """The input is to blame and trying again cannot help."""

    exit_code = 65
    default_reason = "bad_input"


class ModelError(DuplexforgeError):
    """A model is missing or gated; the task is innocent, this worker cannot go on."""

    retry = Retry.HALT
    exit_code = 69
    default_reason = "model_missing"


class RetryLater(DuplexforgeError):
    """Not the task's fault: try again, no sooner than ``after`` seconds from now (None: the queue's own back-off)."""

    retry = Retry.LATER
    exit_code = 75
    default_reason = "temporary"

    def __init__(self, message: str, *, reason: str | None = None, after: float | None = None) -> None:
        super().__init__(message, reason=reason)
        self.after = after


class StoreError(RetryLater):
    """The object store failed or refused; ``reason`` tells access from outage."""

    default_reason = "store"


class Throttled(RetryLater):
    """The other side wants fewer requests: nobody's failure, so the task goes back uncounted for ``after`` seconds."""

    retry = Retry.WAIT
    default_reason = "throttled"


class SiteBroken(DuplexforgeError):
    """What reads a site fails on one item after the other: no item is to blame, and going on would only burn them."""

    retry = Retry.HALT
    exit_code = 75
    default_reason = "extractor"


class DeviceLost(DuplexforgeError):
    """The GPU broke under a task: that task has failed once, and this process touches no other."""

    retry = Retry.BROKEN
    exit_code = 75
    default_reason = "device_lost"


class LeaseLost(DuplexforgeError):
    """Another attempt owns the task; whatever this one wrote will never be referenced."""

    retry = Retry.ABANDON
    exit_code = 75
    default_reason = "lease_lost"


class Preempted(DuplexforgeError):
    """The worker is stopping; the task goes back unharmed and uncounted."""

    retry = Retry.RELEASE
    exit_code = 0
    default_reason = "preempted"
