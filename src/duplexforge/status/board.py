"""The terminal view of an overview: what is waiting, who works, how fast it goes, what failed, what it costs."""

from __future__ import annotations

from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from duplexforge.status.overview import Autokick, Done, Overview
from duplexforge.status.table import ruled
from duplexforge.status.wording import clock, plain, plural, share, span

_ROWS = 12
_LANGUAGES = 8


def render(overview: Overview) -> RenderableType:
    """The whole overview as rich tables; a part about which there is nothing to say is left out."""
    parts: list[RenderableType] = [_queues(overview)]
    beside: list[RenderableType] = [_done(overview)] if overview.done.episodes else []
    if overview.cost.stage_seconds:
        beside.append(_cost(overview))
    if beside:
        # Side by side where the terminal is wide enough.
        parts.append(Columns([Padding(table, (0, 4, 0, 0)) for table in beside]))
    if overview.failures:
        parts.append(_failures(overview))
    if overview.workers:
        parts.append(_workers(overview))
    parts.append(_autokick(overview.autokick))
    if overview.unread:
        text = f"{plural(overview.unread, 'manifest')} cannot be read: status --full names them."
        parts.append(Text(text, style="bold red"))
    return Group(*(Padding(part, (0, 0, 1, 0)) for part in parts), _foot(overview))


def line(overview: Overview) -> str:
    """One line, for logs and pipes."""
    queues = "; ".join(
        f"{stage} {now.waiting} waiting, {now.running} running, {now.failed} failed"
        for stage, now in overview.stages.items()
    )
    hours = f"{overview.done.hour_hours:.2f} h in the last hour, {overview.done.hours:.2f} h in all"
    return f"{overview.collected_at} {queues}; {plural(len(overview.workers), 'worker')}; {hours}"


def _queues(overview: Overview) -> Table:
    table = ruled("Queues", "stage", ">waiting", ">oldest", ">running", ">oldest", ">failed", ">completed", ">last")
    for stage, now in overview.stages.items():
        waiting = f"{now.waiting:,}" + (f" ({now.delayed:,} not yet)" if now.delayed else "")
        table.add_row(
            stage,
            waiting,
            span(now.oldest_waiting),
            f"{now.running:,}",
            span(now.oldest_running),
            Text(f"{now.failed:,}", style="red" if now.failed else ""),
            f"{now.completed:,}",
            f"{span(now.last_completed)} ago" if now.last_completed is not None else "",
        )
    return table


def _done(overview: Overview) -> RenderableType:
    table = ruled("Hours done", "language", ">last hour", ">last day", ">in all", ">episodes")
    languages = list(overview.languages.items())
    for name, done in languages[:_LANGUAGES]:
        table.add_row(Text(plain(name)), *_hours(done))
    if rest := languages[_LANGUAGES:]:
        table.add_row(Text(f"and {len(rest)} more", style="dim"))
    table.add_section()
    table.add_row("all", *_hours(overview.done), style="bold")
    done = overview.done
    pace = f"{done.hour_hours:,.2f} hours an hour in the last hour, {done.day_hours / 24:,.2f} over the last day"
    return Group(table, Text(pace, style="dim"))


def _hours(done: Done) -> tuple[str, str, str, str]:
    return clock(done.hour_hours), clock(done.day_hours), clock(done.hours), f"{done.episodes:,}"


def _cost(overview: Overview) -> RenderableType:
    cost = overview.cost
    whole = sum(cost.stage_seconds.values())
    table = ruled("Computing time", "stage", ">hours", ">share")
    for stage, seconds in cost.stage_seconds.items():
        table.add_row(Text(plain(stage)), f"{seconds / 3600:,.2f}", share(seconds, whole))
    table.add_section()
    table.add_row("all stages", f"{whole / 3600:,.2f}", "", style="bold")
    words = []
    if cost.gpu_hours_per_1000 is not None:
        words.append(f"{cost.gpu_hours_per_1000:,.2f} GPU-hours for 1,000 hours of audio")
    if cost.dollars_per_1000 is not None:
        words.append(f"${cost.dollars_per_1000:,.2f} for 1,000 hours of audio")
    return Group(table, *(Text(one, style="dim") for one in words))


def _failures(overview: Overview) -> Table:
    table = ruled("Failures", "stage", "reason", ">tasks", "for example")
    for one in overview.failures[:_ROWS]:
        example = Text(overflow="fold").append(plain(one.example), style="cyan").append(f": {plain(one.message)}")
        table.add_row(one.stage, Text(plain(one.reason), style="red"), f"{one.count:,}", example)
    if rest := overview.failures[_ROWS:]:
        table.add_row("", Text(f"and {len(rest)} more reasons", style="dim"), f"{sum(one.count for one in rest):,}")
    return table


def _workers(overview: Overview) -> Table:
    """A line for each lease, the expired ones first; workers beyond the first lines are only counted."""
    title = f"Workers ({len(overview.workers):,}) and their leases"
    table = ruled(title, "worker", "stage", "task", ">attempt", ">age", ">renewed")
    for one in overview.leases[:_ROWS]:
        renewed = f"{span(one.renewed)} ago"
        table.add_row(
            Text(plain(one.owner), overflow="fold"),
            one.stage,
            Text(plain(one.task), overflow="fold"),
            str(one.attempt),
            span(one.age),
            Text(f"{renewed}, expired", style="red") if one.expired else renewed,
        )
    count = sum(worker.leases for worker in overview.workers)
    if count > _ROWS:
        table.add_row(Text(f"and {count - _ROWS:,} more leases", style="dim"))
    return table


def _autokick(found: Autokick) -> RenderableType:
    if found.state != "seen":
        return Text(f"Autokicker: {plain(found.note)}.", style="dim")
    alive = f", seen {span(found.renewed)} ago" if found.renewed is not None else ""
    used = f"{found.gpu_hours_used:,.1f} GPU-hours used, {found.gpu_hours_yielded:,.1f} yielded to others"
    head = Text(f"Autokicker: {plain(found.note)}{alive}; {used}.")
    if not found.decisions:
        return head
    table = ruled("Its last decisions", "when", "what", ">replicas", "why")
    for one in list(found.decisions)[-_ROWS:][::-1]:
        change = f"{one.before} → {one.after}"
        table.add_row(Text(plain(one.at)), Text(plain(one.word)), change, Text(plain(one.reason)))
    return Group(head, Text(), table)


def _foot(overview: Overview) -> Text:
    outcomes = ", ".join(f"{plain(name).replace('_', ' ')} {count:,}" for name, count in overview.outcomes.items())
    return Text(
        f"{overview.collected_at}, read in {overview.seconds:.1f} s{f'; episodes: {outcomes}' if outcomes else ''}"
    )
