"""Script mode: what is said, with its times and tokens, as one JSON list per track; no audio is decoded for it."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from duplexforge.duplex import folder
from duplexforge.duplex.alignment import Aligned, events
from duplexforge.duplex.corpus import Corpus, Problem
from duplexforge.duplex.plan import Plan, Ratios, Seat, left_out, plan
from duplexforge.duplex.report import Report, add
from duplexforge.duplex.tokens import Tokenizer, bind, load_tokenizer
from duplexforge.errors import UsageError
from duplexforge.framing import DuplexFormat
from duplexforge.loading.schema import REPORT, SPLITS, Totals

_FIELDS = ("start", "end", "text", "input_ids", "duration")


@dataclass(frozen=True)
class _Script:
    seat: Seat
    aligned: Aligned

    @property
    def problems(self) -> list[Problem]:
        """What was left out of it."""
        return left_out(self.seat, self.aligned)

    @property
    def totals(self) -> Totals:
        """What is known without audio."""
        return Totals(
            sides=1,
            events=len(self.aligned.events),
            tokens=sum(len(event.input_ids) for event in self.aligned.events),
            speakers=sorted(track.speaker for track in self.seat.conversation.tracks),
            conversations=[self.seat.conversation.conversation_id],
        )


def write_scripts(
    corpus: Corpus,
    fmt: DuplexFormat,
    out: Path,
    *,
    source: str,
    agent_speaker: str | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
) -> Report:
    """Write ``<track>.json`` for each track of ``corpus`` (or those of ``agent_speaker``) into ``out``, with a
    ``report.jsonl`` when there are problems.

    A list has ``{start, end, text, input_ids, duration}`` for each utterance, in seconds. UsageError when a file is there
    already, unless ``overwrite``; then nothing is written.
    """
    tokenizer = load_tokenizer(fmt.model, fmt.revision)
    fmt = bind(fmt, tokenizer)
    planned = plan(corpus, _ALL_TRAIN, agent_speaker)
    report = Report(
        source, str(out), "script", dry_run, planned.conversations, planned.skipped, problems=planned.problems
    )
    names = _names(planned.seats)
    _check(out, list(names.values()), overwrite=overwrite)
    count(planned, fmt, tokenizer, report)
    report.files = len(names) + bool(report.problems)
    if not dry_run:
        with folder.beside(out) as work:
            for script in _scripts(planned, fmt, tokenizer):
                folder.write_whole(out / names[script.seat.session_id], _body(script.aligned), work)
            if report.problems:
                folder.write_whole(out / REPORT, report.lines(), work)
    return report


# Scripts know no splits; counts are kept under one name.
_ALL_TRAIN: Ratios = (1.0, 0.0, 0.0)


def count(planned: Plan, fmt: DuplexFormat, tokenizer: Tokenizer, report: Report) -> None:
    """Put into ``report`` what the texts alone tell: sides, utterances, tokens, and what of them would be left out."""
    counts: dict[str, list[Totals]] = {split: [] for split in SPLITS}
    for script in _scripts(planned, fmt, tokenizer):
        counts[script.seat.split].append(script.totals)
        report.problems += script.problems
    report.totals = {split: add(found) for split, found in counts.items()}


def _scripts(planned: Plan, fmt: DuplexFormat, tokenizer: Tokenizer) -> Iterator[_Script]:
    for seat in planned.seats:
        yield _Script(seat, events(seat.agent_track.utterances, fmt, tokenizer))


def _check(out: Path, names: list[str], *, overwrite: bool) -> None:
    folder.check_no_file(out)
    there = [name for name in (*names, REPORT) if (out / name).exists()]
    if there and not overwrite:
        raise UsageError(f"{out} holds {there[0]} already: take another folder or --overwrite")


def _names(seats: Sequence[Seat]) -> dict[str, str]:
    """File names by session id: as the track's own file, or as the session where a track has no file to itself."""
    stems = {seat.session_id: Path(getattr(seat.agent_track.audio, "path", "")).stem for seat in seats}
    taken = Counter(stems.values())
    return {name: f"{stem if stem and taken[stem] == 1 else name}.json" for name, stem in stems.items()}


def _body(aligned: Aligned) -> bytes:
    rows: list[dict[str, Any]] = [{name: getattr(event, name) for name in _FIELDS} for event in aligned.events]
    return (json.dumps(rows, ensure_ascii=False, indent=1) + "\n").encode()
