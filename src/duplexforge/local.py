"""``duplexforge run`` and ``status``: the chain with a person watching."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TextIO

from rich.console import Console

from duplexforge import log, roles
from duplexforge.downloading.plan import Defaults, seed
from duplexforge.errors import InputError, RetryLater
from duplexforge.progress import Phases
from duplexforge.roles import Site
from duplexforge.run import Chain, Plan, settings_for
from duplexforge.status import collect, report, table
from duplexforge.status.snapshot import Snapshot
from duplexforge.uploading.role import republish
from duplexforge.uploading.targets import LocalTarget
from duplexforge.uploading.verify import verify_folder, verify_target

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
) -> int:
    """Run the chain and show how it went. 0; 65 when inputs failed; 75 when something is left to do."""
    plan = Plan(sources, out, language, licence, workers or min(os.cpu_count() or 1, _MOST_WORKERS))
    site = roles.open_site(settings_for(plan))
    log_file = _log_to(out)
    console = Console(stderr=as_json)
    try:
        seeded = seed(
            site.queue("download"), sources, defaults=Defaults(language=language, licence=licence), dry_run=dry_run
        )
        console.print(seeded.to_text(), highlight=False, markup=False)
        if dry_run:
            return 0
        with Phases(console) as phases:
            Chain(plan, site, phases).run()
        return finish(site, plan, console, as_json=as_json)
    finally:
        log_file.close()


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


def show(site: Site, *, as_json: bool) -> None:
    """Print the state of a store."""
    snapshot = collect.collect(site.store, site.layout, site.queues())
    if as_json:
        print(json.dumps(snapshot.to_json(), indent=1, ensure_ascii=False))
    else:
        Console().print(table.render(snapshot))


def verify(site: Site, repair: Sequence[str], *, as_json: bool) -> int:
    """Build the batches of ``repair`` again, then look at everything that was published. 0, or 65 with problems."""
    for batch in repair:
        with TemporaryDirectory(prefix="duplexforge-") as folder:
            republish(site.store, site.layout, roles.target(site, replace=True), batch, Path(folder))
    where = roles.target(site)
    if isinstance(where, LocalTarget):
        problems = verify_folder(where.folder, site.store, site.layout)
    else:
        problems = verify_target(where, site.store, site.layout)
    print(json.dumps(problems, indent=1, ensure_ascii=False) if as_json else "\n".join(problems) or "all is well")
    return InputError.exit_code if problems else 0


def _log_to(out: Path) -> TextIO:
    folder = out / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    file = (folder / "run.jsonl").open("a", encoding="utf-8")
    log.setup(stream=file, json_lines=True)
    return file
