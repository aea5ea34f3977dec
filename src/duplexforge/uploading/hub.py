"""Publishing to a data set repository on the Hub: one commit a batch, each on the head that was looked at before.

Large files go first (they are addressed by checksum, so sending them twice costs nothing), then one commit names tar,
parquet and card with the head it was made for. When the head has moved, or the answer was lost, the repository is asked
whether our shard is in it; only if not is the commit tried again. So a batch is published once, whatever is repeated.
"""

from __future__ import annotations

import functools
import io
import logging
import random
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

from duplexforge import config, log
from duplexforge.errors import ConfigError, DuplexforgeError, RetryLater
from duplexforge.records import FileEntry, LedgerEntry
from duplexforge.uploading.card import CARD
from duplexforge.uploading.shard import Beat, Shard
from duplexforge.uploading.target import Card, occupied

_KIND = "dataset"
_BRANCH = "main"
_COMMIT_ROUNDS = 12
_MOVED = (409, 412)
# The client of the Hub waits for ever by default; a Hub that is silent for this long is gone.
_SILENCE_SECONDS = 120.0


class _Moved(Exception):
    """The head is not the one that the commit was made for."""


class HubTarget:
    """A data set repository. It is created, private, when there is none; the visibility of one that is stays."""

    def __init__(
        self, repo_id: str, *, token: str | None = None, endpoint: str | None = None, replace: bool = False
    ) -> None:
        log.hide(token)
        self.repo_id, self.replace = repo_id, replace
        self.name = f"hub:{repo_id}"
        self._token, self._endpoint = token, endpoint
        self._api: Any = None
        self._rng = random.Random()
        self._log = log.get("hub", repository=repo_id)

    def publish(self, shard: Shard, card: Card, beat: Beat) -> str | None:
        """Send the files, commit them in one step; the id of the commit that has them."""
        record = shard.record
        with _translated(self.repo_id), _watched(shard.tar, beat) as tar, _watched(shard.parquet, beat) as parquet:
            api = self._connect()
            head = self._head(api)
            if self._holds(api, record, head):
                return head
            beat("sending", 0.9)
            files = [_addition(f"{record.shard}.tar", tar), _addition(f"{record.shard}.parquet", parquet)]
            api.preupload_lfs_files(self.repo_id, files, repo_type=_KIND, num_threads=2)
            return self._commit_shard(api, files, record, card, beat)

    def refresh(self, card: Card) -> None:
        """Commit the card when it differs from the one there."""
        with _translated(self.repo_id):
            api = self._connect()
            for _ in self._rounds():
                # The head comes first: so a card from a ledger that is older than the one there is refused.
                head = self._head(api)
                try:
                    self._commit(api, [_addition(CARD, card().encode())], head, "Bring the card up to date")
                    return
                except _Moved:
                    continue
        raise self._busy()

    def files(self) -> Iterator[FileEntry]:
        """Every file below ``data/`` with size and checksum as the Hub states them ("" where it states none)."""
        with _translated(self.repo_id):
            api = self._connect()
            head = self._head(api)
            tree = list(api.list_repo_tree(self.repo_id, repo_type=_KIND, revision=head, recursive=True))
        for entry in sorted(tree, key=lambda one: str(one.path)):
            if entry.path.startswith("data/") and hasattr(entry, "size"):
                yield FileEntry(name=entry.path, size=entry.size, sha256=entry.lfs.sha256 if entry.lfs else "")

    # -- the commit ------------------------------------------------------------------------------------------------

    def _commit_shard(self, api: Any, files: list[Any], record: LedgerEntry, card: Card, beat: Beat) -> str | None:
        message = f"Add {record.shard} ({record.samples} segments, {record.hours.published:.2f} hours)"
        for _ in self._rounds():
            beat("commit", 0.95)
            # Asked of the very head the commit is made for: another uploader of this batch may just have been here.
            head = self._head(api)
            if self._holds(api, record, head):
                return head
            try:
                return self._commit(api, [*files, _addition(CARD, card().encode())], head, message)
            except _Moved:
                self._log.info("the head moved under a commit, which is made again", batch=record.batch)
            except Exception as error:
                if not _unsure(error):
                    raise
                # The answer is lost, the commit perhaps not: the repository knows.
                head = self._head(api)
                if self._holds(api, record, head):
                    return head
                raise
        raise self._busy()

    def _commit(self, api: Any, additions: list[Any], head: str, message: str) -> str:
        try:
            info = api.create_commit(
                self.repo_id,
                additions,
                commit_message=message,
                repo_type=_KIND,
                revision=_BRANCH,
                parent_commit=head,
            )
        except Exception as error:
            if _status(error) in _MOVED:
                raise _Moved from error
            raise
        return str(info.oid)

    def _rounds(self) -> Iterator[None]:
        for number in range(_COMMIT_ROUNDS):
            time.sleep(self._rng.uniform(0.1, 0.3) * number)
            yield None

    def _busy(self) -> RetryLater:
        return RetryLater(f"{self.repo_id} is written to faster than we can commit", reason="busy", after=30.0)

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

    def _holds(self, api: Any, record: LedgerEntry, head: str) -> bool:
        """Whether our shard is in ``head`` and stays. ConfigError when another one has its name."""
        if self.replace:
            return False
        name = f"{record.shard}.tar"
        found = api.get_paths_info(self.repo_id, [name], repo_type=_KIND, revision=head)
        if not found:
            return False
        same = found[0].lfs is not None and (found[0].lfs.sha256, found[0].size) == (record.sha256, record.size)
        if not same:
            raise occupied(name, self.repo_id)
        return True


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


