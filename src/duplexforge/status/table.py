"""The terminal view of a snapshot: short tables that fit eighty columns, shown by ``run``, ``demo`` and ``status``."""

from __future__ import annotations

from rich import box
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from duplexforge.status.snapshot import FAILED, UNACCOUNTED, WAITING, Snapshot
from duplexforge.status.wording import clock, label, pace, plain, plural, share, size

_MOST = 8
# A rule below the header and one above the totals, nothing else.
_RULES = box.Box("    \n    \n ── \n    \n ── \n ── \n    \n    \n")
_STYLES = {
    "ok": "green",
    "published": "green",
    "flagged": "yellow",
    "failed": "red",
    "waiting": "blue",
    UNACCOUNTED: "bold red",
    **dict.fromkeys(FAILED.values(), "red"),
    **dict.fromkeys(WAITING.values(), "blue"),
}


def render(snapshot: Snapshot) -> RenderableType:
    """The whole snapshot as rich tables; a part about which there is nothing to say is left out."""
    account = [_inputs(snapshot), _hours(snapshot)] if snapshot.hours.source > 0 else [_inputs(snapshot)]
    # Side by side where the terminal is wide enough.
    parts: list[RenderableType] = [Columns([Padding(table, (0, 4, 1, 0)) for table in account])]
    if snapshot.failures:
        parts.append(_failures(snapshot))
    if snapshot.processed_hours > 0 or snapshot.segments:
        parts.append(_speech(snapshot))
    if snapshot.stage_seconds:
        parts.append(_stages(snapshot))
    if snapshot.published or snapshot.unpublished:
        parts.append(_published(snapshot))
    if snapshot.queues:
        parts.append(_queues(snapshot))
    return Group(*parts[:1], *(Padding(part, (0, 0, 1, 0)) for part in parts[1:]), _verdict(snapshot))


def ruled(title: str, *columns: str) -> Table:
    """A table with a left-aligned title; columns whose name begins with ``>`` hold numbers and are aligned right."""
    table = Table(
        box=_RULES,
        show_edge=False,
        pad_edge=False,
        title=title,
        title_justify="left",
        title_style="bold",
        header_style="dim",
    )
    for column in columns:
        right = column.startswith(">")
        table.add_column(column.lstrip(">"), justify="right" if right else "left", no_wrap=right)
    return table


def _inputs(snapshot: Snapshot) -> Table:
    table = ruled("Episodes", "outcome", ">episodes", ">hours", ">length unknown")
    for one in snapshot.classes:
        table.add_row(
            Text(label(one.name), style=_STYLES.get(one.name, "")),
            f"{one.episodes:,}",
            clock(one.hours) if one.unknown < one.episodes else "",
            f"{one.unknown:,}" if one.unknown else "",
        )
    table.add_section()
    unknown = f"{snapshot.hours.unknown:,}" if snapshot.hours.unknown else ""
    table.add_row("all inputs", f"{snapshot.inputs:,}", clock(snapshot.hours.source), unknown, style="bold")
    return table


def _hours(snapshot: Snapshot) -> Table:
    table = ruled("Hours", "where they went", ">hours", ">share")
    for name, value in snapshot.hours.parts.items():
        if value:
            style = _STYLES.get(name, "")
            table.add_row(Text(label(name), style=style), clock(value), share(value, snapshot.hours.source))
    table.add_section()
    table.add_row("source", clock(snapshot.hours.source), "", style="bold")
    return table


def _failures(snapshot: Snapshot) -> Table:
    table = ruled("Failures", "stage", "reason", ">tasks", "for example")
    for one in snapshot.failures:
        example = Text(overflow="fold")
        if one.examples:
            example.append(plain(one.examples[0].id), style="cyan").append(f": {plain(one.examples[0].message)}")
        table.add_row(one.stage, Text(plain(one.reason), style="red"), f"{one.count:,}", example)
    return table


def _speech(snapshot: Snapshot) -> RenderableType:
    """Segments, speakers, languages, flags, and which engine wrote the text, as label and value."""
    table = ruled("Speech", "", "")
    table.show_header = False
    table.add_row("segments", f"{snapshot.segments:,}, of which {snapshot.flagged:,} flagged")
    table.add_row("speakers", f"{snapshot.speakers:,} (counted in each episode)")
    if snapshot.languages:
        languages = (f"{plain(one.name)} {clock(one.source)}" for one in snapshot.languages[:_MOST])
        table.add_row("languages", Text(", ".join(languages)))
    if snapshot.flags:
        flags = [f"{plain(name)} {count:,}" for name, count in list(snapshot.flags.items())[:_MOST]]
        table.add_row("flags", Text(", ".join(flags)))
    writers = [
        f"{plain(one.name)} ({plural(one.episodes, 'episode')})" for one in snapshot.models if one.role == "transcribe"
    ]
    table.add_row("text by", Text(", ".join(writers) or "no recogniser"))
    return table


def _stages(snapshot: Snapshot) -> RenderableType:
    whole, audio = sum(snapshot.stage_seconds.values()), snapshot.processed_hours * 3600
    table = ruled("Computing time", "stage", ">seconds", ">share", ">real-time factor")
    for stage, seconds in snapshot.stage_seconds.items():
        table.add_row(
            Text(plain(stage)), f"{seconds:,.1f}", share(seconds, whole), f"{seconds / audio:.4f}" if audio > 0 else ""
        )
    table.add_section()
    factor = snapshot.real_time_factor
    table.add_row("all stages", f"{whole:,.1f}", "", f"{factor:.4f}" if factor is not None else "", style="bold")
    return table if factor is None else Group(table, Text(f"Real-time factor {pace(factor)}.", style="dim"))


def _published(snapshot: Snapshot) -> RenderableType:
    table = ruled("Data set", "target", ">episodes", ">samples", ">shards", ">size")
    for one in snapshot.published:
        target = Text(plain(one.target), overflow="fold")
        if one.commit:
            target.append(f" @ {plain(one.commit, 12)}", style="dim")
        table.add_row(target, f"{one.episodes:,}", f"{one.samples:,}", f"{one.shards:,}", size(one.bytes))
    if snapshot.unpublished:
        table.add_row(Text("not published yet", style="blue"), f"{snapshot.unpublished:,}")
    return table


def _queues(snapshot: Snapshot) -> Table:
    table = ruled("Queues", "stage", ">waiting", ">running", ">completed", ">failed")
    for stage, stats in snapshot.queues.items():
        failed = Text(f"{stats.failed:,}", style="red" if stats.failed else "")
        table.add_row(stage, f"{stats.waiting:,}", f"{stats.running:,}", f"{stats.completed:,}", failed)
    return table


def _verdict(snapshot: Snapshot) -> RenderableType:
    if snapshot.accounted:
        hours = clock(snapshot.hours.source)
        return Text(f"Everything is accounted for: {plural(snapshot.inputs, 'episode')}, {hours} hours.")
    table = ruled("Not accounted for", ">", "what", "for example")
    table.title_style = "bold red"
    for one in snapshot.differences:
        table.add_row(
            f"{one.count:,}", one.what, Text(", ".join(plain(name) for name in one.examples), overflow="fold")
        )
    return table
