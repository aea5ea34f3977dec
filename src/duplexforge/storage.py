"""One object store, whatever it is: a folder, S3, R2 or another S3-compatible service, or memory.

A thin module over obstore. It adds what the product's correctness rests on: :meth:`Store.put_if_absent` that is exact
even when an answer was lost, whole folders that are sent or raise, typed errors, and :meth:`Store.now`, the *store's*
clock, by which leases expire.
"""

from __future__ import annotations

import hashlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import obstore
from obstore import exceptions as failures
from obstore.store import LocalStore, MemoryStore, S3Store

from duplexforge.config import StoreSettings
from duplexforge.config.s3 import s3_options
from duplexforge.errors import ConfigError, StoreError
from duplexforge.objects import PAGE as PAGE
from duplexforge.objects import ObjectMeta as ObjectMeta
from duplexforge.objects import Page as Page
from duplexforge.objects import folder_pages, meta_of
from duplexforge.records import FileEntry
from duplexforge.store_errors import Unsupported, clash, is_clash, translated, tries

# Conditional writes are one request; above this size a file is sent in parts, which cannot be conditional.
SINGLE_PUT_LIMIT = 64 * 1024 * 1024
_CLOCK_SECONDS = 600.0
# obstore sends a larger file in parts of this size.
_ONE_REQUEST = 5 * 1024 * 1024
# Bytes a second below which a download is given up, to be tried again from another connection.
_SLOWEST = 16 * 1024
_USE_ANOTHER = (
    "on which the claim of tasks rests: "
    "use AWS S3, Cloudflare R2, another store with conditional writes, or a folder (file://…)"
)
# Store.list hides the built-in of that name from annotations inside the class.
Names = list[str]
Entries = list[FileEntry]

T = TypeVar("T")


