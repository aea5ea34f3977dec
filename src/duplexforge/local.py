"""``duplexforge run``: the chain with a person watching."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from rich.console import Console

from duplexforge import log, roles
from duplexforge.config import DownloadSettings, StoreSettings
from duplexforge.downloading.licences import licence_words
from duplexforge.downloading.notes import SeedReport
from duplexforge.downloading.optout import OptOut
from duplexforge.downloading.plan import Choice, Defaults, seed
from duplexforge.downloading.selection import Screen
from duplexforge.downloading.sources import Reading
from duplexforge.errors import InputError, RetryLater
from duplexforge.progress import Phases
from duplexforge.roles import Site
from duplexforge.run import Chain, Plan, settings_for
from duplexforge.status import report, table
from duplexforge.status.snapshot import Snapshot
from duplexforge.uploading.plan import UploadPlan
from duplexforge.uploading.role import republish
from duplexforge.uploading.verify import verify_all

_MOST_WORKERS = 8


def run(
    sources: Sequence[str],
    out: Path,
    *,
    language: str | None = None,
    licence: str | None = None,
    workers: int | None = None,
    as_json: bool = False,
    dry_run: bool = False,
    allow_private_addresses: str | None = None,
) -> int:
    """Run the chain and show how it went. 0; 65 when inputs failed; 75 when something is left to do.

    ``allow_private_addresses`` stands for the setting of that name where it is given.
    """
    plan = Plan(sources, out, language, licence, workers or min(os.cpu_count() or 1, _MOST_WORKERS))
    site = roles.open_site(settings_for(plan, allow_private_addresses=allow_private_addresses))
    log_file = _log_to(out)
    console = Console(stderr=as_json)
    try:
        seeded = _seeded(site, plan, dry_run=dry_run)
        console.print(seeded.to_text(), highlight=False, markup=False)
        if dry_run:
            return 0
        with Phases(console) as phases:
            Chain(plan, site, phases).run()
        return finish(site, plan, console, as_json=as_json)
    finally:
        log_file.close()


def _seeded(site: Site, plan: Plan, *, dry_run: bool) -> SeedReport:
    wanted = site.settings[DownloadSettings]
    screen = Screen(OptOut.read(site.store, site.layout), allow=wanted.allow_private_addresses)
    return seed(
        site.queue("download"),
        plan.sources,
        defaults=Defaults(language=plan.language, licence=plan.licence),
        reading=Reading(wanted, site.settings[StoreSettings]),
        choice=Choice(screen=screen, licences=licence_words(wanted.allowed_licences)),
        dry_run=dry_run,
    )


def finish(site: Site, plan: Plan, console: Console, *, as_json: bool) -> int:
    """Report, table, exit code."""
    page = plan.out / "report.html"
    snapshot = report.build(site.store, site.layout, site.queues(), page, title=f"duplexforge: {plan.out.name}")
    if as_json:
        print(json.dumps(snapshot.to_json(), indent=1, ensure_ascii=False))
    else:
        console.print(table.render(snapshot))
        console.print(f"data set: {plan.out / 'dataset'}\nreport:   {page}", highlight=False, soft_wrap=True)
    return exit_code(snapshot)


def exit_code(snapshot: Snapshot) -> int:
    """0 when all is done; 65 when inputs failed; 75 when something is still open, unpublished or does not add up."""
    if any(failure.stage in ("download", "processing") for failure in snapshot.failures):
        return InputError.exit_code
    left = any(stats.open for stats in snapshot.queues.values()) or snapshot.unpublished or not snapshot.accounted
    return RetryLater.exit_code if left or snapshot.failures else 0


def published(site: Site, plan: UploadPlan, *, as_json: bool = False) -> int:
    """Say what became of a plan. 0; 65 when batches failed; 75 when some are open (stopped, or another uploader's)."""
    queue = site.queue("upload")
    stats = queue.stats()
    failed = [f"{record.id} failed: {record.message}" for record in queue.dead()]
    if as_json:
        told = {**plan.to_json(), "published": stats.completed, "open": stats.open, "failed": failed}
        print(json.dumps(told, indent=1, ensure_ascii=False))
    else:
        lines = [plan.to_text(), f"{stats.completed} batches are published, {stats.open} are open", *failed]
        print("\n".join(lines))
    if failed:
        return InputError.exit_code
    return RetryLater.exit_code if stats.open else 0


def verify(site: Site, repair: Sequence[str], *, as_json: bool) -> int:
    """Build the batches of ``repair`` again, then look at everything that was published. 0, or 65 with problems."""
    if repair:
        with TemporaryDirectory(prefix="duplexforge-") as folder:
            republish(site.store, site.layout, roles.target(site, replace=True), repair, Path(folder))
    target, queue = roles.target(site), site.queue("upload")
    problems = verify_all(target, site.store, site.layout, queue, refuses=roles.opted_out(site))
    print(json.dumps(problems, indent=1, ensure_ascii=False) if as_json else "\n".join(problems) or "all is well")
    return InputError.exit_code if problems else 0


def _log_to(out: Path) -> TextIO:
    folder = out / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "run.jsonl").open("a", encoding="utf-8")
    log.setup(stream=file, json_lines=True)
    return file