# -- the client's errors as ours ---------------------------------------------------------------------------------------


@contextmanager
def _translated(repo_id: str) -> Iterator[None]:
    try:
        yield
    except DuplexforgeError:
        raise
    except Exception as error:  # the protocol boundary: whatever the client raises gets a retry rule
        raise _ours(error, repo_id) from error


def _ours(error: BaseException, repo_id: str) -> DuplexforgeError:
    for one in _causes(error):
        if isinstance(one, DuplexforgeError):  # raised while a file was read
            return one
    answer = _answer(error)
    # Storage that files are sent to (by PUT) answers 403 to a link that is too old: that says nothing about the token.
    if answer is not None and answer.status_code in (401, 403, 404) and answer.request.method != "PUT":
        message = (
            f"the Hub refused {repo_id} ({answer.status_code}): "
            "check HF_REPO_ID, and that HF_TOKEN is a token with write access to it"
        )
        return ConfigError(message, reason="token")
    # The client wraps what went wrong with a file; the innermost error is the one that says it.
    inner = list(_causes(error))[-1]
    first = (str(inner).strip().splitlines() or [type(inner).__name__])[0]
    return RetryLater(f"the Hub did not take it: {log.redact(first)[:300]}", reason="hub", after=_retry_after(answer))


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__


def _answer(error: BaseException) -> Any:
    """The Hub's answer behind an error, or None when there was none."""
    return next((answer for one in _causes(error) if (answer := getattr(one, "response", None)) is not None), None)


def _status(error: BaseException) -> int | None:
    answer = _answer(error)
    return None if answer is None else int(answer.status_code)


def _unsure(error: BaseException) -> bool:
    """Whether a commit that raised this may have been made all the same."""
    status = _status(error)
    return status is None or status >= 500


def _retry_after(answer: Any) -> float | None:
    """Seconds to wait as the answer's headers tell, as a number, as a date, or in the Hub's own rate limit header."""
    if answer is None:
        return None
    told = str(answer.headers.get("retry-after", "")).strip()
    if told.isdigit():
        return float(told)
    if limit := re.search(r"\bt=(\d+)", answer.headers.get("ratelimit", "")) if answer.status_code == 429 else None:
        return float(limit[1])
    try:
        return max(0.0, parsedate_to_datetime(told).timestamp() - time.time()) if told else None
    except ValueError:
        return None
