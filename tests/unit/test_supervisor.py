"""The supervisor with real child processes: restarts, hopeless ends, stops, and children that outlive nobody."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from duplexforge.limits import RECYCLED
from duplexforge.supervisor import Slot, Supervisor, gpus, slots

HANG_GUARD = 30.0


def script(folder: Path, body: str) -> list[str]:
    """A child command that runs ``body``; its arguments end in ``--slot N`` as the supervisor adds them."""
    path = folder / "child.py"
    path.write_text(body)
    return [sys.executable, str(path), str(folder)]


def wait_until(condition: object, what: str) -> None:
    deadline = time.monotonic() + HANG_GUARD
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


def test_every_slot_runs_once_with_its_environment(tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import os, pathlib, sys\n"
        "pathlib.Path(sys.argv[1], 'slot-' + sys.argv[-1]).write_text(os.environ['CUDA_VISIBLE_DEVICES'])\n",
    )
    children = [Slot(0, {"CUDA_VISIBLE_DEVICES": "0"}), Slot(1, {"CUDA_VISIBLE_DEVICES": "1"})]
    assert Supervisor(command, children, grace=5).run() == 0
    assert [(tmp_path / f"slot-{n}").read_text() for n in (0, 1)] == ["0", "1"]


def test_dead_child_is_restarted_until_it_ends_well(tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import os, pathlib, signal, sys\n"
        "marks = pathlib.Path(sys.argv[1], 'marks')\n"
        "marks.open('a').write('x')\n"
        "seen = len(marks.read_text())\n"
        "os.kill(os.getpid(), signal.SIGKILL) if seen == 1 else sys.exit(3 if seen == 2 else 0)\n",
    )
    supervisor = Supervisor(command, [Slot(0)], grace=5)
    assert supervisor.run() == 0
    assert (tmp_path / "marks").read_text() == "xxx"
    assert supervisor.restarts == 2


@pytest.mark.parametrize("code", [2, 69, 78])
def test_hopeless_child_ends_all_with_its_code(tmp_path: Path, code: int) -> None:
    command = script(
        tmp_path,
        f"import sys, time\nsys.exit({code}) if sys.argv[-1] == '0' else time.sleep(60)\n",
    )
    assert Supervisor(command, [Slot(0), Slot(1)], grace=5).run() == code


def test_stop_reaches_children_and_kills_the_stubborn(tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import pathlib, signal, sys, time\n"
        "stubborn = sys.argv[-1] == '1'\n"
        "signal.signal(signal.SIGTERM, signal.SIG_IGN if stubborn else lambda *_: sys.exit(0))\n"
        "pathlib.Path(sys.argv[1], 'up-' + sys.argv[-1]).touch()\n"
        "time.sleep(60)\n",
    )
    children = [Slot(0), Slot(1)]
    supervisor = Supervisor(command, children, grace=0.5)
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(supervisor.run()))
    thread.start()
    wait_until(lambda: (tmp_path / "up-0").exists() and (tmp_path / "up-1").exists(), "children up")
    assert supervisor.running() == [0, 1]
    supervisor.stop()
    thread.join(HANG_GUARD)
    assert codes == [0]
    assert supervisor.running() == []


def test_children_stop_when_the_parent_is_killed(tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import os, pathlib, sys, threading\n"
        "from duplexforge.supervisor import stop_when_orphaned\n"
        "gone = threading.Event()\n"
        "stop_when_orphaned(gone.set)\n"
        "pathlib.Path(sys.argv[1], 'pid').write_text(str(os.getpid()))\n"
        "gone.wait()\n"
        "pathlib.Path(sys.argv[1], 'noticed').touch()\n",
    )
    parent = f"from duplexforge.supervisor import Slot, Supervisor\nSupervisor({command!r}, [Slot(0)], grace=5).run()\n"
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "child up")
        os.kill(process.pid, signal.SIGKILL)
    wait_until((tmp_path / "noticed").exists, "the child notices")


def test_a_child_that_hangs_ends_when_nobody_is_left_to_kill_it(tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import os, pathlib, sys, time\n"
        "from duplexforge.supervisor import stop_when_orphaned\n"
        "stop_when_orphaned(lambda: None, grace=0.2)\n"
        "pathlib.Path(sys.argv[1], 'pid').write_text(str(os.getpid()))\n"
        "time.sleep(600)\n",
    )
    parent = f"from duplexforge.supervisor import Slot, Supervisor\nSupervisor({command!r}, [Slot(0)], grace=5).run()\n"
    with subprocess.Popen([sys.executable, "-c", parent]) as process:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "child up")
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not runs(int((tmp_path / "pid").read_text())), "the child ends")


def runs(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has asked for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_a_child_that_makes_way_is_replaced_at_once_and_not_counted_as_dead(tmp_path: Path) -> None:
    command = script(
        tmp_path,
        "import pathlib, sys\n"
        "marks = pathlib.Path(sys.argv[1], 'marks')\n"
        "marks.open('a').write('x')\n"
        f"sys.exit({RECYCLED} if len(marks.read_text()) < 6 else 0)\n",
    )
    supervisor = Supervisor(command, [Slot(0)], grace=5)
    assert supervisor.run() == 0
    assert (tmp_path / "marks").read_text() == "x" * 6
    assert supervisor.restarts == 0


def test_slots_pin_workers_to_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for gpu in ("0000:01:00.0", "0000:02:00.0", "0000:03:00.0"):
        (tmp_path / gpu).mkdir()
    assert gpus(None, tmp_path) == ["0", "1", "2"]
    assert gpus(["1", "GPU-8f2a"], tmp_path) == ["1", "GPU-8f2a"]
    assert gpus([], tmp_path) == []
    assert gpus(None, tmp_path / "nothing") == []
    on_cpu = slots(2, None, use_gpus=False)
    assert [(slot.number, slot.environment["CUDA_VISIBLE_DEVICES"]) for slot in on_cpu] == [(0, ""), (1, "")]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2, GPU-8f2a,3")
    on_gpus = slots(2, 2, use_gpus=True)
    assert [(slot.number, slot.environment["CUDA_VISIBLE_DEVICES"]) for slot in on_gpus] == [
        (0, "2"), (1, "2"), (2, "GPU-8f2a"), (3, "GPU-8f2a"),
    ]  # fmt: skip
    assert [slot.environment["CUDA_VISIBLE_DEVICES"] for slot in slots(1, 0, use_gpus=True)] == [""]
