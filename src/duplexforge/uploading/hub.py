"""Publishing to a data set repository on the Hub: many shards a commit, each commit on the head that was looked at before.

Large files go first (they are addressed by checksum, so sending them twice costs nothing), then one commit names tars,
parquet files and card with the head it was made for. When the head has moved, or the answer was lost, the repository is
asked which of our shards are in it; only what is not there is committed again. So a batch is published once, whatever is
repeated. When the Hub asks for time it gets some here, where the built shards are; after that they are built again.
"""

from __future__ import annotations

import functools
import io
import itertools
import logging
import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from duplexforge import config, log
from duplexforge.errors import RetryLater, Throttled
from duplexforge.records import FileEntry
from duplexforge.uploading.card import CARD
from duplexforge.uploading.hub_errors import moved, not_there, translated, unsure
from duplexforge.uploading.shard import Beat, Shard
from duplexforge.uploading.target import Card, Sent, occupied, silent

T = TypeVar("T")
_KIND = "dataset"
_BRANCH = "main"
_COMMIT_ROUNDS = 12
# The client of the Hub waits for ever by default; a Hub that is silent for this long is gone.
_SILENCE_SECONDS = 120.0
# Paths in one question; the Hub takes more, but answers slowly.
_PATHS = 100
PATIENCE_SECONDS = 300.0
"""How long an upload waits in place for a Hub that asks for time, before its tasks go back to the queue uncounted."""
_PAUSES = (1.0, 2.0, 5.0, 10.0, 20.0, 30.0)


class _Moved(Exception):
    """The head is not the one that the commit was made for."""