class Store:
    """An object store below one URL. Safe to share between threads.

    A request is tried ``attempts`` times; ``patience`` is for how many seconds a download may crawl.
    """

    def __init__(self, url: str, backend: Any, *, attempts: int = 6, patience: float = 30.0) -> None:
        self.url = url
        self.patience = patience
        self._backend = backend
        self._attempts = attempts
        self._clock: tuple[float, float] | None = None
        self._told = 0.0
        self.clock_seconds = _CLOCK_SECONDS
        self._clock_lock = threading.Lock()

    # -- reading ---------------------------------------------------------------------------------------------------

    def get(self, key: str) -> bytes:
        """The object's bytes. FileNotFoundError when there is none."""
        return self._call(lambda: bytes(obstore.get(self._backend, key).bytes()), key)

    def find(self, key: str) -> bytes | None:
        """The object's bytes, or None when there is none."""
        try:
            return self.get(key)
        except FileNotFoundError:
            return None

    def head(self, key: str) -> ObjectMeta | None:
        """Size, tag and time of an object, or None when there is none."""
        try:
            return meta_of(self._call(lambda: obstore.head(self._backend, key), key))
        except FileNotFoundError:
            return None

    def download(self, key: str, path: Path) -> str:
        """Write the object to ``path`` in a stream; return its sha256. FileNotFoundError when there is none."""
        return self._call(lambda: self._download_once(key, path), key)

    def _download_once(self, key: str, path: Path) -> str:
        digest, got, began = hashlib.sha256(), 0, time.monotonic()
        answer = obstore.get(self._backend, key)
        with path.open("wb") as file:
            # In small pieces: of a trickle one must hear often enough to tell that it is one.
            for chunk in answer.stream(min_chunk_size=1 << 14):
                file.write(chunk)
                digest.update(chunk)
                got += len(chunk)
                taken = time.monotonic() - began
                if taken > self.patience and got < taken * _SLOWEST:
                    raise StoreError(f"{key} came at {got / taken / 1000:.1f} kB/s: given up", reason="slow")
        if got != answer.meta["size"]:
            raise StoreError(f"{key} arrived cut short", reason="truncated")
        return digest.hexdigest()

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[ObjectMeta]:
        """Objects below ``prefix`` (ends with ``/``) in key order; with ``after`` only those with greater keys."""
        for page in self.pages(prefix, after=after):
            yield from page

    def pages(self, prefix: str, *, after: str | None = None) -> Iterator[Page]:
        """The listing in pages of up to 1,000, so that a caller can stop after the first."""
        if isinstance(self._backend, LocalStore):
            # A folder has no order of its own, so it is walked here.
            with translated(prefix):
                yield from folder_pages(Path(str(self._backend.prefix)), prefix, after)
            return
        listing: Iterator[Any] | None = self._listing(prefix, after)

        def next_page() -> Any:
            # The stream is over once it has failed: another one goes on behind the last key that came.
            nonlocal listing
            current, listing = listing or self._listing(prefix, after), None
            page = next(current, None)
            listing = current
            return page

        while (page := self._call(next_page, prefix)) is not None:
            metas = [meta_of(item) for item in page]
            after = metas[-1].key if metas else after
            yield metas

    def _listing(self, prefix: str, after: str | None) -> Iterator[Any]:
        return iter(obstore.list(self._backend, prefix.rstrip("/"), offset=after, chunk_size=PAGE))

    def folders(self, prefix: str) -> Names:
        """The prefixes one level below ``prefix``, each with its final ``/``."""
        found = self._call(lambda: obstore.list_with_delimiter(self._backend, prefix.rstrip("/") or None), prefix)
        return [f"{name.rstrip('/')}/" for name in found["common_prefixes"]]

    # -- writing ---------------------------------------------------------------------------------------------------

    def put_if_absent(self, key: str, body: bytes) -> bool:
        """Create ``key``; True when this call created it, False when it was there.

        A lost answer is followed by a second try that finds the object: then the bytes decide whether it is ours, so
        bodies that must tell two writers apart carry a nonce.
        """
        unsure = False
        for attempt in tries(self._attempts):
            with attempt, translated(key):
                try:
                    obstore.put(self._backend, key, body, mode="create")
                except failures.AlreadyExistsError as error:
                    if is_clash(error):
                        raise clash(key) from error
                    return unsure and self.find(key) == body
                except failures.BaseError:
                    unsure = True
                    raise
        return True

    def put(self, key: str, body: bytes) -> None:
        """Create or replace an object that only its owner writes (a lease, a generated card)."""
        self._call(lambda: obstore.put(self._backend, key, body), key)

    def upload(self, path: Path, key: str, *, absent: bool = False) -> bool:
        """Send a file. With ``absent`` only when the key is free (False otherwise; at most SINGLE_PUT_LIMIT bytes)."""
        if absent:
            return self.put_if_absent(key, path.read_bytes())
        self._call(lambda: self._upload_once(path, key), key)
        return True

    def _upload_once(self, path: Path, key: str) -> None:
        sent, told = path.stat().st_size, obstore.put(self._backend, key, path)
        if sent <= _ONE_REQUEST:
            return
        # Each part was checked by its signed hash; whether all of them became the object, only the object tells.
        meta = obstore.head(self._backend, key)
        if meta["size"] != sent or meta.get("e_tag") != told["e_tag"]:
            raise StoreError(f"{key} is not what was sent: {meta['size']} of {sent} bytes", reason="mismatch")

    def send_folder(self, folder: Path, prefix: str, *, threads: int = 8) -> Entries:
        """Send every file below ``folder`` to ``prefix``; their entries by name, or the first failure is raised."""
        files = sorted(path for path in folder.rglob("*") if path.is_file())
        entries = [file_entry(path, path.relative_to(folder).as_posix()) for path in files]
        with ThreadPoolExecutor(max_workers=threads) as pool:
            pairs = zip(files, entries, strict=True)
            sent = [pool.submit(self.upload, path, prefix + entry.name) for path, entry in pairs]
            for future in sent:
                future.result()
        return entries

    def delete(self, keys: str | Sequence[str]) -> None:
        """Remove objects; a key that is not there is no error."""
        names = [keys] if isinstance(keys, str) else [*keys]
        for start in range(0, len(names), PAGE):
            self._delete_page(names[start : start + PAGE])

    def _delete_page(self, names: Names) -> None:
        try:
            self._call(lambda: obstore.delete(self._backend, names), names[0] if names else "")
        except FileNotFoundError:
            # A folder store stops at the first missing file: take the rest one by one.
            for name in names:
                with suppress(FileNotFoundError):
                    self._call(partial(obstore.delete, self._backend, [name]), name)

    # -- the store's clock and its probe ---------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds on the store's clock: an object's modification time read back, carried on by a monotonic clock."""
        with self._clock_lock:
            if self._clock is None or time.monotonic() - self._clock[1] > self.clock_seconds:
                self._clock = self._read_clock()
            # Read again, a clock of whole seconds may seem to have gone back.
            self._told = max(self._told, self._clock[0] + time.monotonic() - self._clock[1])
            return self._told

    def _read_clock(self) -> tuple[float, float]:
        key = f"tasks/.probe/{uuid.uuid4().hex}"
        started = time.monotonic()
        self.put(key, b"clock")
        meta = self.head(key)
        self.delete(key)
        if meta is None:
            raise StoreError(f"{self.url} does not show an object that was just written", reason="not_consistent")
        return meta.modified, started

    def probe(self) -> None:
        """Check that the store can be written, read and deleted and that create-if-absent holds, else ConfigError."""
        key = f"tasks/.probe/{uuid.uuid4().hex}"
        try:
            first, second = self.put_if_absent(key, b"first"), self.put_if_absent(key, b"second")
            seen = self.find(key)
        except Unsupported as error:
            raise ConfigError(
                f"{self.url} does not take create-if-absent (If-None-Match: *), {_USE_ANOTHER}"
            ) from error
        finally:
            self.delete(key)
        if not first or second or seen != b"first":
            raise ConfigError(f"{self.url} ignores create-if-absent (If-None-Match: *), {_USE_ANOTHER}")

    # -- shared ----------------------------------------------------------------------------------------------------

    def _call(self, request: Callable[[], T], key: str) -> T:
        for attempt in tries(self._attempts):
            with attempt, translated(key):
                try:
                    return request()
                except failures.AlreadyExistsError as error:
                    # Only a conditional write may find something there; elsewhere S3 says 409 of two that met.
                    raise clash(key) from error
        raise AssertionError("the last attempt returns or raises")


