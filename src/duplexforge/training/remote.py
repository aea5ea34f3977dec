"""A run's checkpoints and results in the object store, so that it can go on where no disk of it is left.

::

    models/<run>/checkpoints/step-000000500.json        the commit: names the files, created if absent, written last
    models/<run>/checkpoints/step-000000500.<nonce>/…   the files
    models/<run>/exports/step-000000600.json  …         the same for what a run that ended has made

A torn upload has no record and is never seen. Checkpoints are sent beside the training, one at a time; a store that does
not answer costs a warning and not the run, as long as there is a disk, but a run that ends says so when its last one is
not there.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

from duplexforge import log
from duplexforge.errors import InputError, StoreError, UsageError
from duplexforge.layout import Layout
from duplexforge.loading.sending import fetch, send
from duplexforge.records import FolderRecord, parse
from duplexforge.storage import Store

__all__ = ["CHECKPOINTS", "EXPORTS", "Remote"]

CHECKPOINTS, EXPORTS = "checkpoints", "exports"
_EXPORTS_KEPT = 3
_RECORD = re.compile(r"step-(\d{9})\.json")
_FILES = re.compile(r"step-(\d{9})\.[^/]+/")
_log = log.get("train")


class Remote:
    """What the run ``run`` keeps in a store. One process of a run uses it; a second one does no harm."""

    def __init__(self, store: Store, layout: Layout, run: str) -> None:
        self._store, self._layout, self._run = store, layout, run
        self._sender = ThreadPoolExecutor(max_workers=1, thread_name_prefix="checkpoints")
        self._sending: Future[None] | None = None
        self._failed: StoreError | None = None

    @property
    def name(self) -> str:
        """The place, as it is called in messages."""
        return f"{self._store.url}/{self._layout.run_records(self._run, CHECKPOINTS)}"

    # -- checkpoints -------------------------------------------------------------------------------------------------

    def steps(self, kind: str = CHECKPOINTS) -> list[int]:
        """The steps of all that was committed, the oldest first."""
        found = (_RECORD.fullmatch(name) for name in self._names(kind))
        return sorted(int(one[1]) for one in found if one)

    def take(self, step: int, path: Path, *, keep: int) -> None:
        """Send the checkpoint at ``path`` in the background; call :meth:`settle` before the file may go."""
        self.settle()
        self._sending = self._sender.submit(self._send, step, path, keep)

    def settle(self) -> None:
        """Wait until nothing is on its way. A failure is in the log, and :meth:`close` raises the last one."""
        sending, self._sending = self._sending, None
        if sending is None:
            return
        try:
            sending.result()
            self._failed = None
        except StoreError as error:
            _log.warning("a checkpoint is on this disk alone: it could not be sent", reason=str(error))
            self._failed = error

    def _send(self, step: int, path: Path, keep: int) -> None:
        self.commit(CHECKPOINTS, step, {path.name: path}, keep=keep)

    def fetch(self, step: int, path: Path) -> None:
        """Bring the checkpoint of ``step`` to ``path``. InputError when it is not whole, StoreError when it may be later."""
        try:
            record = self._record(CHECKPOINTS, step)
            wanted = [one for one in record.files if one.name == path.name]
            if not wanted:
                raise InputError(
                    f"the checkpoint of step {step} in {self.name} has no {path.name}", reason="bad_record"
                )
            fetch(self._store, record.folder, wanted, path.parent)
        except InputError:
            # Else the run, when it passes this step again, would take it for sent.
            self._remove(CHECKPOINTS, [step])
            raise
        _log.info("fetched a checkpoint", step=step, source=self.name)

    def export(self, step: int, folder: Path, paths: Sequence[Path], facts: Mapping[str, Any]) -> None:
        """Commit what the run has made: files and folders in ``folder``. Raises StoreError."""
        self.settle()
        files = [one for path in paths for one in ([path] if path.is_file() else path.rglob("*")) if one.is_file()]
        names = {path.relative_to(folder).as_posix(): path for path in files}
        self.commit(EXPORTS, step, names, keep=_EXPORTS_KEPT, facts=facts)

    def results(self, out: Path) -> FolderRecord:
        """Fetch what the run made last into the folder ``out``. UsageError when it has made nothing yet."""
        steps = self.steps(EXPORTS)
        if not steps:
            raise UsageError(f"{self._store.url} has no results of a run {self._run}")
        record = self._record(EXPORTS, steps[-1])
        out.mkdir(parents=True, exist_ok=True)
        fetch(self._store, record.folder, record.files, out)
        return record

    def close(self) -> None:
        """Send what is still on its way; the StoreError of the last checkpoint when it did not arrive."""
        self.settle()
        self._sender.shutdown()
        if self._failed is not None:
            raise StoreError(f"the last checkpoint was not sent: {self._failed}", reason=self._failed.reason)

    def fresh(self) -> None:
        """Make room for a new run of this name: no later resume may find the old one."""
        for kind in (CHECKPOINTS, EXPORTS):
            self._remove(kind, self.steps(kind))
            self._store.delete([meta.key for meta in self._store.list(self._layout.run_records(self._run, kind))])

    # -- both kinds --------------------------------------------------------------------------------------------------

    def commit(
        self, kind: str, step: int, files: Mapping[str, Path], *, keep: int, facts: Mapping[str, Any] | None = None
    ) -> None:
        """Send ``files`` as what the run has after ``step`` steps, then remove all but the last ``keep``.

        What is there already stays: the same step of the same run has the same weights.
        """
        layout, run = self._layout, self._run
        key = layout.run_record(run, kind, step)
        if self._store.head(key) is None:
            folder = layout.run_files(run, kind, step, uuid.uuid4().hex[:12])
            send(self._store, files, folder, key, step=step, facts=facts)
        self._prune(kind, keep)

    def _prune(self, kind: str, keep: int) -> None:
        """Remove old commits, the record first, and what senders that are gone have left below the newest step."""
        steps = self.steps(kind)
        if not steps:
            return
        self._remove(kind, steps[:-keep])
        try:
            named = {self._record(kind, step).folder for step in steps[-keep:]}
        except InputError:
            return  # whose files may go is not known; the next one tries again
        prefix = self._layout.run_records(self._run, kind)
        for meta in list(self._store.list(prefix)):
            inside = _FILES.match(meta.key.removeprefix(prefix))
            # A sender of a step that is over is a straggler of an attempt that ended: nobody will ask for its files.
            if inside and int(inside[1]) < steps[-1] and prefix + inside[0] not in named:
                self._store.delete(meta.key)

    def _remove(self, kind: str, steps: Sequence[int]) -> None:
        for step in steps:
            self._store.delete(self._layout.run_record(self._run, kind, step))

    def _names(self, kind: str) -> list[str]:
        prefix = self._layout.run_records(self._run, kind)
        return [meta.key.removeprefix(prefix) for meta in self._store.list(prefix)]

    def _record(self, kind: str, step: int) -> FolderRecord:
        key = self._layout.run_record(self._run, kind, step)
        body = self._store.find(key)
        if body is None:
            raise InputError(f"{key} is not in {self._store.url} any more", reason="input_missing")
        return parse(FolderRecord, body, key)