class HubTarget:
    """A data set repository. It is created, private, when there is none; the visibility of one that is stays."""

    def __init__(
        self,
        repo_id: str,
        *,
        token: str | None = None,
        endpoint: str | None = None,
        replace: bool = False,
        patience: float = PATIENCE_SECONDS,
    ) -> None:
        log.hide(token)
        self.repo_id, self.replace, self.patience = repo_id, replace, patience
        self.name = f"hub:{repo_id}"
        self._token, self._endpoint = token, endpoint
        self._api: Any = None
        self._rng = random.Random()
        self._log = log.get("hub", repository=repo_id)

    def send(self, shard: Shard, beat: Beat) -> Sent:
        """Send the large files. They belong to no commit yet, and need not be here any more for one."""
        return self._patiently("sending", beat, lambda: self._send(shard, beat))

    def commit(self, group: Sequence[Sent], card: Card, beat: Beat) -> str:
        """Commit sent shards and the card in one step; the id of a commit that has them all."""
        return self._patiently("commit", beat, lambda: self._commit_group(group, card, beat))

    def refresh(self, card: Card, beat: Beat = silent) -> None:
        """Commit the card when it differs from the one there."""
        self._patiently("card", beat, lambda: self._refresh(card, beat))

    def card(self) -> str | None:
        """The text of the card in the head."""
        return self._patiently("card", silent, self._read_card)

    def files(self) -> Iterator[FileEntry]:
        """Every file below ``data/`` with size and checksum as the Hub states them ("" where it states none)."""
        for entry in sorted(self._patiently("files", silent, self._tree), key=lambda one: str(one.path)):
            if entry.path.startswith("data/") and hasattr(entry, "size"):
                yield FileEntry(name=entry.path, size=entry.size, sha256=entry.lfs.sha256 if entry.lfs else "")

    # -- sending and committing --------------------------------------------------------------------------------------

    def _send(self, shard: Shard, beat: Beat) -> Sent:
        stem = shard.record.shard
        with ExitStack() as stack:
            beat("sending", 0.9)
            paths = {f"{stem}.tar": shard.tar, f"{stem}.parquet": shard.parquet}
            files = [_addition(name, stack.enter_context(_watched(path, beat))) for name, path in paths.items()]
            self._connect().preupload_lfs_files(self.repo_id, files, repo_type=_KIND, num_threads=2)
            # What the Hub wants inside the commit is small, and must outlive the file here.
            kept = [
                _addition(name, path.read_bytes()) if file._upload_mode == "regular" else file
                for file, (name, path) in zip(files, paths.items(), strict=True)
            ]
        return Sent(shard.record, kept)

    def _commit_group(self, group: Sequence[Sent], card: Card, beat: Beat) -> str:
        api = self._connect()
        for _ in self._rounds(beat):
            # Asked of the very head the commit is made for: another uploader of these batches may just have been here.
            head = self._head(api)
            missing = self._missing(api, group, head)
            if not missing:
                return head
            files = [file for one in missing for file in one.files]
            try:
                made = self._commit(api, [*files, *_additions(card())], head, *_message(missing))
            except _Moved:
                self._log.info("the head moved under a commit, which is made again", shards=len(missing))
                continue
            except Exception as error:
                if not unsure(error):
                    raise
                # The answer is lost, the commit perhaps not: the repository knows.
                made = self._head(api)
                if self._missing(api, group, made):
                    raise
            if left := self._missing(api, group, made):
                names = ", ".join(one.record.shard for one in left)
                raise RetryLater(f"{self.repo_id} does not show what was committed: {names}", reason="not_shown")
            return made
        raise self._busy()

    def _refresh(self, card: Card, beat: Beat) -> None:
        api = self._connect()
        for _ in self._rounds(beat):
            # The head comes first: so a card from a ledger that is older than the one there is refused.
            head = self._head(api)
            try:
                self._commit(api, _additions(card()), head, "Bring the card up to date", "")
                return
            except _Moved:
                continue
        raise self._busy()

    def _commit(self, api: Any, additions: list[Any], head: str, title: str, description: str) -> str:
        try:
            info = api.create_commit(
                self.repo_id,
                additions,
                commit_message=title,
                commit_description=description,
                repo_type=_KIND,
                revision=_BRANCH,
                parent_commit=head,
            )
        except Exception as error:
            if moved(error):
                raise _Moved from error
            raise
        return str(info.oid)

    def _missing(self, api: Any, group: Sequence[Sent], head: str) -> list[Sent]:
        """The shards that are not in ``head`` as they should be. ConfigError when another one has such a name."""
        names = [f"{one.record.shard}.{end}" for one in group for end in ("tar", "parquet")]
        found: dict[str, tuple[int, str]] = {}
        for start in range(0, len(names), _PATHS):
            page = api.get_paths_info(self.repo_id, names[start : start + _PATHS], repo_type=_KIND, revision=head)
            found |= {one.path: (one.size, one.lfs.sha256 if one.lfs else "") for one in page}
        missing = []
        for one in group:
            record = one.record
            tar, parquet = found.get(f"{record.shard}.tar"), found.get(f"{record.shard}.parquet")
            if tar is not None and tar != (record.size, record.sha256) and not self.replace:
                raise occupied(f"{record.shard}.tar", self.repo_id)
            # The parquet file only repeats what the tar says; another version of the library may write it differently.
            whole = parquet is not None and parquet in (
                (record.parquet_size, record.parquet_sha256), (record.parquet_size, "")
            )  # fmt: skip
            if tar != (record.size, record.sha256) or not whole:
                missing.append(one)
        return missing

    # -- waiting -----------------------------------------------------------------------------------------------------

    def _patiently(self, what: str, beat: Beat, action: Callable[[], T]) -> T:
        """Do it; while the Hub asks for time, wait as long as it says and do it again. Throttled after ``patience``."""
        deadline = time.monotonic() + self.patience
        for number in itertools.count():
            try:
                with translated(self.repo_id):
                    return action()
            except Throttled as error:
                pause = _PAUSES[min(number, len(_PAUSES) - 1)] if error.after is None else error.after
                pause += self._rng.uniform(0.0, 0.2 * pause)
                if time.monotonic() + pause > deadline:
                    raise
                self._log.warning("the Hub asks for time", what=what, seconds=round(pause, 1), error=str(error))
                self._sleep(pause, what, beat)
        raise AssertionError("counting does not end")

    def _rounds(self, beat: Beat) -> Iterator[None]:
        for number in range(_COMMIT_ROUNDS):
            beat("commit", 0.95)
            time.sleep(self._rng.uniform(0.1, 0.3) * number)
            yield None

    def _sleep(self, seconds: float, what: str, beat: Beat) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            beat(f"{what}: the Hub asks for time", 0.95)
            time.sleep(min(0.5, left))

    def _busy(self) -> Throttled:
        return Throttled(f"{self.repo_id} is written to faster than we can commit", reason="busy", after=30.0)

    # -- the repository ----------------------------------------------------------------------------------------------

    def _connect(self) -> Any:
        if self._api is None:
            api = _library().HfApi(endpoint=self._endpoint, token=self._token, library_name="duplexforge")
            # Public by accident cannot be taken back, private by accident can.
            api.create_repo(self.repo_id, repo_type=_KIND, private=True, exist_ok=True)
            self._api = api
        return self._api

    def _head(self, api: Any) -> str:
        return str(api.repo_info(self.repo_id, repo_type=_KIND, revision=_BRANCH).sha)

    def _tree(self) -> list[Any]:
        api = self._connect()
        head = self._head(api)
        return list(api.list_repo_tree(self.repo_id, repo_type=_KIND, revision=head, recursive=True))

    def _read_card(self) -> str | None:
        api = self._connect()
        # A folder of its own: the client's cache is none of our business, and not every pod has one.
        with TemporaryDirectory(prefix="duplexforge-") as folder:
            try:
                path = api.hf_hub_download(
                    self.repo_id, CARD, repo_type=_KIND, revision=self._head(api), local_dir=folder
                )
            except Exception as error:
                if not_there(error):
                    return None
                raise
            return Path(path).read_text(encoding="utf-8", errors="replace")