def file_entry(path: Path, name: str) -> FileEntry:
    """Name, size and sha256 of a local file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    return FileEntry(name=name, size=path.stat().st_size, sha256=digest)


def open_store(settings: StoreSettings, *, attempts: int = 6, create: bool = True) -> Store:
    """The store that the settings name. ConfigError when the URL makes no sense or a folder cannot be written.

    ``attempts`` is how often a request is tried before it is a StoreError. Without ``create`` a folder must be there:
    who only looks would else make one out of a misspelt name.
    """
    scheme, _, rest = settings.url.partition("://")
    if scheme == "memory":
        return Store(settings.url, MemoryStore(), attempts=attempts)
    if scheme == "file":
        return _open_folder(Path(rest).expanduser(), attempts, create)
    if scheme == "s3" and rest:
        return _open_s3(settings, rest, attempts)
    raise ConfigError(f"STORE_URL: {settings.url!r} is not file://FOLDER, s3://BUCKET or memory://")


def _open_folder(folder: Path, attempts: int, create: bool) -> Store:
    if not create and not folder.is_dir():
        raise ConfigError(f"there is no folder {folder}: name another with --store or STORE_URL")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        marker = folder / f".writable-{uuid.uuid4().hex}"
        marker.touch()
        marker.unlink()
    except OSError as error:
        raise ConfigError(f"cannot write to {folder}: {error.strerror or error}") from error
    return Store(f"file://{folder}", LocalStore(folder.resolve()), attempts=attempts)


def _open_s3(settings: StoreSettings, rest: str, attempts: int) -> Store:
    bucket, _, prefix = rest.partition("/")
    backend = S3Store(bucket, prefix=prefix or None, **s3_options(settings, bucket))
    return Store(settings.url, backend, attempts=attempts, patience=settings.store_timeout)
