"""The overview on a terminal: what a person with eighty columns sees, and the one line of a pipe."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from duplexforge.status.board import line, render
from duplexforge.status.overview import (
    Autokick,
    Cost,
    Decision,
    Done,
    LeaseNow,
    Overview,
    Reason,
    StageNow,
    WorkerNow,
)
from duplexforge.status.wording import span

EMPTY = Overview(
    collected_at="2026-05-06T07:08:09+00:00", stages={"download": StageNow(), "processing": StageNow()}, done=Done(),
    languages={}, outcomes={}, failures=(), workers=(), leases=(),
    autokick=Autokick("outside", "not in a cluster"), cost=Cost(),
)  # fmt: skip
FULL = replace(
    EMPTY,
    stages={
        "download": StageNow(waiting=1200, delayed=3, oldest_waiting=90061.0, failed=2, last_completed=5.0),
        "processing": StageNow(waiting=7, running=2, completed=40, oldest_waiting=61.0, oldest_running=3700.0),
    },
    done=Done(40, 100.5, 2, 3.25, 30, 48.0),
    languages={"en": Done(30, 80.5, 2, 3.25, 20, 28.0), "de": Done(10, 20.0, 0, 0.0, 10, 20.0)},
    outcomes={"ok": 39, "no_speech": 1},
    failures=(Reason("download", "gone", 2, "yt-a", "the video is private"),),
    workers=(WorkerNow("pod-b:7", ("processing",), 1, 1, 400.0), WorkerNow("pod-a:7", ("processing",), 1, 0, 9.0)),
    leases=(
        LeaseNow("processing", "yt-lost", 2, "pod-b:7", 3700.0, 400.0, True),
        LeaseNow("processing", "yt-now", 1, "pod-a:7", 100.0, 9.0, False),
    ),
    autokick=Autokick(
        "seen", "led by pod-1", "pod-1", 4.0, 120.0, 33.5, (Decision("07:00Z", "yield", 16, 12, "4 GPUs for train-0"),)
    ),
    cost=Cost.of({"transcribe": 7200.0, "score": 3600.0}, 100.0, sharers=3.0, price=2.5),
    seconds=1.25,
)


def shown(overview: Overview, width: int = 80) -> str:
    out = io.StringIO()
    Console(file=out, width=width, force_terminal=False).print(render(overview))
    return out.getvalue()


def words(text: str) -> list[list[str]]:
    return [row.split() for row in text.splitlines()]


@pytest.mark.parametrize("width", [80, 120])
def test_everything_is_there_and_fits(width: int) -> None:
    text = shown(FULL, width)
    assert max(len(row) for row in text.splitlines()) <= width
    for heading in ("Queues", "Hours done", "Computing time", "Failures", "Workers (2)", "Its last decisions"):
        assert heading in text


def test_the_numbers() -> None:
    lines = words(shown(FULL, 120))
    assert ["download", "1,200", "(3", "not", "yet)", "1", "d", "1", "h", "0", "2", "0", "5", "s", "ago"] in lines
    assert ["processing", "7", "1", "min", "1", "s", "2", "1", "h", "1", "min", "0", "40"] in lines
    text = shown(FULL, 120)
    for part in (
        "3:15:00", "48:00:00", "100:30:00", "3.25 hours an hour in the last hour, 2.00 over the last day",
        "10.00 GPU-hours for 1,000 hours of audio", "$25.00 for 1,000 hours of audio", "66.7%",
        "yt-a: the video is private", "6 min 40 s ago, expired", "9 s ago",
        "Autokicker: led by pod-1, seen 4 s ago; 120.0 GPU-hours used, 33.5 yielded to others.",
        "16 → 12", "4 GPUs for train-0", "read in 1.2 s; episodes: ok 39, no speech 1",
    ):  # fmt: skip
        assert part in text, part


def test_nothing_is_said_about_nothing() -> None:
    text = shown(EMPTY)
    assert "Autokicker: not in a cluster." in text
    for heading in ("Hours done", "Computing", "Failures", "Workers", "decisions", "$", "cannot be read"):
        assert heading not in text


def test_without_a_price_there_are_no_dollars() -> None:
    text = shown(replace(FULL, cost=Cost.of({"transcribe": 7200.0}, 100.0, sharers=1.0, price=None)))
    assert "20.00 GPU-hours for 1,000 hours" in text
    assert "$" not in text


def test_long_lists_are_cut_and_counted() -> None:
    leases = tuple(LeaseNow("processing", f"yt-{number}", 1, "pod:1", 1.0, 1.0, False) for number in range(100))
    many = replace(
        FULL,
        leases=leases,
        workers=(WorkerNow("pod:1", ("processing",), 700, 0, 1.0),),
        failures=tuple(Reason("download", f"reason{number}", 2) for number in range(30)),
        languages={f"l{number}": Done(1, 1.0) for number in range(30)},
    )
    text = shown(many)
    assert "and 688 more leases" in text
    assert ["and", "18", "more", "reasons", "36"] in words(text)
    assert "and 22 more" in text
    assert len(text.splitlines()) < 90


def test_a_name_cannot_move_the_cursor() -> None:
    text = shown(replace(FULL, failures=(Reason("download", "a\x1b[2Jb", 1, "x\r\n", "y\x07z"),)))
    assert not {"\x1b", "\r", "\x07"} & set(text)


def test_markup_in_names_is_only_text() -> None:
    assert "[red]x[/red]" in shown(replace(FULL, languages={"[red]x[/red]": Done(1, 1.0)}), 120)


def test_unreadable_manifests_are_said_to_be_so() -> None:
    assert "1 manifest cannot be read: status --full names them." in shown(replace(FULL, unread=1))


def test_one_line() -> None:
    assert line(FULL) == (
        "2026-05-06T07:08:09+00:00 download 1200 waiting, 0 running, 2 failed; processing 7 waiting, 2 running, 0 failed; "
        "2 workers; 3.25 h in the last hour, 100.50 h in all"
    )


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""), (-3.0, "0 s"), (0.4, "0 s"), (59.4, "59 s"), (59.6, "1 min"), (61, "1 min 1 s"), (3600, "1 h"),
        (3660, "1 h 1 min"), (86400 * 3 + 7200, "3 d 2 h"), (86400 * 4000, "4,000 d"),
    ],
)  # fmt: skip
def test_spans(seconds: float | None, text: str) -> None:
    assert span(seconds) == text