def _message(group: Sequence[Sent]) -> tuple[str, str]:
    """Title and text of a commit that adds shards."""
    samples = sum(one.record.samples for one in group)
    amount = f"({samples} segments, {sum(one.record.hours.published for one in group):.2f} hours)"
    if len(group) == 1:
        return f"Add {group[0].record.shard} {amount}", ""
    return f"Add {len(group)} shards {amount}", "\n".join(one.record.shard for one in group)


@functools.cache
def _library() -> Any:
    """The client's library, set up once: its connections are shared by all targets of the process."""
    config.quiet_libraries()
    import httpx2
    import huggingface_hub

    huggingface_hub.set_client_factory(
        lambda: httpx2.Client(follow_redirects=True, timeout=httpx2.Timeout(_SILENCE_SECONDS, connect=15.0))
    )
    # Its warnings quote signed URLs; what matters of them comes as an error and is logged by the worker. Not earlier:
    # the call above is what loads the module that sets the level.
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)
    return huggingface_hub


def _additions(files: dict[str, bytes]) -> list[Any]:
    return [_addition(name, body) for name, body in files.items()]


def _addition(name: str, body: Any) -> Any:
    return _library().CommitOperationAdd(path_in_repo=name, path_or_fileobj=body)


class _Watched(io.BufferedReader):
    """A file that shows progress whenever it is read: what keeps the lease alive while a large shard is sent slowly."""

    def __init__(self, path: Path, beat: Beat) -> None:
        super().__init__(io.FileIO(path))
        self._beat = beat

    def read(self, size: int | None = -1, /) -> bytes:
        self._beat("sending", 0.9)
        return super().read(size)


@contextmanager
def _watched(path: Path, beat: Beat) -> Iterator[_Watched]:
    with _Watched(path, beat) as file:
        yield file
