"""This machine's part of a run on several: torchrun's agent, in this process, with exit codes that say what happened.

torchrun itself ends with 1 whatever its processes ended with, and gives them 30 s after SIGTERM. Here a stopped run ends
with 75 (a Job starts it again and counts no failure), wrong settings or data with their own codes (a Job gives up), and a
process that is asked to stop has as long as the caller says to save and send its checkpoint.
"""

from __future__ import annotations

import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import FrameType
from typing import NoReturn

from duplexforge.errors import ConfigError, InputError, ModelError, RetryLater, UsageError

__all__ = ["Meeting", "code_of", "run"]

# What trying again cannot cure, in the order in which one of them is told.
_FINAL = (ConfigError.exit_code, UsageError.exit_code, InputError.exit_code, ModelError.exit_code)


@dataclass(frozen=True)
class Meeting:
    """How the machines find each other: ``endpoint`` is HOST:PORT on machine number 0, ``name`` tells runs apart.

    ``number`` is this machine's, out of ``machines``; ``processes`` start here (``auto``: one a GPU, else one).
    ``wait_seconds`` is how long one waits for the others, ``stop_seconds`` how long a process may take to stop.
    """

    machines: int = 1
    number: int = 0
    endpoint: str = "localhost:29400"
    name: str = "duplexforge"
    processes: str = "auto"
    wait_seconds: int = 600
    stop_seconds: int = 25


def run(command: Sequence[str], meeting: Meeting) -> int:
    """Run ``duplexforge COMMAND`` in every process; the exit code for all of them. A ModelError without torch."""
    # Until the agent has its own handler a signal would end this process with a code that says nothing.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _asked_to_stop)
    try:
        import torch
        from torch.distributed import run as torchrun
        from torch.distributed.elastic.multiprocessing.api import SignalException
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.elastic.rendezvous.api import RendezvousError
    except ImportError as error:
        raise ModelError("training wants torch: pip install torch, then duplexforge[train]") from error
    processes = meeting.processes if meeting.processes != "auto" else str(max(1, torch.cuda.device_count()))
    try:
        torchrun.run(torchrun.parse_args([*_options(meeting, processes), "-m", "duplexforge", *command]))
    except ChildFailedError as error:
        return code_of(failure.exitcode for failure in error.failures.values())
    except SignalException:
        return RetryLater.exit_code
    except RendezvousError as error:
        raise RetryLater(f"the machines did not meet at {meeting.endpoint}: {error}", reason="meeting") from error
    return 0


def _options(meeting: Meeting, processes: str) -> list[str]:
    conf = f"join_timeout={meeting.wait_seconds},is_host={int(meeting.number == 0)}"
    return [
        f"--nnodes={meeting.machines}",
        f"--nproc-per-node={processes}",
        "--rdzv-backend=c10d",
        f"--rdzv-endpoint={meeting.endpoint}",
        f"--rdzv-id={meeting.name}",
        f"--rdzv-conf={conf}",
        # A process that fails ends them all: the next attempt starts from a checkpoint, on machines that are there.
        "--max-restarts=0",
        f"--shutdown-timeout={meeting.stop_seconds}",
    ]


def code_of(codes: Iterable[int]) -> int:
    """One exit code for several processes: what cannot be cured goes first, then a plain failure, then "try again"."""
    ended = [code for code in codes if code]
    for code in _FINAL:
        if code in ended:
            return code
    others = [code for code in ended if code != RetryLater.exit_code]
    # A process that fails leaves the others without a partner, and those say 75. One that was killed has no code.
    if others:
        return max((code for code in others if code > 0), default=1)
    return RetryLater.exit_code if ended else 0


def _asked_to_stop(number: int, _: FrameType | None) -> NoReturn:
    raise RetryLater(f"stopped by {signal.Signals(number).name} before the others were met", reason="stopped")
